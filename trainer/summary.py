"""What a model is made of, as text (`--summary`) and as a picture (`--plot_model`)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import keras
import numpy as np

from preprocessing.artifacts import DataDirectory
from trainer.config import RunConfig
from trainer.data import element_spec
from trainer.layers import Inputs, StackedTable
from trainer.loop import Loop
from trainer.matching.side import MatchingSide
from trainer.models.base import RankingModel
from trainer.models.registry import make_model
from trainer.tasks import task_of


def plot_architecture(config: RunConfig) -> list[Path]:
    """Draws the model as `<dataset>-<model>.png` and `.svg` in the current folder; returns both files."""
    from trainer.plot_model import plot_model

    data = DataDirectory.open(config.data_dir)
    path, title = Path(f"{config.dataset}-{config.model.split('.')[-1]}"), f"{config.model} on {config.dataset}"
    if data.spec.is_matching:
        side = MatchingSide(data.spec, data.path, data.table_rows, data.pretrained, config.training)
        model = make_model(config.model, side.inputs, config.hyper_parameters)
        return plot_model(model, side.element_spec[0], path, title, side.item_spec)
    return plot_model(_ranking_model(data, config), element_spec(data.spec)[0], path, title)


def summarise(config: RunConfig) -> str:
    """Returns a table of the layers that hold weights: name, type, shapes, trained parameters."""
    data = DataDirectory.open(config.data_dir)
    if data.spec.is_matching:
        side = MatchingSide(data.spec, data.path, data.table_rows, data.pretrained, config.training)
        model = make_model(config.model, side.inputs, config.hyper_parameters)
        loop = Loop(model, side.task, config.training, side.element_spec)
    else:
        model = _ranking_model(data, config)
        loop = Loop(model, task_of(data.spec), config.training, element_spec(data.spec))
    rows = [("layer", "type", "shapes", "parameters")]
    for layer, own in _layers(model):
        trained = [variable for variable in own if variable.trainable]
        times = Counter("x".join(map(str, variable.shape)) for variable in trained or own)
        shapes = "  ".join(shape if count == 1 else f"{count} of {shape}" for shape, count in times.items())
        kind = type(layer).__name__ if trained else f"{type(layer).__name__}, frozen"
        name = "(model)" if layer is model else own[0].path.rpartition("/")[0].removeprefix(f"{model.name}/")
        rows.append((name, kind, shapes, f"{int(sum(np.prod(variable.shape) for variable in trained)):,}"))
    rows.append(("total", "", "", f"{loop.parameters:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _ranking_model(data: DataDirectory, config: RunConfig) -> RankingModel:
    return make_model(config.model, Inputs(data.spec, data.table_rows, data.pretrained), config.hyper_parameters)


def _layers(model: keras.Model) -> list[tuple[keras.layers.Layer, list[keras.Variable]]]:
    """Returns the layers that hold trained weights or tables, and the model if it has weights of its own, in order.

    Each comes with the variables that are no inner layer's.
    """
    found = []
    for layer in model._flatten_layers():
        inner = {id(variable) for each in layer._flatten_layers(include_self=False) for variable in each.variables}
        own = [variable for variable in layer.variables if id(variable) not in inner]
        if any(variable.trainable for variable in own) or isinstance(layer, StackedTable) or (layer is model and own):
            found.append((layer, own))
    place = {id(variable): number for number, variable in enumerate(model.variables)}
    return sorted(found, key=lambda each: place[id(each[1][0])])
