"""The linear term over `tf.feature_column` columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from feature_specs import ColonnadeError
from trainer.layers.column_ids import CATEGORICAL, Column, Lookups, Transformed, kind, unwrapped
from trainer.layers.tables import StackedTable


class ColumnFirstOrder(keras.layers.Layer):
    """The linear term of TensorFlow's LinearModel: the sum of one weight a token (times its own weight, if any) and of w * x for numbers.

    It starts at zero and stays float32 under mixed precision: it is a part of the logits.

    Args:
        columns: Categorical, bucketized, indicator and numeric columns.
        use_bias: Whether to add a global bias.
        name: Name of the layer.
    """

    def __init__(self, columns: Sequence[Column], use_bias: bool = False, *, name: str | None = None) -> None:
        super().__init__(name=name, autocast=False)
        self._columns = as_linear(columns)
        self._lookups = Lookups()
        self.lookups = self._lookups.module
        self._numeric = [column for column in self._columns if kind(column) == "NumericColumn"]
        self._categorical = [column for column in self._columns if kind(column) != "NumericColumn"]
        self._table = None
        with keras.name_scope(self.name):
            if self._categorical:
                self._table = StackedTable({c.name: c.num_buckets for c in self._categorical}, 1, "zeros", name="tables_1")
        options: dict[str, Any] = {"initializer": "zeros", "dtype": "float32", "autocast": False}
        sizes = sum(column.variable_shape.num_elements() for column in self._numeric)
        self._kernel = self.add_weight(shape=(sizes,), name="numbers", **options) if sizes else None
        self.bias = self.add_weight(shape=(), name="bias", **options) if use_bias else None
        self.built = True

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> tf.Tensor:
        """Returns `[B]`, float32."""
        batch = Transformed(self._columns, features, self._lookups)
        total = tf.zeros([_rows(next(iter(features.values())))], tf.float32)
        if self._table is not None:
            ids = [batch.ids(column) for column in self._categorical]
            rows = tf.concat([each.values + self._table.offsets[c.name] for c, each in zip(self._categorical, ids, strict=True)], 0)
            weights = self._table(rows, training=training)[:, 0]
            if any(each.weights is not None for each in ids):
                weights *= tf.concat([tf.ones_like(e.values, tf.float32) if e.weights is None else e.weights for e in ids], 0)
            examples = tf.concat([each.steps // each.shape[1] for each in ids], 0)
            total += tf.math.unsorted_segment_sum(weights, examples, ids[0].shape[0])
        if self._kernel is not None:
            numbers = [column.get_dense_tensor(batch.cache, self._lookups) for column in self._numeric]
            sizes = [column.variable_shape.num_elements() for column in self._numeric]
            flat = tf.concat([tf.reshape(x, [-1, size]) for x, size in zip(numbers, sizes, strict=True)], 1)
            total += tf.linalg.matvec(flat, self._kernel.value)
        return total if self.bias is None else total + self.bias.value


def _rows(feature: Any) -> tf.Tensor:  # noqa: ANN401 (any kind of tensor)
    if isinstance(feature, tf.SparseTensor):
        return tf.cast(feature.dense_shape[0], tf.int32)
    return tf.cast(feature.nrows(), tf.int32) if isinstance(feature, tf.RaggedTensor) else tf.shape(feature)[0]


def as_linear(columns: Sequence[Column]) -> list[Column]:
    """Returns the columns as a linear term takes them: an indicator is as good as the categorical column inside it.

    Raises:
        ColonnadeError: A column gives learned vectors or sequences of numbers, or is there twice.
    """
    found: dict[str, Column] = {}
    for column in columns:
        bare = column.categorical_column if kind(column) == "IndicatorColumn" else column
        if kind(bare) != "NumericColumn" and kind(unwrapped(bare)) not in CATEGORICAL:
            raise ColonnadeError(
                f"Column {getattr(column, 'name', column)!r} cannot be in a linear term. Received: {kind(column)}. Expected: a categorical "
                "column as it is, a crossed, weighted, bucketized, indicator or numeric column; pass others as `columns` alone."
            )
        if bare.name in found:
            raise ColonnadeError(f"Two linear columns are named {bare.name!r}. Leave one out.")
        found[bare.name] = bare
    return list(found.values())
