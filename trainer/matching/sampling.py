"""Negatives drawn in the graph: uniform or by popularity, from the items that a user has not; and negatives shared by a whole batch.

A draw is one random number and no draw is thrown away, however many items the user has. Items have whole-number weights w, and lie one
after the other on a line, item i from W(i) = w(0) + ... + w(i - 1) on. A user's own items s(0) < s(1) < ... are taken out of the line: the
weight of others before s(k) is g(k) = W(s(k)) - w(s(0)) - ... - w(s(k - 1)). A uniform whole number x below the weight of all others falls,
in the whole line, on x plus the weight of those own items with g(k) <= x, and the item there is the negative. For all users at once these
g(k) are one ascending array, in which each user has a stretch of its own, so a binary search finds them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

# Weight of all items together, where they are not uniform: fine enough for an item of a share of 1e-9, and leaves room for 2^24 users.
_WEIGHT_BITS = 38


@dataclass(frozen=True)
class NegativeSampling:
    """Which negatives come with a batch.

    Attributes:
        per_positive: n, negatives of each positive's own.
        shared: N, negatives for all positives of the batch; no user's items are left out of them.
        alpha: An item is drawn in proportion to its training interactions to this power; 0 is uniform. Beyond 0, items without an
            interaction are never drawn.
        exclude_seen: No own negative is an item of its user's training sequence. A user who has every item gets draws from all of them.
        seen_in_batch: The batch says which of its positives each row's user has: `seen_in_batch`, for in-batch softmax.
    """

    per_positive: int = 0
    shared: int = 0
    alpha: float = 0.0
    exclude_seen: bool = True
    seen_in_batch: bool = False

    def __post_init__(self) -> None:
        if min(self.per_positive, self.shared, self.alpha) < 0:
            raise ValueError(f"Numbers of negatives and alpha should be 0 or more. Received: {self}.")


class ItemDistribution:
    """The items, each with the probability count ** alpha / (sum of all).

    Args:
        counts: Training interactions of each item, `[C]`.
        alpha: 0 or more; 0 is uniform, over items without an interaction too.
        max_users: At most so many at a time are asked about in `seen_items`; no more than 2^24.

    Attributes:
        total: Weight of all items.
        weights: Of each item, int64 `[C]`; 1 each where uniform.
        cumulative: W(i + 1), int64 `[C]`.
        log_q: Log probability of each item, float32 `[C]`: the logQ of sampled softmax. N draws expect N q of an item; log N, the same
            for all, cancels. Of items that are never drawn, that of the least weight.
    """

    def __init__(self, counts: NDArray, alpha: float = 0.0, max_users: int = 1 << 24) -> None:
        self.is_uniform = alpha == 0 or not counts.any()
        if self.is_uniform:
            self.weights = np.ones(len(counts), np.int64)
        else:
            # Of shares, as large numbers to a large power would be infinite.
            powers = np.where(counts > 0, (counts / counts.max()) ** alpha, 0.0)
            rounded = np.rint(powers * (2.0**_WEIGHT_BITS / powers.sum())).astype(np.int64)
            self.weights = np.where(counts > 0, np.maximum(rounded, 1), 0)
        self.cumulative = np.cumsum(self.weights)
        self.total = int(self.cumulative[-1])
        # Half the memory to search where it is enough.
        self.key_type = np.int32 if max_users * (self.total + 1) < 2**31 else np.int64
        self.log_q = np.log(np.maximum(self.weights, 1) / self.total).astype(np.float32)
        self._line = tf.constant(self.cumulative)

    def items_at(self, points: tf.Tensor) -> tf.Tensor:
        """Returns the items at these points of the line, int32 in the shape of `points`."""
        if self.is_uniform:
            return tf.cast(points, tf.int32)
        return tf.reshape(tf.searchsorted(self._line, tf.reshape(points, [-1]), side="right"), tf.shape(points))

    def draw_shared(self, number: int, seed: tf.Tensor) -> tf.Tensor:
        """Returns `number` draws with replacement, int32 `[number]`; `seed` is `[2]`."""
        return self.items_at(_below(tf.constant(self.total, tf.float64), [number], seed))

    def draw(self, rows: tf.Tensor, number: int, seed: tf.Tensor, seen: dict[str, tf.Tensor] | None = None) -> tf.Tensor:
        """Draws negatives of the rows' own, with replacement.

        Args:
            rows: Of the users in `seen`, int64 `[B]`.
            number: Of each row.
            seed: `[2]`.
            seen: From `seen_items`: what not to draw. Where not given, any item may be drawn.

        Returns:
            Item numbers, int32 `[B, number]`.
        """
        shape = [tf.size(rows), number]
        if seen is None:
            return self.items_at(_below(tf.constant(self.total, tf.float64), shape, seed))
        point = _below(tf.gather(seen["free"], rows)[:, None], shape, seed)
        first = (rows * (self.total + 1))[:, None]
        passed = tf.searchsorted(seen["keys"], tf.reshape(tf.cast(point + first, self.key_type), [-1]), side="right")
        taken = tf.cast(passed, tf.int64) if self.is_uniform else tf.gather(seen["taken"], passed)
        return self.items_at(point + tf.reshape(taken, shape) - tf.gather(seen["start"], rows)[:, None])

    def seen_items(self, starts: NDArray, items: NDArray) -> dict[str, NDArray]:
        """Returns what `draw` needs to know of the items that users have, in any order and as often as they like.

        Args:
            starts: Where each user's items begin and, last, where all end; `[U + 1]`.
            items: Item numbers of all users, one after the other.

        Returns:
            `keys`, ascending: for each user and item of theirs, row * (total + 1) + g. `taken`: the weight of all items before each key,
            whosever, `[K + 1]`; not where uniform, which makes it the place itself. For each user `start`, what was taken before their
            first, and `free`, the weight of the items that they have not.
        """
        users, num_items = len(starts) - 1, len(self.weights)
        pairs = np.sort(np.repeat(np.arange(users), np.diff(starts)) * num_items + items)
        owners, held = np.divmod(pairs[np.diff(pairs, prepend=-1) > 0], num_items)
        weights = self.weights[held]
        own = np.bincount(owners, weights, users).astype(np.int64)
        # Who has every item that could be drawn counts as having none.
        some_left = own < self.total
        own = np.where(some_left, own, 0)
        kept = some_left[owners]
        owners, held, weights = owners[kept], held[kept], weights[kept]
        taken = np.concatenate([[0], np.cumsum(weights)])
        start = np.cumsum(own) - own
        keys = owners * (self.total + 1) + (self.cumulative[held] - weights) - (taken[:-1] - start[owners])
        seen = {"keys": keys.astype(self.key_type), "start": start, "free": (self.total - own).astype(np.float64)}
        return seen if self.is_uniform else {**seen, "taken": taken}

    @property
    def seen_spec(self) -> dict[str, tf.TensorSpec]:
        """Types of what `seen_items` returns."""
        types = {"keys": tf.as_dtype(self.key_type), "start": tf.int64, "free": tf.float64}
        if not self.is_uniform:
            types["taken"] = tf.int64
        return {name: tf.TensorSpec([None], dtype) for name, dtype in types.items()}


def seen_in_batch(starts: tf.Tensor, items: tf.Tensor, rows: tf.Tensor, candidates: tf.Tensor, num_items: int) -> tf.Tensor:
    """Returns whether each row's user has each candidate, bool `[B, C]`.

    Args:
        starts: Where each user's items begin and, last, where all end; `[U + 1]`.
        items: Item numbers of all users, one after the other.
        rows: Of the users, `[B]`.
        candidates: Item numbers, `[C]`.
        num_items: Of the catalogue.
    """
    places = tf.ragged.range(tf.gather(starts, rows), tf.gather(starts, rows + 1))
    unique, column = tf.unique(candidates)
    width = tf.size(unique) + 1  # the last column is for all other items
    column_of = tf.tensor_scatter_nd_update(tf.fill([num_items], width - 1), unique[:, None], tf.range(width - 1))
    # Where each row's cells begin, repeated for its items; `value_rowids` takes several times as long.
    steps = tf.scatter_nd(places.row_splits[:-1, None], tf.fill([tf.size(rows)], width), tf.shape(places.flat_values, tf.int64) + 1)
    cells = tf.cumsum(steps)[:-1] - width + tf.gather(column_of, tf.gather(items, places.flat_values))
    seen = tf.math.unsorted_segment_max(tf.ones_like(cells, tf.int8), cells, tf.size(rows) * width) > 0
    return tf.gather(tf.reshape(seen, [-1, width]), column, axis=1)


def _below(limits: tf.Tensor, shape: list, seed: tf.Tensor) -> tf.Tensor:
    """Returns uniform whole numbers below `limits`, int64; they have 52 random bits."""
    return tf.cast(tf.random.stateless_uniform(shape, seed, dtype=tf.float64, alg="philox") * limits, tf.int64)
