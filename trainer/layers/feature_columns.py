"""The input of `tf.feature_column` columns: the columns compute ids and one-hot values themselves; the look-ups are ours, stacked.

Ids are therefore TensorFlow's own, without a padding row. The columns' classes are told apart by their names, since TensorFlow exports
only the functions that make them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from feature_specs import ColonnadeError
from trainer.layers.features import received
from trainer.layers.spec_input import Vectors
from trainer.layers.tables import StackedTable

_CATEGORICAL = ("HashedCategoricalColumn", "IdentityCategoricalColumn", "VocabularyListCategoricalColumn", "BucketizedColumn")
_COMBINE = {"sum": tf.sparse.segment_sum, "mean": tf.sparse.segment_mean, "sqrtn": tf.sparse.segment_sqrt_n}
Column = Any  # a class that TensorFlow does not export


class ColumnInput:
    """Embeds what `tf.feature_column` columns describe; columns that are no sequences have one step.

    Args:
        columns: The columns; the keys of the outputs are their names.
    """

    def __init__(self, columns: Iterable[Column]) -> None:
        self.columns = list(columns)
        _check(self.columns)
        self.names = tuple(column.name for column in self.columns)
        self.lookups = _Lookups()
        self.stacks: list[tuple[StackedTable, list[Column]]] = []
        embedded = [column for column in self.columns if _kind(column) == "EmbeddingColumn"]
        for dim, trainable in dict.fromkeys((column.dimension, column.trainable) for column in embedded):
            members = [column for column in embedded if (column.dimension, column.trainable) == (dim, trainable)]
            rows = {column.name: column.categorical_column.num_buckets for column in members}
            initializers = {column.name: column.initializer for column in members}
            name = f"tables_{dim}" if trainable else f"frozen_tables_{dim}"
            self.stacks.append((StackedTable(rows, dim, initializers, trainable=trainable, name=name), members))

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """What holds weights."""
        return [table for table, _ in self.stacks]

    def embed(self, features: Mapping[str, Any], training: bool | None) -> Vectors:
        """Returns `{name: [B, T, D]}` and `{name: [B]}`, in the order of the columns."""
        cache = tf.__internal__.feature_column.FeatureTransformationCache(self._readable(features))
        found = {column.name: self._dense(column, cache) for column in self.columns if _kind(column) != "EmbeddingColumn"}
        for table, members in self.stacks:
            ids = [_ids(column.categorical_column, cache, self.lookups) for column in members]
            values = [_checked(column, each.values) for column, each in zip(members, ids, strict=True)]
            rows = [each + table.offsets[column.name] for column, each in zip(members, values, strict=True)]
            vectors = tf.split(table(tf.concat(rows, 0), training=training), [tf.size(each) for each in rows], num=len(rows))
            for column, each, part in zip(members, ids, vectors, strict=True):
                found[column.name] = (_combined(column, each, part), each.lengths)
        return {name: found[name][0] for name in self.names}, {name: found[name][1] for name in self.names}

    def _readable(self, features: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the features that the columns read, as the kinds of tensor that these take."""
        readable: dict[str, Any] = {}
        for column in self.columns:
            for key in column.parse_example_spec:
                value = received(features, key)
                if isinstance(value, tf.RaggedTensor):
                    value = value.to_sparse()
                elif _kind(column) == "SequenceNumericColumn" and not isinstance(value, tf.SparseTensor):
                    value = _all_present(tf.convert_to_tensor(value))
                readable[key] = value
        return readable

    def _dense(self, column: Column, cache: Any) -> tuple[tf.Tensor, tf.Tensor]:  # noqa: ANN401
        """Returns the vectors `[B, T, D]` and lengths of a column without a table."""
        size = column.variable_shape.num_elements()
        categorical = getattr(column, "categorical_column", None)
        if _kind(column) == "SequenceNumericColumn" or _kind(categorical) == "SequenceCategoricalColumn":
            vectors, lengths = column.get_sequence_dense_tensor(cache, self.lookups)
            return tf.reshape(vectors, [*tf.unstack(tf.shape(vectors)[:2]), size]), tf.cast(lengths, tf.int32)
        vectors = tf.reshape(column.get_dense_tensor(cache, self.lookups), [-1, 1, size])
        if categorical is None:
            return vectors, tf.ones(tf.shape(vectors)[:1], tf.int32)
        return vectors, _ids(categorical, cache, self.lookups).lengths


class _Lookups:
    """Keeps the columns' vocabulary tables from one call to the next; `module` holds them for export."""

    def __init__(self) -> None:
        self.module = tf.Module()
        self._tables: dict[tuple[Column, str], Any] = {}

    def has_resource(self, column: Column, name: str) -> bool:
        """Whether the table has been made."""
        return (column, name) in self._tables

    def add_resource(self, column: Column, name: str, table: Any) -> None:  # noqa: ANN401
        """Keeps a table."""
        setattr(self.module, f"table_{len(self._tables)}", table)
        self._tables[column, name] = table

    def get_resource(self, column: Column, name: str) -> Any:  # noqa: ANN401
        """Returns a kept table."""
        return self._tables[column, name]


class _Ids(NamedTuple):
    values: tf.Tensor  # [n]
    steps: tf.Tensor  # [n], ascending: which of the B * T steps each value belongs to
    shape: tf.Tensor  # [B, T]
    lengths: tf.Tensor  # [B]


def _ids(categorical: Column, cache: Any, lookups: _Lookups) -> _Ids:  # noqa: ANN401
    """Returns the ids of a categorical column; negative ones, which TensorFlow drops, only count towards the lengths."""
    ids = categorical.get_sparse_tensors(cache, lookups).id_tensor
    is_sequence = _kind(categorical) == "SequenceCategoricalColumn"
    shape = tf.stack([ids.dense_shape[0], ids.dense_shape[1] if is_sequence else 1])
    rows, positions = ids.indices[:, 0], ids.indices[:, 1] if is_sequence else tf.zeros_like(ids.indices[:, 0])
    lengths = tf.maximum(tf.math.unsorted_segment_max(tf.cast(positions + 1, tf.int32), rows, shape[0]), 0)
    kept = tf.reshape(tf.where(ids.values >= 0), [-1])
    return _Ids(tf.gather(tf.cast(ids.values, tf.int64), kept), tf.gather(rows * shape[1] + positions, kept), shape, lengths)


def _checked(column: Column, ids: tf.Tensor) -> tf.Tensor:
    """Returns `ids`; what is too large would be a row of the next table in the same variable."""
    rows = column.categorical_column.num_buckets
    with tf.control_dependencies(
        [tf.debugging.Assert(tf.reduce_all(ids < rows), [f"Ids of column {column.name} should be below {rows}."])]
    ):
        return tf.identity(ids)


def _combined(column: Column, ids: _Ids, vectors: tf.Tensor) -> tf.Tensor:
    """Returns `[B, T, D]`: the vectors of each step, combined with the very operations that TensorFlow's embedding columns use."""
    if column.max_norm is not None:
        vectors = tf.clip_by_norm(vectors, column.max_norm, axes=[1])
    steps = tf.cast(tf.reduce_prod(ids.shape), tf.int32)
    combined = _COMBINE[column.combiner](vectors, tf.range(tf.shape(vectors)[0]), ids.steps, num_segments=steps)
    return tf.reshape(combined, [*tf.unstack(ids.shape), column.dimension])


def _all_present(values: tf.Tensor) -> tf.SparseTensor:
    """Returns `[B, T]` as a SparseTensor that holds every value, also zeros."""
    values = values if values.shape.rank > 1 else values[:, tf.newaxis]
    indices = tf.where(tf.ones_like(values, tf.bool))
    return tf.SparseTensor(indices, tf.reshape(values, [-1]), tf.shape(values, tf.int64))


def _kind(column: Column) -> str:
    return type(column).__name__


def _check(columns: list[Column]) -> None:
    if not columns:
        raise ColonnadeError("SequenceFeatures needs at least one column. Received an empty list.")
    seen: set[str] = set()
    for column in columns:
        inner: Column = getattr(column, "categorical_column", None)
        inner = inner.categorical_column if _kind(inner) == "SequenceCategoricalColumn" else inner
        supported = _kind(column) in ("NumericColumn", "SequenceNumericColumn", "BucketizedColumn")
        if not supported and not (_kind(column) in ("EmbeddingColumn", "IndicatorColumn") and _kind(inner) in _CATEGORICAL):
            what = _kind(column) if inner is None else f"{_kind(column)} over {_kind(inner)}"
            raise ColonnadeError(
                f"Column {getattr(column, 'name', column)!r} is not supported. Received: {what}. Expected: embedding_column or "
                "indicator_column over a (sequence_)categorical_column_with_hash_bucket, _identity or _vocabulary_list or a "
                "bucketized_column; numeric_column; sequence_numeric_column; bucketized_column."
            )
        if column.name in seen:
            raise ColonnadeError(f"Two columns are named {column.name!r}: the outputs are keyed by name. Leave one out.")
        seen.add(column.name)
        if getattr(column, "ckpt_to_load_from", None) is not None:
            raise ColonnadeError(f"Column {column.name!r}: ckpt_to_load_from is not supported. Pass the values as the initializer.")
