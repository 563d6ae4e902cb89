"""Fields of numbers: multiplied with learned vectors of one width, or as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from feature_specs.features import NumericSequenceFeature
from trainer.layers.features import dense_list, dense_numbers, padded_left, sequence_lengths
from trainer.layers.plan import Field
from trainer.layers.pooling import AttentionPooling, pool
from trainer.layers.tables import NumericVectors
from trainer.layers.token_input import Block


class NumberInput:
    """Embeds the numbers x of its fields as x * v; lists are pooled first, which is the same.

    Args:
        fields: Of one width, in order of rank.
        vectors: The vectors v of all of them, in this order.
        attention: Of the lists that are pooled by it.
        extra_columns: How many of the vectors' last columns are no part of what attention sees.
    """

    def __init__(
        self, fields: Sequence[Field], vectors: NumericVectors, attention: Mapping[str, AttentionPooling], extra_columns: int = 0
    ) -> None:
        self.fields, self.vectors, self.attention, self.extra_columns = list(fields), vectors, attention, extra_columns
        self.scalars = [field for field in fields if not field.is_list and field.size == 1]
        self.pooled = [*self.scalars, *(field for field in fields if field.is_list and not field.is_attended)]
        self.names = tuple(field.name for field in fields)

    def embed(
        self, features: Mapping[str, Any], training: bool | None, embeddings: dict[str, tf.Tensor], lengths: dict[str, tf.Tensor]
    ) -> None:
        """Adds the fields to `embeddings`, `{name: [B, T, D]}`, and `lengths`."""
        del training
        if self.scalars:
            vectors = self.vectors(_side_by_side(features, self.scalars))
            embeddings |= zip((f.name for f in self.scalars), tf.split(vectors, len(self.scalars), axis=1), strict=True)
            lengths |= dict.fromkeys((f.name for f in self.scalars), tf.ones(tf.shape(vectors)[:1], tf.int32))
        for field in self.fields[len(self.scalars) :]:
            numbers, lengths[field.name] = in_time(features, field)
            embeddings[field.name] = self.vectors.project(numbers, field.name)

    def pool(self, features: Mapping[str, Any], training: bool | None) -> list[Block]:
        """Returns the numbers and pooled lists, then vectors and lists that are pooled by attention."""
        del training
        blocks = []
        if self.pooled:
            vectors = self.vectors(_side_by_side(features, self.pooled))
            blocks.append(Block(tuple(field.name for field in self.pooled), vectors))
        for field in self.fields[len(self.pooled) :]:
            if field.is_attended:
                vectors = self._attended(features, field)[:, tf.newaxis]
            else:
                vectors = self.vectors.project(dense_numbers(features, field.name, field.size)[:, tf.newaxis], field.name)
            blocks.append(Block((field.name,), vectors))
        return blocks

    def _attended(self, features: Mapping[str, Any], field: Field) -> tf.Tensor:
        numbers = dense_list(features, field.name, tf.float32)
        present = ~tf.math.is_nan(numbers)
        vectors = self.vectors.project(tf.where(present, numbers, 0)[:, :, tf.newaxis], field.name)
        width = vectors.shape[-1] - self.extra_columns
        attended = self.attention[field.name](vectors[:, :, :width], present)
        return tf.concat([attended, pool(vectors[:, :, width:], present, "mean")], axis=1) if self.extra_columns else attended


class ValueInput:
    """The numbers of its fields as they are.

    Args:
        fields: In order.
        attention: Of the lists that are pooled by it.
    """

    def __init__(self, fields: Sequence[Field], attention: Mapping[str, AttentionPooling]) -> None:
        self.fields, self.attention = list(fields), attention
        self.names = tuple(field.name for field in fields)

    def embed(
        self, features: Mapping[str, Any], training: bool | None, embeddings: dict[str, tf.Tensor], lengths: dict[str, tf.Tensor]
    ) -> None:
        """Adds the fields to `embeddings`, `{name: [B, T, size]}`, and `lengths`."""
        del training
        for field in self.fields:
            embeddings[field.name], lengths[field.name] = in_time(features, field)

    def pool(self, features: Mapping[str, Any], training: bool | None) -> list[Block]:
        """Returns one block a field."""
        del training
        numbers = zip(self.names, self.pooled(features), strict=True)
        return [Block((name,), each[:, tf.newaxis]) for name, each in numbers]

    def pooled(self, features: Mapping[str, Any]) -> list[tf.Tensor]:
        """Returns the numbers of each field, `[B, size]`; lists are combined."""
        return [self._pooled(features, field) for field in self.fields]

    def _pooled(self, features: Mapping[str, Any], field: Field) -> tf.Tensor:
        """Returns `[B, size]`."""
        if not field.is_attended:
            return tf.reshape(_pooled_numbers(features, field), [-1, field.size])
        numbers = dense_list(features, field.name, tf.float32)
        present = ~tf.math.is_nan(numbers)
        return self.attention[field.name](tf.where(present, numbers, 0)[:, :, tf.newaxis], present)


def in_time(features: Mapping[str, Any], field: Field) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns numbers `[B, T, size]`, zero in the padding, which lies where the feature says, and lengths `[B]`."""
    if not field.is_list:
        numbers = tf.reshape(dense_numbers(features, field.name, field.size), [-1, 1, field.size])
        return numbers, tf.ones(tf.shape(numbers)[:1], tf.int32)
    numbers = dense_list(features, field.name, tf.float32)
    lengths = sequence_lengths(~tf.math.is_nan(numbers))
    if isinstance(field.feature, NumericSequenceFeature) and field.feature.padding == "left":
        numbers = padded_left(numbers, lengths)
    return tf.where(tf.math.is_nan(numbers), 0.0, numbers)[:, :, tf.newaxis], lengths


def _side_by_side(features: Mapping[str, Any], fields: Sequence[Field]) -> tf.Tensor:
    """Returns one number a field, `[B, N]`."""
    return tf.stack([_pooled_numbers(features, field) for field in fields], axis=1)


def _pooled_numbers(features: Mapping[str, Any], field: Field) -> tf.Tensor:
    """Returns the numbers of a field, a list's combined: `[B]`, or `[B, size]`."""
    if not field.is_list:
        return dense_numbers(features, field.name, field.size)
    numbers = dense_list(features, field.name, tf.float32)
    present = ~tf.math.is_nan(numbers)
    return pool(tf.where(present, numbers, 0)[:, :, tf.newaxis], present, field.combiner)[:, 0]
