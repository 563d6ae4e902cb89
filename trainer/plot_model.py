"""Draws what a model is made of, from the calls of its layers: `--plot_model`.

The model is traced once; each call of one of its own layers becomes a box, and an arrow leads to it from every box whose output it
depends on, however many plain operations lie between.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import matplotlib.figure
import numpy as np
import tensorflow as tf
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from trainer.models.base import RankingModel

_SHOWN_FEATURES = 6
_WIDTH, _HEIGHT, _ACROSS, _DOWN = 2.5, 0.78, 2.9, 1.3
_COLOURS = {"features": "#e8eef7", "layer": "#f7f7f5", "part": "#e9f4ea", "logits": "#fbeee0"}


@dataclass
class Box:
    """One box of the picture.

    Attributes:
        title: In bold.
        lines: Below it.
        kind: "features", "layer", "part" or "logits".
        sources: Numbers of the boxes that arrows come from.
        level: Row of the picture, from 0 at the top.
    """

    title: str
    lines: list[str]
    kind: str
    sources: set[int] = field(default_factory=set)
    level: int = 0


def architecture(model: RankingModel, features: Mapping[str, tf.TensorSpec]) -> list[Box]:
    """Returns the boxes of a model, each after its sources: the features, its layers in order of their calls, its parts, the logits."""
    # Built first: a function that makes variables is traced twice.
    model({name: tf.zeros([2 if size is None else size for size in spec.shape], spec.dtype) for name, spec in features.items()})
    calls: list[tuple[keras.layers.Layer, list[Any], list[Any]]] = []
    with _recording(model, calls):
        traced = tf.function(model.scored_parts).get_concrete_function(dict(features))
    parts = traced.structured_outputs
    names = list(features)
    shown = ", ".join(names[:_SHOWN_FEATURES]) + (f" and {len(names) - _SHOWN_FEATURES} more" if len(names) > _SHOWN_FEATURES else "")
    boxes = [Box("features", textwrap.wrap(shown, 38)[:2], "features")]
    made: dict[int, int] = {}
    for layer, given, outputs in calls:
        count = int(sum(np.prod(variable.shape) for variable in layer.trainable_variables))
        shapes = ", ".join(dict.fromkeys(_shape(tensor) for tensor in outputs))
        lines = [f"{type(layer).__name__}  {shapes}", f"{count:,} parameters" if count else ""]
        boxes.append(Box(layer.name, [line for line in lines if line], "layer", _sources(given, made)))
        made.update({id(tensor): len(boxes) - 1 for tensor in outputs})
    ends = {name: traced.graph.outputs[place] for place, name in enumerate(tf.nest.flatten({name: name for name in parts}))}
    for name in parts:
        boxes.append(Box(f"part: {name}", ["[B]"], "part", _sources([ends[name]], made)))
    last = set(range(len(boxes) - len(parts), len(boxes)))
    boxes.append(Box("logits", ["sum of the parts  [B]"], "logits", last))
    for box in boxes:
        box.level = max((boxes[source].level + 1 for source in box.sources), default=0)
    for number in last:
        boxes[number].level = boxes[-1].level - 1  # side by side, above their sum
    return boxes


@contextmanager
def _recording(model: keras.Model, calls: list[tuple[keras.layers.Layer, list[Any], list[Any]]]) -> Iterator[None]:
    """Notes the calls of the model's own layers, not those of layers inside them."""
    own = {id(layer) for layer in model._flatten_layers(include_self=False, recursive=False)}
    original = keras.layers.Layer.__call__

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (whatever layers take and give)
        outputs = original(layer, *args, **kwargs)
        if id(layer) in own:
            given = [x for x in tf.nest.flatten([args, kwargs]) if isinstance(x, tf.Tensor)]
            calls.append((layer, given, [x for x in tf.nest.flatten(outputs) if isinstance(x, tf.Tensor)]))
        return outputs

    keras.layers.Layer.__call__ = call
    try:
        yield
    finally:
        keras.layers.Layer.__call__ = original


def _sources(tensors: list[Any], made: Mapping[int, int]) -> set[int]:
    """Walks back from tensors to the boxes that gave what they are computed from; 0, the features, where a walk ends outside of any."""
    found: set[int] = set()
    seen: set[int] = set()
    waiting = list(tensors)
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        if id(tensor) in made:
            found.add(made[id(tensor)])
        elif tensor.op.type == "Placeholder" and tensor.dtype != tf.resource:
            found.add(0)
        else:
            waiting += list(tensor.op.inputs)
    return found


def _shape(tensor: tf.Tensor) -> str:
    sizes = ["?" if size is None else str(size) for size in tensor.shape]
    return f"[{', '.join(['B', *sizes[1:]])}]"


def plot_model(model: RankingModel, features: Mapping[str, tf.TensorSpec], path: Path, title: str) -> list[Path]:
    """Writes the picture as `path` with the endings .png and .svg.

    Args:
        model: Built or not.
        features: Types of what it takes.
        path: Without an ending, or with one of the two.
        title: Above the picture.

    Returns:
        Both files.
    """
    boxes = architecture(model, features)
    places = _places(boxes)
    across, down = max(x for x, _ in places) + 1, max(y for _, y in places) + 1
    figure = matplotlib.figure.Figure(figsize=(max(across * _ACROSS, 5.0) + 0.4, down * _DOWN + 0.8), dpi=110)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-0.2, max(across * _ACROSS, 5.0) + 0.2)
    axes.set_ylim(-down * _DOWN, 0.8)
    axes.axis("off")
    axes.text(max(across * _ACROSS, 5.0) / 2, 0.4, title, ha="center", va="center", fontsize=13, fontweight="bold")
    middles = [(x * _ACROSS + max(5.0 - across * _ACROSS, 0.0) / 2 + _ACROSS / 2, -y * _DOWN - _HEIGHT / 2) for x, y in places]
    for box, (x, y) in zip(boxes, middles, strict=True):
        frame = FancyBboxPatch(
            (x - _WIDTH / 2, y - _HEIGHT / 2),
            _WIDTH,
            _HEIGHT,
            "round,pad=0,rounding_size=0.08",
            fc=_COLOURS[box.kind],
            ec="#555555",
            lw=0.9,
        )
        axes.add_patch(frame)
        rows = [box.title, *box.lines]
        for number, row in enumerate(rows):
            offset = ((len(rows) - 1) / 2 - number) * 0.22
            size = 9.5 if number == 0 else 7.5
            axes.text(x, y + offset, row, ha="center", va="center", fontsize=size, fontweight="bold" if number == 0 else "normal")
        for source in sorted(box.sources):
            _arrow(axes, middles[source], (x, y), skips=box.level - boxes[source].level > 1)
    files = [path.with_suffix(ending) for ending in (".png", ".svg")]
    for file in files:
        figure.savefig(file)
    return files


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float], *, skips: bool) -> None:  # noqa: ANN401 (matplotlib)
    """Draws an arrow; one that passes a row of boxes is curved, so that it goes around what lies straight between."""
    bend = 0.0 if not skips else (-0.22 if end[0] >= start[0] else 0.22) * (1.6 if abs(end[0] - start[0]) < 0.1 else 0.6)
    axes.add_patch(
        FancyArrowPatch(
            (start[0], start[1] - _HEIGHT / 2),
            (end[0], end[1] + _HEIGHT / 2),
            connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-|>",
            mutation_scale=10,
            lw=0.9,
            color="#555555",
            zorder=0,
        )
    )


def _places(boxes: list[Box]) -> list[tuple[float, int]]:
    """Returns each box's column and row: a row's boxes in the order of where their arrows come from, centred."""
    levels: dict[int, list[int]] = {}
    for number, box in enumerate(boxes):
        levels.setdefault(box.level, []).append(number)
    widest = max(map(len, levels.values()))
    places: dict[int, tuple[float, int]] = {}
    for level in sorted(levels):
        members = sorted(levels[level], key=lambda n: (np.mean([places[s][0] for s in boxes[n].sources] or [0.0]), n))
        for place, number in enumerate(members):
            places[number] = ((widest - len(members)) / 2 + place, level)
    return [places[number] for number in range(len(boxes))]
