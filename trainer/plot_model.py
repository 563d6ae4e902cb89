"""Draws what a model is made of, from the calls of its layers: `--plot_model`.

The model is traced once; each call of one of its own layers becomes a box, and an arrow leads to it from every box whose output it
depends on, however many plain operations lie between.
"""

from __future__ import annotations

import itertools
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
from matplotlib.path import Path as Path2D

from trainer.models.base import MatchingModel, RankingModel
from trainer.plot_layout import across

_SHOWN_FEATURES, _LINE, _LINES = 6, 38, 2
_WIDTH, _HEIGHT, _ACROSS, _DOWN, _LANE = 2.5, 0.78, 2.8, 1.3, 0.5
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


Call = tuple[keras.layers.Layer | str, list[Any], list[Any]]


def architecture(
    model: RankingModel | MatchingModel, features: Mapping[str, tf.TensorSpec], items: Mapping[str, tf.TensorSpec] | None = None
) -> list[Box]:
    """Returns the boxes of a model, each after its sources: the features, its layers in order of their calls, its parts, the logits.

    Of a matching model: what it knows of users and of items, its layers, query and candidates, the scores.
    """
    calls: list[Call] = []
    made: dict[int, int] = {}
    if isinstance(model, MatchingModel):
        boxes = [Box("user", _listed(features), "features"), Box("items", _listed(items or {}), "features")]
        traced = _traced_matching(model, calls, features, items or {})
        made.update({id(tensor): 1 for tensor in traced.graph.inputs[len(features) : len(features) + len(items or {})]})
    else:
        boxes = [Box("features", _listed(features), "features")]
        # Built first: a function that makes variables is traced twice.
        model(_nothing(features))
        with _recording(model, calls):
            traced = tf.function(model.scored_parts).get_concrete_function(dict(features))
    of_items = {1} if isinstance(model, MatchingModel) else set()
    for layer, given, outputs in calls:
        sources = _sources(given, made)
        if sources and sources <= of_items:
            of_items.add(len(boxes))
        shapes = ", ".join(dict.fromkeys(_shape(tensor, "C" if len(boxes) in of_items else "B") for tensor in outputs))
        if layer == "scores":
            boxes.append(Box(layer, ["[B, C]"], "logits", sources))
        elif isinstance(layer, str):
            boxes.append(Box(layer, [shapes], "part", sources))
        else:
            count = int(sum(np.prod(variable.shape) for variable in layer.trainable_variables))
            lines = [f"{type(layer).__name__}  {shapes}", f"{count:,} parameter{'s' * (count > 1)}" if count else ""]
            boxes.append(Box(layer.name, [line for line in lines if line], "layer", sources))
        made.update({id(tensor): len(boxes) - 1 for tensor in outputs})
    parts = {} if isinstance(model, MatchingModel) else traced.structured_outputs
    ends = {name: traced.graph.outputs[place] for place, name in enumerate(tf.nest.flatten({name: name for name in parts}))}
    for name in parts:
        boxes.append(Box(f"part: {name}", ["[B]"], "part", _sources([ends[name]], made)))
    last = set(range(len(boxes) - len(parts), len(boxes)))
    if parts:
        boxes.append(Box("logits", ["sum of the parts  [B]"], "logits", last))
    for box in boxes:
        box.level = max((boxes[source].level + 1 for source in box.sources), default=0)
    for number in last:
        boxes[number].level = boxes[-1].level - 1  # side by side, above their sum
    return boxes


def _traced_matching(
    model: MatchingModel, calls: list[Call], features: Mapping[str, tf.TensorSpec], items: Mapping[str, tf.TensorSpec]
) -> Any:  # noqa: ANN401 (a concrete function)
    """Traces both sides of a model and their score, and notes the calls."""

    def scored(user: dict[str, tf.Tensor], item: dict[str, tf.Tensor]) -> tf.Tensor:
        query = model.query(user)
        calls.append(("query", [query], [query := tf.identity(query)]))
        candidates = model.candidates(item)
        calls.append(("candidates", [candidates], [candidates := tf.identity(candidates)]))
        scores = model.score(query, candidates)
        calls.append(("scores", [scores], [tf.identity(scores)]))
        return scores

    # Id 0 would be no user.
    user, item = ({name: tf.ones_like(values) for name, values in _nothing(each).items()} for each in (features, items))
    model(user, [item])
    with _recording(model, calls):
        return tf.function(scored).get_concrete_function(dict(features), dict(items))


def _nothing(features: Mapping[str, tf.TensorSpec]) -> dict[str, tf.Tensor]:
    return {name: tf.zeros([2 if size is None else size for size in spec.shape], spec.dtype) for name, spec in features.items()}


def _listed(features: Mapping[str, tf.TensorSpec]) -> list[str]:
    """Returns the names of some features in one or two lines, and how many more there are."""
    names = list(features)
    for shown in range(min(len(names), _SHOWN_FEATURES), 0, -1):
        more = f" and {len(names) - shown} more" if len(names) > shown else ""
        lines = textwrap.wrap(", ".join(names[:shown]) + more, _LINE)
        if len(lines) <= _LINES:
            return lines
    return [f"{len(names)} features"] if names else []


@contextmanager
def _recording(model: keras.Model, calls: list[Call]) -> Iterator[None]:
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


def _shape(tensor: tf.Tensor, first: str) -> str:
    sizes = ["?" if size is None else str(size) for size in tensor.shape]
    return f"[{', '.join([first, *sizes[1:]])}]"


def plot_model(
    model: RankingModel | MatchingModel,
    features: Mapping[str, tf.TensorSpec],
    path: Path,
    title: str,
    items: Mapping[str, tf.TensorSpec] | None = None,
) -> list[Path]:
    """Writes the picture as `path` with the endings .png and .svg.

    Args:
        model: Built or not.
        features: Types of what it takes, of a matching model on the user's side.
        items: Of a matching model, types of what it takes on the items' side.
        path: Without an ending, or with one of the two.
        title: Above the picture.

    Returns:
        Both files.
    """
    boxes = architecture(model, features, items)
    places = across([box.level for box in boxes], [box.sources for box in boxes], _ACROSS, _LANE)
    margin = max(5.0 - max(places.values()) - _ACROSS / 2, 0.0) / 2
    places = {place: x + margin for place, x in places.items()}
    width, down = max(places.values()) + _ACROSS / 2 + margin, max(box.level for box in boxes) + 1
    figure = matplotlib.figure.Figure(figsize=(width + 0.4, down * _DOWN + 0.3), dpi=110)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-0.2, width + 0.2)
    axes.set_ylim(-down * _DOWN + 0.4, 0.7)
    axes.axis("off")
    axes.text(width / 2, 0.4, title, ha="center", va="center", fontsize=13, fontweight="bold")
    for number, box in enumerate(boxes):
        x, y = places[number, box.level], -box.level * _DOWN - _HEIGHT / 2
        corner = (x - _WIDTH / 2, y - _HEIGHT / 2)
        style = "round,pad=0,rounding_size=0.08"
        axes.add_patch(FancyBboxPatch(corner, _WIDTH, _HEIGHT, style, fc=_COLOURS[box.kind], ec="#555555", lw=0.9))
        rows = [box.title, *box.lines]
        for line, row in enumerate(rows):
            offset, size = ((len(rows) - 1) / 2 - line) * 0.22, 9.5 if line == 0 else 7.5
            axes.text(x, y + offset, row, ha="center", va="center", fontsize=size, fontweight="bold" if line == 0 else "normal")
        # Arrows end side by side, in the order in which they come.
        sources = sorted(box.sources, key=lambda source: places[source, box.level - 1])
        for order, source in enumerate(sources):
            end = x + (order - (len(sources) - 1) / 2) * min(0.4, 1.8 / len(sources))
            _arrow(axes, [places[source, row] for row in range(boxes[source].level, box.level)] + [end], boxes[source].level)
    files = [path.with_suffix(ending) for ending in (".png", ".svg")]
    for file in files:
        figure.savefig(file)
    return files


def _arrow(axes: Any, places: list[float], level: int) -> None:  # noqa: ANN401 (matplotlib)
    """Draws an arrow from a box in row `level`, straight down through its lanes in the rows below, to a box.

    Args:
        axes: Of the picture.
        places: Of the box, of the lane in each row between, and of the end.
        level: The first row.
    """
    points, codes = [(places[0], -level * _DOWN - _HEIGHT)], [Path2D.MOVETO]
    for row, (here, there) in enumerate(itertools.pairwise(places), level):
        bottom, top = -row * _DOWN - _HEIGHT, -(row + 1) * _DOWN
        bend = (bottom + top) / 2
        points += [(here, bend), (there, bend), (there, top)]
        codes += [Path2D.CURVE4] * 3
        if row - level < len(places) - 2:
            points.append((there, top - _HEIGHT))
            codes.append(Path2D.LINETO)
    curve = Path2D(points, codes)
    axes.add_patch(
        FancyArrowPatch(path=curve, arrowstyle="-|>", mutation_scale=10, shrinkA=0, shrinkB=0, lw=0.9, color="#555555", zorder=0)
    )
