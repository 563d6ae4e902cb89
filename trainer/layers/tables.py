"""Embedding tables: all tables of one width are one variable, so that a batch costs one gather and one scatter."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

Initializer = Callable[..., tf.Tensor]


class StackedTable(keras.layers.Layer):
    """The tables of one width, stacked into one float32 variable `[rows, dim]`.

    Row `i` of a table is row `offsets[table] + i` of the variable. The gradient of a look-up is one `tf.IndexedSlices`.

    Args:
        rows: Rows of each table, in the order in which they are stacked.
        dim: Width of the tables.
        initializer: Keras or TensorFlow initializer, of all tables or by table; RandomNormal(stddev=0.01) where not given.
        trainable: Whether the variable is trained.
        name: Name of the layer.

    Attributes:
        table: The variable.
        dim: Width of the tables.
        rows: Rows of each table.
        offsets: First row of each table.
        answer: Called in training, where it is set, with the row numbers `[n]` (repeated ones included); gives the vectors `[n, dim]`
            instead of the gather. Row-wise optimizers read rows with their state here, each once.
    """

    def __init__(
        self,
        rows: Mapping[str, int],
        dim: int,
        initializer: Initializer | str | Mapping[str, Initializer] | None = None,
        *,
        trainable: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype="float32", autocast=False)
        self.answer: Callable[[tf.Tensor], tf.Tensor] | None = None
        self.dim, self.rows = dim, dict(rows)
        self.offsets = dict(zip(rows, itertools.accumulate(rows.values(), initial=0), strict=False))
        self.table = self.add_weight(
            shape=(sum(rows.values()), dim),
            initializer=_stacked(rows, initializer),
            dtype="float32",
            autocast=False,
            trainable=trainable,
            name="table",
        )
        self.built = True

    def call(self, rows: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns the vectors `[n, dim]` of the rows `[n]` of the stack."""
        if training and self.answer is not None:
            return self.answer(rows)
        # Not Keras' `take`: only a gather on the variable itself has a sparse gradient.
        return tf.gather(self.table.value, rows)


class NumericVectors(keras.layers.Layer):
    """One learned vector a numeric feature; x is embedded as x * v, as factorization machines do.

    Every vector is used by every example, so this is a dense variable `[N, dim]` beside the stacked tables.

    Args:
        count: How many features, N.
        dim: Width of the vectors.
        initializer: Keras initializer; RandomNormal(stddev=0.01) where not given.
        name: Name of the layer.
    """

    def __init__(self, count: int, dim: int, initializer: Initializer | str | None = None, *, name: str | None = None) -> None:
        super().__init__(name=name, dtype="float32", autocast=False)
        self.vectors = self.add_weight(shape=(count, dim), initializer=_own(initializer), dtype="float32", autocast=False, name="vectors")
        self.built = True

    def call(self, numbers: tf.Tensor) -> tf.Tensor:
        """Returns `[B, N, dim]` for `[B, N]`."""
        return numbers[:, :, tf.newaxis] * self.vectors.value


def _own(initializer: Initializer | str | None) -> Initializer:
    """Returns an initializer that no other variable uses: one object would give variables of equal shape equal numbers."""
    if initializer is None:
        return keras.initializers.RandomNormal(stddev=0.01)
    found: Any = keras.initializers.get(initializer)
    return found.clone() if isinstance(found, keras.initializers.Initializer) else found


def _stacked(rows: Mapping[str, int], initializer: Initializer | str | Mapping[str, Initializer] | None) -> Initializer:
    """Returns the initializer of the whole stack."""
    if not isinstance(initializer, Mapping):
        return _own(initializer)
    by_table = {table: _own(initializer[table]) for table in rows}

    def initial_value(shape: tuple[int, int], dtype: str) -> tf.Tensor:
        dtype = tf.as_dtype(dtype)
        return tf.concat([tf.cast(by_table[table]([count, shape[1]], dtype=dtype), dtype) for table, count in rows.items()], axis=0)

    return initial_value
