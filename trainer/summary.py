"""What a model is made of, as text: `--summary`."""

from __future__ import annotations

import keras
import numpy as np

from preprocessing.artifacts import DataDirectory
from trainer.config import RunConfig
from trainer.data import element_spec
from trainer.layers import Inputs
from trainer.loop import Loop
from trainer.models.registry import make_model
from trainer.tasks import task_of


def summarise(config: RunConfig) -> str:
    """Returns a table of the layers that hold variables: name, type, shapes, parameters."""
    data = DataDirectory.open(config.data_dir)
    model = make_model(config.model, Inputs(data.spec, data.table_rows, data.pretrained), config.hyper_parameters)
    loop = Loop(model, task_of(data.spec), config.training, element_spec(data.spec))
    rows = [("layer", "type", "shapes", "parameters")]
    for layer in _leaves(model):
        shapes = "  ".join("x".join(map(str, variable.shape)) for variable in layer.trainable_variables)
        count = int(sum(np.prod(variable.shape) for variable in layer.trainable_variables))
        rows.append((_name(layer), type(layer).__name__, shapes, f"{count:,}"))
    rows.append(("total", "", "", f"{loop.parameters:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _leaves(model: keras.Model) -> list[keras.layers.Layer]:
    layers = model._flatten_layers(include_self=False)
    return [layer for layer in layers if layer.trainable_variables and not list(layer._flatten_layers(include_self=False))]


def _name(layer: keras.layers.Layer) -> str:
    path = layer.trainable_variables[0].path
    return path.rpartition("/")[0]
