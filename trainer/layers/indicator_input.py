"""Fields that say how often each id occurs, without a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from trainer.layers.features import dense_ids
from trainer.layers.plan import Field
from trainer.layers.token_input import Block, ListValues, in_time, out_of_range, read_list, table_feature


class IndicatorInput:
    """One-hot vectors of single values, counts of a list's; weighted values count as their weight. Id 0 has no place.

    Args:
        fields: In order; their width is that of their table without row 0.
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = list(fields)
        self.names = tuple(field.name for field in fields)

    def embed(
        self, features: Mapping[str, Any], training: bool | None, embeddings: dict[str, tf.Tensor], lengths: dict[str, tf.Tensor]
    ) -> None:
        """Adds the fields to `embeddings`, `{name: [B, T, rows - 1]}`, and `lengths`."""
        del training
        for field in self.fields:
            if field.is_list:
                values = read_list(features, field)
                embeddings[field.name] = in_time(field, values, self._one_hot(values.ids, field))
                lengths[field.name] = values.lengths
            else:
                ids = dense_ids(features, table_feature(field))
                embeddings[field.name] = self._one_hot(ids, field)[:, tf.newaxis]
                lengths[field.name] = tf.cast(ids > 0, tf.int32)

    def pool(self, features: Mapping[str, Any], training: bool | None) -> list[Block]:
        """Returns one block a field."""
        del training
        blocks = []
        for field in self.fields:
            if field.is_list:
                vectors = self._counts(read_list(features, field, in_time=False), field)
            else:
                vectors = self._one_hot(dense_ids(features, table_feature(field)), field)
            blocks.append(Block((field.name,), vectors[:, tf.newaxis]))
        return blocks

    def _one_hot(self, ids: tf.Tensor, field: Field) -> tf.Tensor:
        return tf.one_hot(_checked(ids, field) - 1, field.width)  # -1 is nowhere

    def _counts(self, values: ListValues, field: Field) -> tf.Tensor:
        """Returns `[B, width]`, without a one-hot vector a value."""
        ids, batch = _checked(values.ids, field), tf.shape(values.ids, tf.int64)[0]
        places = tf.where(ids > 0, tf.range(batch)[:, tf.newaxis] * field.width + ids - 1, -1)  # a negative segment is left out
        counted = tf.ones_like(ids, tf.float32) if values.weights is None else values.weights
        counts = tf.math.unsorted_segment_sum(tf.reshape(counted, [-1]), tf.reshape(places, [-1]), batch * field.width)
        return tf.reshape(counts, [-1, field.width])


def _checked(ids: tf.Tensor, field: Field) -> tf.Tensor:
    is_valid = tf.reduce_all((ids >= 0) & (ids <= field.width))
    check = tf.debugging.Assert(is_valid, [out_of_range({field.table: field.width + 1})])
    with tf.control_dependencies([check] if check is not None else []):
        return tf.identity(ids)
