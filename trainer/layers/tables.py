"""Embedding tables: all tables of one width are one variable, so that a batch costs one gather and one scatter."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from trainer.layers.initializers import Initializer, comes_in_pieces, fill, stacked


class StackedTable(keras.layers.Layer):
    """The tables of one width, stacked into one float32 variable `[rows, dim]`.

    Row `i` of a table is row `offsets[table] + i` of the variable. The gradient of a look-up is one `tf.IndexedSlices`.

    Args:
        rows: Rows of each table, in the order in which they are stacked.
        dim: Width of the tables.
        initializer: Keras or TensorFlow initializer, of all tables or by table; RandomNormal(stddev=0.01) where not given.
        trainable: Whether the variable is trained.
        l2: Penalty of the tables that declare their own.
        weight_columns: How many of the last columns are no part of the vectors: first-order weights.
        name: Name of the layer.

    Attributes:
        table: The variable.
        dim: Width of the tables.
        rows: Rows of each table.
        offsets: First row of each table.
        l2: lambda of (lambda / 2) * sum of squares over the rows of a step, of the tables that declare their own; row-wise optimizers
            apply it, and their own to the others.
        answer: Called in training, where it is set, with the arguments of `call`; gives the vectors `[n, dim]` instead of the gather.
            Row-wise optimizers read rows with their state here, each once.
        read: The same outside of training: exports read rows from what they store in place of the variable.
    """

    def __init__(
        self,
        rows: Mapping[str, int],
        dim: int,
        initializer: Initializer | str | Mapping[str, Initializer] | None = None,
        *,
        trainable: bool = True,
        l2: Mapping[str, float] | None = None,
        weight_columns: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype="float32", autocast=False)
        self.answer: Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor] | None = None
        self.read: Callable[[tf.Tensor], tf.Tensor] | None = None
        self.dim, self.weight_columns, self.rows, self.l2 = dim, weight_columns, dict(rows), dict(l2 or {})
        self.offsets = dict(zip(rows, itertools.accumulate(rows.values(), initial=0), strict=False))
        in_pieces = comes_in_pieces(rows, dim, initializer)
        self.table = self.add_weight(
            shape=(sum(rows.values()), dim),
            initializer="zeros" if in_pieces else stacked(rows, initializer),
            dtype="float32",
            autocast=False,
            trainable=trainable,
            name="table",
        )
        if in_pieces:
            fill(self.table.value, rows, initializer)
        self.built = True

    def call(self, rows: tf.Tensor, present: tf.Tensor | None = None, training: bool | None = None) -> tf.Tensor:
        """Returns the vectors `[n, dim]` of the rows `[n]` of the stack; zeros where not `present`, bool `[n]`, the same for equal rows."""
        if training and self.answer is not None:
            return self.answer(rows, present)
        # Not Keras' `take`: only a gather on the variable itself has a sparse gradient.
        vectors = tf.gather(self.table.value, rows) if training or self.read is None else self.read(rows)
        return vectors if present is None else vectors * tf.cast(present, tf.float32)[:, tf.newaxis]


class NumericVectors(keras.layers.Layer):
    """One learned vector a number; x is embedded as x * v, as factorization machines do, and a vector of numbers as the sum of these.

    Every vector is used by every example, so this is a dense variable `[N, dim]` beside the stacked tables.

    Args:
        sizes: How many numbers each feature has; N is their sum.
        dim: Width of the vectors.
        initializer: Keras initializer, of all or by feature; RandomNormal(stddev=0.01) where not given.
        name: Name of the layer.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        dim: int,
        initializer: Initializer | str | Mapping[str, Initializer] | None = None,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype="float32", autocast=False)
        self.sizes = dict(sizes)
        self.offsets = dict(zip(sizes, itertools.accumulate(sizes.values(), initial=0), strict=False))
        self.count = sum(sizes.values())
        self.vectors = self.add_weight(
            shape=(self.count, dim), initializer=stacked(sizes, initializer), dtype="float32", autocast=False, name="vectors"
        )
        self.built = True

    def call(self, numbers: tf.Tensor) -> tf.Tensor:
        """Returns `[B, n, dim]` for the first n numbers `[B, n]`, each with its own vector."""
        first = numbers.shape[1]
        vectors = self.vectors.value if first == self.count else self.vectors.value[:first]
        return numbers[:, :, tf.newaxis] * vectors

    def project(self, numbers: tf.Tensor, feature: str) -> tf.Tensor:
        """Returns `[..., dim]` for the numbers `[..., size]` of one feature: the sum of x * v over its numbers."""
        start = self.offsets[feature]
        return tf.tensordot(numbers, self.vectors.value[start : start + self.sizes[feature]], axes=1)
