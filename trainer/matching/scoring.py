"""A model's scores of many users against many items, in blocks of bounded memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from serving.retrieval import geometry_of
from trainer.data import Lists
from trainer.models.base import MatchingModel

# The largest tensor that scoring makes: 64 MiB of float32.
BLOCK_FLOATS = 1 << 24
_ITEMS_AT_ONCE = 8192
_LEAST_USERS = 64
# Above minus infinity, which is what is masked, and not above any other score.
_LOWEST = tf.float32.min


class Best(NamedTuple):
    """The scores that decide the first K ranks of B users.

    Attributes:
        targets: Of each user's targets, `[B, T]` float32; minus infinity for one that the user has seen, and in places without a target.
        negatives: Of the k best other items that the user has not seen, best first, `[B, k]`; minus infinity where there are fewer.
        items: Numbers of these, `[B, k]`.
    """

    targets: NDArray[np.float32]
    negatives: NDArray[np.float32]
    items: NDArray[np.int32]


class Scorer:
    """Scores by a model, with dropout off.

    Args:
        model: With its weights made.
        block_floats: How many floats the largest tensor may have; users and items come in blocks that keep to it.
    """

    def __init__(self, model: MatchingModel, block_floats: int = BLOCK_FLOATS) -> None:
        self.model, self.block_floats = model, block_floats
        self._floats_a_pair: dict[int, int] = {}

    @tf.function(reduce_retracing=True)
    def queries(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns what the users are scored by, `[B, Q]`."""
        return self.model.query(features)

    def candidates(self, features: Mapping[str, NDArray], num_items: int) -> tf.Tensor:
        """Returns what all items are scored by, `[C, Q]`; `features` are those of all items.

        Products and distances are taken in float32, whatever the model computes in, as an export takes them: scores of half precision tie
        by the dozen.
        """
        starts = range(0, num_items, _ITEMS_AT_ONCE)
        vectors = tf.concat([self._candidates({name: v[at : at + _ITEMS_AT_ONCE] for name, v in features.items()}) for at in starts], 0)
        is_half = vectors.dtype in (tf.float16, tf.bfloat16)
        return tf.cast(vectors, tf.float32) if is_half and geometry_of(self.model, vectors) != "other" else vectors

    @tf.function(reduce_retracing=True)
    def _candidates(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return self.model.candidates(features)

    def best(self, queries: tf.Tensor, candidates: tf.Tensor, seen: Lists, targets: NDArray, k: int) -> Best:
        """Scores users against the whole catalogue.

        Args:
            queries: `[B, Q]`.
            candidates: `[C, Q]`.
            seen: Numbers of the items that each of the B users has seen; they are not recommended again.
            targets: Numbers of each user's targets, `[B, T]`, -1 at the end of shorter rows; T may be 0.
            k: How many of the other items are wanted; those beyond decide about ranks beyond k alone.
        """
        queries = _alike(queries, candidates)
        pairs = max(1, self.block_floats // self._measure(queries, candidates))
        items = min(int(candidates.shape[0]), max(1, pairs // _LEAST_USERS))
        users = max(1, pairs // items)
        parts = []
        for begin in range(0, len(targets), users):
            rows = np.arange(begin, min(begin + users, len(targets)))
            part = seen.take(rows)
            owners = np.repeat(np.arange(len(rows), dtype=np.int32), part.lengths)
            given = queries[begin : begin + users], candidates, owners, part.values.astype(np.int32), targets[rows].astype(np.int32)
            parts.append([tensor.numpy() for tensor in self._best(*given, k=k, block=items)])
        return Best(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    @tf.function(reduce_retracing=True)
    def _best(
        self, queries: tf.Tensor, candidates: tf.Tensor, owners: tf.Tensor, seen: tf.Tensor, targets: tf.Tensor, *, k: int, block: int
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        users = tf.shape(queries)[0]
        found = tf.fill(tf.shape(targets), -np.inf)
        best, best_items = tf.fill([users, k], -np.inf), tf.zeros([users, k], tf.int32)
        for begin in tf.range(0, tf.shape(candidates)[0], block):
            # One block after the other, or several would be in memory at once.
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            raw = tf.cast(self.model.score(queries, candidates[begin : begin + block]), tf.float32)
            size = tf.shape(raw)[1]
            # What is no number counts against the positives: above all as a negative, lowest as a positive.
            scores = tf.where(tf.math.is_nan(raw), np.inf, tf.maximum(raw, _LOWEST))
            here = (seen >= begin) & (seen < begin + size)
            scores = _without(scores, tf.boolean_mask(owners, here), tf.boolean_mask(seen, here) - begin)
            place = targets - begin
            inside = (place >= 0) & (place < size)
            at = tf.clip_by_value(place, 0, size - 1)
            of_target, is_nan = tf.gather(scores, at, batch_dims=1), tf.math.is_nan(tf.gather(raw, at, batch_dims=1))
            found = tf.where(inside, tf.where(is_nan & (of_target > _LOWEST), _LOWEST, of_target), found)
            scores = _without(scores, tf.cast(tf.where(inside)[:, 0], tf.int32), tf.boolean_mask(place, inside))
            top = tf.math.top_k(scores, tf.minimum(k, size))
            # Of equal scores the first is taken: the lower item number, since earlier blocks come first.
            best, chosen = tf.math.top_k(tf.concat([best, top.values], 1), k)
            best_items = tf.gather(tf.concat([best_items, top.indices + begin], 1), chosen, batch_dims=1)
        return found, best, best_items

    def listed(self, queries: tf.Tensor, candidates: tf.Tensor, items: NDArray) -> NDArray[np.float32]:
        """Returns the scores of each user's own items, `[B, M]`; `items` are their numbers, of the same shape, anything where below 0."""
        queries = _alike(queries, candidates)
        floats = max(int(candidates.shape[1]), self._measure(queries, candidates)) * items.shape[1]
        users = max(1, self.block_floats // max(floats, 1))
        blocks = [slice(begin, begin + users) for begin in range(0, len(items), users)]
        return np.concatenate([self._listed(queries[rows], candidates, items[rows].astype(np.int32)).numpy() for rows in blocks])

    @tf.function(reduce_retracing=True)
    def _listed(self, queries: tf.Tensor, candidates: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.model.score(queries, tf.gather(candidates, tf.maximum(items, 0))), tf.float32)

    def _measure(self, queries: tf.Tensor, candidates: tf.Tensor) -> int:
        """Returns how many floats a pair the largest tensor inside the model's `score` has: 1 for an inner product."""
        width = int(candidates.shape[1])
        if width not in self._floats_a_pair:
            side = 4096
            specs = [tf.TensorSpec([side, width], tensor.dtype) for tensor in (queries, candidates)]
            # A graph of that size is only drawn, not run.
            graph = tf.function(self.model.score).get_concrete_function(*specs).graph
            sizes = [output.shape.num_elements() for operation in graph.get_operations() for output in operation.outputs]
            largest = max(side * side * width if size is None else size for size in sizes)
            self._floats_a_pair[width] = math.ceil(largest / side**2)
        return self._floats_a_pair[width]


def _alike(queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    """Returns the queries in float32 where the candidates are."""
    return tf.cast(queries, tf.float32) if queries.dtype.is_floating and candidates.dtype == tf.float32 else queries


def _without(scores: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Returns scores `[B, C]` with those of some pairs masked."""
    return tf.tensor_scatter_nd_update(scores, tf.stack([rows, columns], 1), tf.fill(tf.shape(rows), -np.inf))
