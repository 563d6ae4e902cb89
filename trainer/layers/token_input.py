"""The fields whose ids index tables of one width: one gather for all of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from feature_specs.features import MultiValuedFeature, SequenceFeature, TableFeature
from trainer.layers.features import dense_ids, dense_list, padded_left, sequence_lengths
from trainer.layers.plan import Field
from trainer.layers.pooling import AttentionPooling, by_step, pool
from trainer.layers.tables import StackedTable

_NO_LIMIT = 1e18


class Block(NamedTuple):
    """One vector for each of some fields: `names`, and `[B, len(names), D]`."""

    names: tuple[str, ...]
    vectors: tf.Tensor


class TokenInput:
    """Looks the ids of its fields up in one stack of tables.

    Args:
        fields: Of one width, in order of rank.
        table: The stack.
        attention: Of the fields that are pooled by it.
        extra_columns: How many of the stack's last columns are no part of the vectors.
        kept: Names of the lists that `pool` leaves as they are.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        table: StackedTable,
        attention: Mapping[str, AttentionPooling],
        extra_columns: int = 0,
        kept: Collection[str] = (),
    ) -> None:
        self.kept = frozenset(kept)
        self.singles = [field for field in fields if not field.is_list]
        self.lists = [field for field in fields if field.is_list]
        self.names = tuple(field.name for field in (*self.singles, *self.lists))
        self.table, self.attention, self.width = table, attention, table.dim - extra_columns
        self.is_apart = any(field.is_apart for field in fields)

    def embed(
        self, features: Mapping[str, Any], training: bool | None, embeddings: dict[str, tf.Tensor], lengths: dict[str, tf.Tensor]
    ) -> None:
        """Adds the fields to `embeddings`, `{name: [B, T, D]}`, and `lengths`."""
        pieces = []
        if self.singles:
            ids = tf.stack([dense_ids(features, table_feature(field)) for field in self.singles])  # [S, B]: one field's lie together
            pieces.append(_Piece(ids, self.singles, axis=0))
            lengths |= zip((field.name for field in self.singles), tf.unstack(tf.cast(ids > 0, tf.int32)), strict=True)
        lists = [read_list(features, field) for field in self.lists]
        pieces += [_Piece(each.ids, [field]) for each, field in zip(lists, self.lists, strict=True)]
        found = self._look_up(pieces, training)
        if self.singles:
            embeddings |= zip((field.name for field in self.singles), tf.unstack(found.pop(0)[:, :, tf.newaxis]), strict=True)
        for field, each, vectors in zip(self.lists, lists, found, strict=True):
            embeddings[field.name] = in_time(field, each, vectors)
            lengths[field.name] = each.lengths

    def pool(self, features: Mapping[str, Any], training: bool | None) -> list[Block]:
        """Returns the single values, then the pooled lists; the extra columns too. A list that is kept is `[B, T, D]`."""
        pieces = []
        if self.singles:
            ids = tf.stack([dense_ids(features, table_feature(field)) for field in self.singles], axis=1)  # [B, S]: an example's together
            pieces.append(_Piece(ids, self.singles))
        lists = [read_list(features, field, in_time=field.name in self.kept) for field in self.lists]
        pieces += [_Piece(each.ids, [field]) for each, field in zip(lists, self.lists, strict=True)]
        found = self._look_up(pieces, training)
        blocks = [Block(tuple(field.name for field in self.singles), found.pop(0))] if self.singles else []
        for field, each, vectors in zip(self.lists, lists, found, strict=True):
            is_kept = field.name in self.kept
            blocks.append(Block((field.name,), in_time(field, each, vectors) if is_kept else self._pooled(field, each, vectors)))
        return blocks

    def _pooled(self, field: Field, values: ListValues, vectors: tf.Tensor) -> tf.Tensor:
        """Returns `[B, 1, D]`."""
        present, combiner = values.ids > 0, "mean" if field.is_attended else field.combiner
        if values.steps is not None:
            vectors, present = by_step(vectors, present, values.steps, values.num_steps, combiner)
        if not field.is_attended:
            return pool(vectors, present, combiner, values.weights)[:, tf.newaxis]
        attended = self.attention[field.name](vectors[:, :, : self.width], present)
        if self.width == self.table.dim:
            return attended[:, tf.newaxis]
        return tf.concat([attended, pool(vectors[:, :, self.width :], present, "mean")], axis=1)[:, tf.newaxis]

    def _look_up(self, pieces: Sequence[_Piece], training: bool | None) -> list[tf.Tensor]:
        """Returns the vectors of each piece's ids, zero for id 0, by one gather."""
        flat = [tf.reshape(piece.ids, [-1]) for piece in pieces]
        rows = [tf.reshape(piece.ids + piece.constant(self.table.offsets), [-1]) for piece in pieces]
        # The next table's rows follow in the same variable: nobody else would notice an id that is too large.
        valid = tf.stack([tf.reduce_all((piece.ids >= 0) & (piece.ids < piece.constant(self.table.rows))) for piece in pieces])
        # Without a control dependency: then the layers of a step that look the same ids up share the work on them.
        tf.debugging.Assert(tf.reduce_all(valid), [out_of_range(self.table.rows)])
        vectors = self.table(tf.concat(rows, 0), present=tf.concat(flat, 0) > 0, training=training)
        split = tf.split(vectors, [tf.size(ids) for ids in flat]) if len(flat) > 1 else [vectors]
        found = [tf.reshape(part, [*_shape(piece.ids), self.table.dim]) for part, piece in zip(split, pieces, strict=True)]
        return [piece.clipped(part, self.width) for part, piece in zip(found, pieces, strict=True)]


class ListValues(NamedTuple):
    """The values of a list field.

    Attributes:
        ids: `[B, V]` int64, 0 for padding and missing values.
        lengths: Values, or steps, up to the last, `[B]` int32; where wanted.
        weights: `[B, V]`, where the field has weights.
        steps: The step of each value, `[B, V]`, where steps have several; negative for padding.
        num_steps: How many steps the longest row has, at least 1; where there are `steps`.
    """

    ids: tf.Tensor
    lengths: tf.Tensor | None = None
    weights: tf.Tensor | None = None
    steps: tf.Tensor | None = None
    num_steps: tf.Tensor | None = None


def read_list(features: Mapping[str, Any], field: Field, *, in_time: bool = True) -> ListValues:
    """Returns the values of a list field: with lengths and padded as the feature says, or else on the right."""
    feature = table_feature(field)
    ids = dense_ids(features, feature)
    if isinstance(feature, MultiValuedFeature) and feature.weights:
        weights = dense_list(features, feature.weights_name, tf.float32)
        lengths = sequence_lengths(ids > 0) if in_time else None
        return ListValues(ids, lengths, weights=tf.where(tf.math.is_nan(weights), 1.0, weights))
    is_left = in_time and isinstance(feature, SequenceFeature) and feature.padding == "left"
    if isinstance(feature, SequenceFeature) and feature.value_delimiter:
        steps = tf.where(ids > 0, dense_list(features, feature.steps_name, tf.int64), -1)
        ends = tf.reduce_max(tf.pad(steps + 1, [[0, 0], [0, 1]]), axis=1)  # padded: V may be 0
        count = tf.reduce_max(tf.pad(ends, [[0, 1]], constant_values=1))
        if is_left:
            steps = tf.where(steps >= 0, steps + (count - ends)[:, tf.newaxis], -1)
        return ListValues(ids, tf.cast(ends, tf.int32), steps=steps, num_steps=tf.cast(count, tf.int32))
    if not in_time:
        return ListValues(ids)
    lengths = sequence_lengths(ids > 0)
    return ListValues(padded_left(ids, lengths) if is_left else ids, lengths)


def in_time(field: Field, values: ListValues, vectors: tf.Tensor) -> tf.Tensor:
    """Returns the vectors of a list as `[B, T, D]`: those of weighted values times their weight, those of one step pooled."""
    if values.weights is not None:
        return vectors * tf.where(values.ids > 0, values.weights, 0)[:, :, tf.newaxis]
    if values.steps is None:
        return vectors
    combiner = "sum" if field.kind == "indicator" else "mean" if field.is_attended else field.combiner
    return by_step(vectors, values.ids > 0, values.steps, values.num_steps, combiner)[0]


def table_feature(field: Field) -> TableFeature:
    """Returns the feature of a field with ids."""
    if not isinstance(field.feature, TableFeature):
        raise TypeError(f"{field.name} has no ids")
    return field.feature


def out_of_range(rows: Mapping[str, int]) -> str:
    """Returns what is said of ids that are no rows of their table."""
    return f"Ids should be in [0, rows) of their tables. Rows: {', '.join(f'{table} {count}' for table, count in rows.items())}."


@dataclass(frozen=True)
class _Piece:
    """Ids that are looked up together, of one field, or of several along `axis`."""

    ids: tf.Tensor
    fields: Sequence[Field]
    axis: int = -1

    def constant(self, by_table: Mapping[str, int]) -> tf.Tensor:
        """Returns each field's value in `by_table`, in a shape that goes with `ids`."""
        values = tf.constant([by_table[field.table] for field in self.fields], tf.int64)
        return values[:, tf.newaxis] if self.axis == 0 else values

    def clipped(self, vectors: tf.Tensor, width: int) -> tf.Tensor:
        """Returns the vectors, the first `width` columns scaled down to the `max_norm` of their field."""
        limits = [table_feature(field).max_norm for field in self.fields]
        if not any(limits):
            return vectors
        limit = tf.constant([each or _NO_LIMIT for each in limits])[:, tf.newaxis]  # [S, 1], goes with [..., S, D]
        limit = limit[:, tf.newaxis] if self.axis == 0 else limit
        squares = tf.reduce_sum(tf.square(vectors[..., :width]), axis=-1, keepdims=True)
        is_over = squares > tf.square(limit)
        factor = tf.where(is_over, limit * tf.math.rsqrt(tf.where(is_over, squares, 1)), 1)
        if width == vectors.shape[-1]:
            return vectors * factor
        return tf.concat([vectors[..., :width] * factor, vectors[..., width:]], axis=-1)


def _shape(ids: tf.Tensor) -> list[tf.Tensor | int]:
    """Returns the shape, static where it is known."""
    return [known if known is not None else tf.shape(ids)[axis] for axis, known in enumerate(ids.shape)]
