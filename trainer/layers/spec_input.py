"""The input of a FeatureSpec: transformed features to vectors, with one gather a width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from feature_specs import ColonnadeError, FeatureSpec, Hash, Identity
from feature_specs.features import AnyFeature, CategoricalFeature, MultiValuedFeature, NumericFeature, SequenceFeature, TokenFeature
from trainer.layers.features import dense_ids, dense_numbers, flat_ids, sequence_lengths
from trainer.layers.tables import NumericVectors, StackedTable

Vectors = tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]


class SpecInput:
    """Embeds the features of a spec.

    Args:
        spec: The features.
        table_rows: Rows of the tables, padding and OOV included; needed for tables with a vocabulary.
        embedding_dim: Width of what declares none.
        initializer: Keras initializer; RandomNormal(stddev=0.01) where not given.
        extra_columns: Added to every width.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        table_rows: Mapping[str, int] | None,
        embedding_dim: int | None,
        initializer: keras.initializers.Initializer | str | None = None,
        *,
        extra_columns: int = 0,
    ) -> None:
        self.names = tuple(feature.name for feature in spec.features)
        self.widths = {name: width + extra_columns for name, width in _widths(spec, embedding_dim).items()}
        rows = rows_of_tables(spec, table_rows)
        self.groups = [
            _Width(dim, [f for f in spec.features if self.widths[f.name] == dim], rows, initializer)
            for dim in dict.fromkeys(self.widths.values())
        ]

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """What holds weights."""
        return [layer for group in self.groups for layer in group.layers]

    def embed(self, features: Mapping[str, Any], training: bool | None) -> Vectors:
        """Returns `{name: [B, T, D]}` and `{name: [B]}`, in the order of the spec."""
        embeddings: dict[str, tf.Tensor] = {}
        lengths: dict[str, tf.Tensor] = {}
        for group in self.groups:
            group.embed(features, training, embeddings, lengths)
        return {name: embeddings[name] for name in self.names}, {name: lengths[name] for name in self.names}

    def pool(self, features: Mapping[str, Any], training: bool | None) -> tf.Tensor:
        """Returns one vector a field, `[B, F, D]`; all widths are equal."""
        (group,) = self.groups
        return group.pool(features, training)


class _Width:
    """The features whose vectors have one width."""

    def __init__(
        self,
        dim: int,
        features: Sequence[AnyFeature],
        rows: Mapping[str, int],
        initializer: keras.initializers.Initializer | str | None,
    ) -> None:
        self.dim = dim
        self.singles, self.lists, self.numerics = by_kind(features)
        tables = {f.table_name: rows[f.table_name] for f in features if isinstance(f, TokenFeature)}
        self.layers: list[keras.layers.Layer] = []
        if tables:
            self.table = StackedTable(tables, dim, initializer, name=f"tables_{dim}")
            self.layers.append(self.table)
        if self.numerics:
            self.vectors = NumericVectors(len(self.numerics), dim, initializer, name=f"numbers_{dim}")
            self.layers.append(self.vectors)

    def embed(
        self, features: Mapping[str, Any], training: bool | None, embeddings: dict[str, tf.Tensor], lengths: dict[str, tf.Tensor]
    ) -> None:
        """Adds this width's features to `embeddings` and `lengths`."""
        pieces = []
        if self.singles:
            ids = tf.stack([dense_ids(features, f) for f in self.singles])  # [S, B]: a feature's vectors lie together
            pieces.append(_Piece(ids, self.singles, axis=0))
            lengths |= zip((f.name for f in self.singles), tf.unstack(tf.cast(ids > 0, tf.int32)), strict=True)
        for feature in self.lists:
            ids = dense_ids(features, feature)
            pieces.append(_Piece(ids, [feature]))
            lengths[feature.name] = sequence_lengths(ids)
        found = self._look_up(pieces, training)
        if self.singles:
            embeddings |= zip((f.name for f in self.singles), tf.unstack(found.pop(0)[:, :, tf.newaxis]), strict=True)
        embeddings |= zip((f.name for f in self.lists), found, strict=True)
        if self.numerics:
            vectors = self.vectors(dense_numbers(features, self.numerics))
            embeddings |= zip((f.name for f in self.numerics), tf.split(vectors, len(self.numerics), axis=1), strict=True)
            lengths |= dict.fromkeys((f.name for f in self.numerics), tf.ones(tf.shape(vectors)[:1], tf.int32))

    def pool(self, features: Mapping[str, Any], training: bool | None) -> tf.Tensor:
        """Returns `[B, F, D]`: single values, pooled lists, numbers."""
        pieces, rows_of = [], []
        if self.singles:
            ids = tf.stack([dense_ids(features, f) for f in self.singles], axis=1)  # [B, S]: an example's vectors lie together
            pieces.append(_Piece(ids, self.singles))
        for feature in self.lists:
            ids, row_of, lengths = flat_ids(features, feature)
            pieces.append(_Piece(ids, [feature]))
            rows_of.append((row_of, lengths, feature.combiner))
        found = self._look_up(pieces, training)
        fields = [found.pop(0)] if self.singles else []
        fields += [_pooled(vectors, *row_of)[:, tf.newaxis] for vectors, row_of in zip(found, rows_of, strict=True)]
        if self.numerics:
            fields.append(self.vectors(dense_numbers(features, self.numerics)))
        return fields[0] if len(fields) == 1 else tf.concat(fields, axis=1)

    def _look_up(self, pieces: Sequence[_Piece], training: bool | None) -> list[tf.Tensor]:
        """Returns the vectors of each piece's ids, zero for id 0, by one gather."""
        if not pieces:
            return []
        flat = [tf.reshape(piece.ids, [-1]) for piece in pieces]
        rows = [tf.reshape(piece.ids + piece.constant(self.table.offsets), [-1]) for piece in pieces]
        # The next table's rows follow in the same variable: nobody else would notice an id that is too large.
        valid = tf.stack([tf.reduce_all((piece.ids >= 0) & (piece.ids < piece.constant(self.table.rows))) for piece in pieces])
        known = ", ".join(f"{table} {count}" for table, count in self.table.rows.items())
        # Without a control dependency: then the layers of a step that look the same ids up share the work on them.
        tf.debugging.Assert(tf.reduce_all(valid), [f"Ids should be in [0, rows) of their tables. Rows: {known}."])
        vectors = self.table(tf.concat(rows, 0), training=training)
        vectors *= tf.cast(tf.concat(flat, 0) > 0, tf.float32)[:, tf.newaxis]
        split = tf.split(vectors, [tf.size(ids) for ids in flat]) if len(flat) > 1 else [vectors]
        return [tf.reshape(part, [*_shape(piece.ids), self.dim]) for part, piece in zip(split, pieces, strict=True)]


@dataclass(frozen=True)
class _Piece:
    """Ids that are looked up together, of one feature, or of several along `axis`."""

    ids: tf.Tensor
    features: Sequence[TokenFeature]
    axis: int = -1

    def constant(self, by_table: Mapping[str, int]) -> tf.Tensor:
        """Returns each feature's value in `by_table`, in a shape that goes with `ids`."""
        values = tf.constant([by_table[feature.table_name] for feature in self.features], tf.int64)
        return values[:, tf.newaxis] if self.axis == 0 else values


def by_kind(
    features: Sequence[AnyFeature],
) -> tuple[list[CategoricalFeature], list[MultiValuedFeature | SequenceFeature], list[NumericFeature]]:
    """Returns the single-valued, the list and the numeric features: fields lie in this order, with the fewest copies."""
    singles = [f for f in features if isinstance(f, CategoricalFeature)]
    lists = [f for f in features if isinstance(f, MultiValuedFeature | SequenceFeature)]
    return singles, lists, [f for f in features if isinstance(f, NumericFeature)]


def field_names(spec: FeatureSpec) -> tuple[str, ...]:
    """Returns the feature of each field, in order."""
    return tuple(feature.name for features in by_kind(spec.features) for feature in features)


def rows_of_tables(spec: FeatureSpec, table_rows: Mapping[str, int] | None) -> dict[str, int]:
    """Returns the rows of every table of `spec`, padding and OOV included.

    Raises:
        ColonnadeError: A table with a vocabulary is not in `table_rows`.
    """
    rows: dict[str, int] = {}
    for table, encoding in spec.tables.items():
        if isinstance(encoding, Hash):
            rows[table] = 1 + encoding.num_buckets
        elif isinstance(encoding, Identity):
            rows[table] = 1 + encoding.num_buckets + 1
        elif table_rows is not None and table in table_rows:
            rows[table] = table_rows[table]
        else:
            raise ColonnadeError(
                f"The number of rows of table {table!r} is not known: it has a vocabulary. Received table_rows: "
                f"{dict(table_rows or {}) or None}. Pass table_rows=DataDirectory.open(...).table_rows."
            )
    return rows


def _widths(spec: FeatureSpec, embedding_dim: int | None) -> dict[str, int]:
    if embedding_dim is not None and embedding_dim < 1:
        raise ColonnadeError(f"embedding_dim should be at least 1. Received: {embedding_dim}.")
    tables = spec.table_widths
    declared = {f.name: tables.get(f.table_name) if isinstance(f, TokenFeature) else f.embedding_dim for f in spec.features}
    without = [name for name, width in declared.items() if width is None]
    if without and embedding_dim is None:
        raise ColonnadeError(f"Features without a width: {', '.join(without)}. Pass embedding_dim, or declare one for each in the spec.")
    return {name: width or embedding_dim or 0 for name, width in declared.items()}


def _pooled(vectors: tf.Tensor, row_of: tf.Tensor, lengths: tf.Tensor, combiner: str) -> tf.Tensor:
    """Returns the sum, mean or sum / sqrt(length) of each row's vectors, `[B, D]`; `row_of` ascends."""
    totals = tf.math.segment_sum(vectors, row_of)  # ends at the last row that is not empty
    totals = tf.pad(totals, [[0, tf.size(lengths) - tf.shape(totals)[0]], [0, 0]])
    if combiner == "sum":
        return totals
    divisor = tf.maximum(tf.cast(lengths, tf.float32), 1)
    return totals / (divisor if combiner == "mean" else tf.sqrt(divisor))[:, tf.newaxis]


def _shape(ids: tf.Tensor) -> list[tf.Tensor | int]:
    """Returns the shape, static where it is known."""
    return [known if known is not None else tf.shape(ids)[axis] for axis, known in enumerate(ids.shape)]
