"""Exact top-k over all items, a block of them at a time, in the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from feature_specs.spec import FeatureSpec
from serving.sides import item_side

Geometry = Literal["inner", "distance", "other"]
_BUDGET = 1 << 24  # numbers that one block's scores, or the vectors made for them, may take: 64 MB
_EMBEDDED_AT_ONCE = 1 << 16


class MatchingScorer(Protocol):
    """What a matching model is to this package."""

    variables: list[Any]

    def query(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns what users are scored by, `[B, Q]`."""

    def candidates(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns what items are scored by, `[C, Q]`."""

    def score(self, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Returns the scores of queries `[B, Q]` against candidates `[C, Q]`, or `[B, C, Q]`: `[B, C]`."""


class Best(NamedTuple):
    """The best items of each query, the best first; of equal scores the lower number.

    Attributes:
        numbers: int32 `[B, k]`; -1 where there are no more items.
        scores: float32 `[B, k]`; -inf there.
    """

    numbers: tf.Tensor
    scores: tf.Tensor


class Seen(NamedTuple):
    """Items to leave out, as pairs of a row and an item's number, int64 and int32 `[M]`."""

    rows: tf.Tensor
    numbers: tf.Tensor


def top_items(
    score: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], query: tf.Tensor, vectors: tf.Variable, k: tf.Tensor, seen: Seen, geometry: Geometry
) -> Best:
    """Returns the k best items of each query.

    A score of NaN or minus infinity counts as the lowest finite one: such items come last, and before there are none.

    Args:
        score: Of queries `[B, Q]` against vectors `[C, Q]`.
        query: `[B, Q]`.
        vectors: Of all items, `[C, Q]`.
        k: `[]` int32; may be larger than C.
        seen: Items that are no candidates for a row.
        geometry: What `score` is.
    """
    query = query if geometry == "other" else tf.cast(query, vectors.dtype)
    batch, count, width = tf.shape(query)[0], vectors.shape[0], vectors.shape[1]
    kept = tf.minimum(k, count)
    # Inner products and distances are one product of matrices; other scores have a vector for each pair on their way.
    pairs = _BUDGET // (width if geometry == "other" else 1)
    block = tf.clip_by_value(pairs // tf.maximum(batch, 1), 1, count)

    def merge(start: tf.Tensor, numbers: tf.Tensor, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        end = tf.minimum(start + block, count)
        found = finite(score(query, vectors[start:end]))
        found = tf.ensure_shape(found, [None, None])
        inside = (seen.numbers >= start) & (seen.numbers < end)
        places = tf.stack([seen.rows, tf.cast(seen.numbers - start, tf.int64)], axis=1)
        places = tf.boolean_mask(places, inside)
        found = tf.tensor_scatter_nd_min(found, places, tf.fill([tf.shape(places)[0]], -np.inf))
        # Of equal scores top_k takes the first: items of earlier blocks stand before.
        best, place = tf.math.top_k(tf.concat([scores, found], axis=1), kept)
        earlier = tf.gather(numbers, tf.minimum(place, kept - 1), batch_dims=1)
        number = tf.where(place < kept, earlier, start + place - kept)
        return end, tf.where(tf.math.is_inf(best) & (best < 0), -1, number), best

    _, numbers, scores = tf.while_loop(
        lambda start, *_: start < count,
        merge,
        (tf.constant(0), tf.fill([batch, kept], -1), tf.fill([batch, kept], -np.inf)),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, None]), tf.TensorShape([None, None])),
        parallel_iterations=1,
    )
    more = [[0, 0], [0, k - kept]]
    return Best(tf.pad(numbers, more, constant_values=-1), tf.pad(scores, more, constant_values=-np.inf))


def finite(scores: tf.Tensor) -> tf.Tensor:
    """Returns scores as float32, the lowest finite one in place of NaN and minus infinity."""
    scores = tf.cast(scores, tf.float32)
    return tf.where(tf.math.is_nan(scores), tf.float32.min, tf.maximum(scores, tf.float32.min))


def compiled(side: FeatureSpec, function: Callable[[dict[str, tf.Tensor]], tf.Tensor]) -> Callable[[Mapping[str, tf.Tensor]], tf.Tensor]:
    """Returns a function of the transformed features of one side as a graph, traced once for all sizes."""
    shapes: dict[str, list[int | None]] = {"single": [None], "list": [None, None]}
    specs = {c.name: tf.TensorSpec(shapes.get(c.layout, [None, c.size]), c.dtype, name=c.name) for c in side.outputs}
    graph = tf.function(function, autograph=False, input_signature=[specs]).get_concrete_function()
    return lambda features: graph({name: tf.cast(features[name], spec.dtype) for name, spec in specs.items()})


def item_vectors(model: MatchingScorer, spec: FeatureSpec, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Returns the vectors of all items, `[C, Q]`, made some at a time."""
    embed = compiled(item_side(spec), lambda some: model.candidates(some))
    count = len(next(iter(features.values())))
    parts = [
        embed({name: values[start : start + _EMBEDDED_AT_ONCE] for name, values in features.items()})
        for start in range(0, count, _EMBEDDED_AT_ONCE)
    ]
    return tf.concat(parts, axis=0) if len(parts) > 1 else parts[0]


def index_of(model: MatchingScorer, spec: FeatureSpec, features: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, Geometry]:
    """Returns the vectors of all items and what scores are made of them.

    Products and distances are taken in float32, whatever the model computes in: scores of half precision tie by the dozen.
    """
    vectors = item_vectors(model, spec, features)
    geometry = geometry_of(model, vectors)
    return (vectors if geometry == "other" else tf.cast(vectors, tf.float32)), geometry


def geometry_of(model: MatchingScorer, vectors: tf.Tensor) -> Geometry:
    """Tells by trying whether scores are inner products, or negative squared distances, of queries and item vectors."""
    dice = np.random.default_rng(0)
    query, others = (tf.cast(dice.normal(size=(rows, vectors.shape[1])), vectors.dtype) for rows in (5, 7))
    try:
        found = np.asarray(tf.cast(model.score(query, others), tf.float64))
    except (ValueError, tf.errors.OpError):
        return "other"  # whose queries are of another kind than its items' vectors
    left, right = (np.asarray(tf.cast(one, tf.float64)) for one in (query, others))
    wanted: dict[Geometry, np.ndarray] = {
        "inner": left @ right.T,
        "distance": -np.square(left[:, np.newaxis] - right).sum(axis=2),
    }
    # Half precision rounds to some thousandths.
    near = (name for name, scores in wanted.items() if np.allclose(found, scores, rtol=0, atol=0.01 * np.abs(scores).max()))
    return next(near, "other")
