"""What a model is made of, as text (`--summary`) and as a picture (`--plot_model`)."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from preprocessing.artifacts import DataDirectory
from trainer.config import RunConfig
from trainer.data import element_spec
from trainer.layers import Inputs, StackedTable
from trainer.loop import Loop
from trainer.models.base import RankingModel
from trainer.models.registry import make_model
from trainer.tasks import task_of


def plot_architecture(config: RunConfig) -> list[Path]:
    """Draws the model as `<dataset>-<model>.png` and `.svg` in the current folder; returns both files."""
    from trainer.plot_model import plot_model

    data, model = _made(config)
    name = f"{config.dataset}-{config.model.split('.')[-1]}"
    return plot_model(model, element_spec(data.spec)[0], Path(name), f"{config.model} on {config.dataset}")


def summarise(config: RunConfig) -> str:
    """Returns a table of the layers that hold weights: name, type, shapes, trained parameters."""
    data, model = _made(config)
    loop = Loop(model, task_of(data.spec), config.training, element_spec(data.spec))
    rows = [("layer", "type", "shapes", "parameters")]
    for layer in _leaves(model):
        shapes = "  ".join("x".join(map(str, variable.shape)) for variable in layer.trainable_variables or layer.variables)
        count = int(sum(np.prod(variable.shape) for variable in layer.trainable_variables))
        kind = type(layer).__name__ if layer.trainable_variables else f"{type(layer).__name__}, frozen"
        rows.append((_name(layer), kind, shapes, f"{count:,}"))
    rows.append(("total", "", "", f"{loop.parameters:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _made(config: RunConfig) -> tuple[DataDirectory, RankingModel]:
    data = DataDirectory.open(config.data_dir)
    return data, make_model(config.model, Inputs(data.spec, data.table_rows, data.pretrained), config.hyper_parameters)


def _leaves(model: keras.Model) -> list[keras.layers.Layer]:
    layers = model._flatten_layers(include_self=False)
    weighted = [layer for layer in layers if layer.trainable_variables or isinstance(layer, StackedTable)]
    return [layer for layer in weighted if not list(layer._flatten_layers(include_self=False))]


def _name(layer: keras.layers.Layer) -> str:
    path = (layer.trainable_variables or layer.variables)[0].path
    return path.rpartition("/")[0]
