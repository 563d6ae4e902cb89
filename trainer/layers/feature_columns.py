"""The input of `tf.feature_column` columns: the columns compute ids and one-hot values themselves; the look-ups are ours, stacked.

Ids are therefore TensorFlow's own, without a padding row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from feature_specs import ColonnadeError
from trainer.layers.column_ids import CATEGORICAL, EMBEDDINGS, NUMBERS, Column, Ids, Lookups, Transformed, is_sequence, kind, unwrapped
from trainer.layers.spec_input import Vectors
from trainer.layers.tables import StackedTable

_COMBINE = {"sum": tf.sparse.segment_sum, "mean": tf.sparse.segment_mean, "sqrtn": tf.sparse.segment_sqrt_n}
_EXPECTED = (
    "embedding_column, shared_embeddings or indicator_column over a (sequence_)categorical_column_with_hash_bucket, _identity, "
    "_vocabulary_list or _vocabulary_file, a crossed_column, a weighted_categorical_column or a bucketized_column; numeric_column; "
    "sequence_numeric_column; bucketized_column"
)


class ColumnInput:
    """Embeds what `tf.feature_column` columns describe; columns that are no sequences have one step.

    Args:
        columns: The columns; the keys of the outputs are their names.
    """

    def __init__(self, columns: Iterable[Column]) -> None:
        self.columns = list(columns)
        _check(self.columns)
        self.names = tuple(column.name for column in self.columns)
        self.lookups = Lookups()
        self.stacks: list[tuple[StackedTable, list[Column]]] = []
        self._tables = {column.name: table_of(column) for column in self.columns if kind(column) in EMBEDDINGS}
        for dim, trainable in dict.fromkeys((table.dim, table.trainable) for table in self._tables.values()):
            members = [
                column for column in self.columns if column.name in self._tables and self._tables[column.name][2:4] == (dim, trainable)
            ]
            tables = {table.name: table for table in (self._tables[column.name] for column in members)}
            rows = {name: table.rows for name, table in tables.items()}
            initializers = {name: table.initializer for name, table in tables.items()}
            name = f"tables_{dim}" if trainable else f"frozen_tables_{dim}"
            self.stacks.append((StackedTable(rows, dim, initializers, trainable=trainable, name=name), members))

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """What holds weights."""
        return [table for table, _ in self.stacks]

    @property
    def widths(self) -> dict[str, int]:
        """Width of each column's vectors."""
        return {column.name: column.variable_shape.num_elements() for column in self.columns}

    def embed(self, features: Mapping[str, Any], training: bool | None) -> Vectors:
        """Returns `{name: [B, T, D]}` and `{name: [B]}`, in the order of the columns."""
        batch = Transformed(self.columns, features, self.lookups)
        found = {column.name: self._dense(column, batch) for column in self.columns if kind(column) not in EMBEDDINGS}
        for table, members in self.stacks:
            ids = [_pruned(column, batch.ids(column.categorical_column)) for column in members]
            rows = [each.values + table.offsets[self._tables[column.name].name] for column, each in zip(members, ids, strict=True)]
            vectors = tf.split(table(tf.concat(rows, 0), training=training), [tf.size(each) for each in rows], num=len(rows))
            for column, each, part in zip(members, ids, vectors, strict=True):
                found[column.name] = (_combined(column, each, part), each.lengths)
        return {name: found[name][0] for name in self.names}, {name: found[name][1] for name in self.names}

    def _dense(self, column: Column, batch: Transformed) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the vectors `[B, T, D]` and lengths of a column without a table."""
        size = column.variable_shape.num_elements()
        categorical = getattr(column, "categorical_column", None)
        if is_sequence(column):
            vectors, lengths = column.get_sequence_dense_tensor(batch.cache, self.lookups)
            return tf.reshape(vectors, [*tf.unstack(tf.shape(vectors)[:2]), size]), tf.cast(lengths, tf.int32)
        if kind(categorical) == "WeightedCategoricalColumn":
            ids = batch.ids(categorical)
            count = tf.cast(ids.shape[0], tf.int64) * size
            totals = tf.math.unsorted_segment_sum(ids.weights, ids.steps * size + ids.values, count)
            return tf.reshape(totals, [-1, 1, size]), ids.lengths
        vectors = tf.reshape(column.get_dense_tensor(batch.cache, self.lookups), [-1, 1, size])
        if categorical is None:
            return vectors, tf.ones(tf.shape(vectors)[:1], tf.int32)
        return vectors, batch.lengths(categorical)


class Table(NamedTuple):
    """A table that columns declare."""

    name: str
    rows: int
    dim: int
    trainable: bool
    initializer: Callable[..., tf.Tensor]


def table_of(column: Column) -> Table:
    """Returns the table of an embedding column; those of one `shared_embeddings` have the same."""
    # The creator of shared embeddings has no public attributes; it makes a graph's variable when asked for it, which we are not after.
    shared = getattr(column, "shared_embedding_column_creator", None)
    name = column.name if shared is None else shared._name
    source = (column, "") if shared is None else (shared, "_")
    dim, trainable, initializer, checkpoint, tensor = (
        getattr(source[0], source[1] + field)
        for field in ("dimension", "trainable", "initializer", "ckpt_to_load_from", "tensor_name_in_ckpt")
    )
    if checkpoint is not None:
        initializer = _from_checkpoint(column.name, checkpoint, tensor)
    return Table(name, column.categorical_column.num_buckets, dim, bool(trainable), initializer)


def _from_checkpoint(column: str, checkpoint: str, tensor: str) -> Callable[..., tf.Tensor]:
    """Returns an initializer that gives a tensor of a checkpoint."""

    def initial_value(shape: tuple[int, int], dtype: tf.DType) -> tf.Tensor:
        try:
            values = tf.train.load_variable(checkpoint, tensor)
        except (tf.errors.OpError, ValueError, OSError) as error:
            raise ColonnadeError(
                f"Column {column!r}: tensor {tensor!r} cannot be read from checkpoint {checkpoint!r}: {' '.join(str(error).split())}. See "
                "tf.train.list_variables for what it holds."
            ) from error
        if list(values.shape) != list(shape):
            raise ColonnadeError(
                f"Column {column!r}: tensor {tensor!r} of checkpoint {checkpoint!r} should have shape {list(shape)}. Received: "
                f"{list(values.shape)}."
            )
        return tf.cast(values, dtype)

    return initial_value


def _pruned(column: Column, ids: Ids) -> Ids:
    """Returns the ids without those whose weights TensorFlow leaves out: of at most 0, unless they are summed."""
    if ids.weights is None or column.combiner == "sum":
        return ids
    kept = tf.reshape(tf.where(ids.weights > 0), [-1])
    return ids._replace(values=tf.gather(ids.values, kept), steps=tf.gather(ids.steps, kept), weights=tf.gather(ids.weights, kept))


def _combined(column: Column, ids: Ids, vectors: tf.Tensor) -> tf.Tensor:
    """Returns `[B, T, D]`: the vectors of each step, combined with the very operations that TensorFlow's embedding columns use."""
    if column.max_norm is not None:
        vectors = tf.clip_by_norm(vectors, column.max_norm, axes=[1])
    steps = tf.cast(tf.reduce_prod(ids.shape), tf.int32)
    if ids.weights is None:
        combined = _COMBINE[column.combiner](vectors, tf.range(tf.shape(vectors)[0]), ids.steps, num_segments=steps)
    else:
        weights = ids.weights[:, tf.newaxis]
        combined = tf.math.unsorted_segment_sum(vectors * weights, ids.steps, steps)
        if column.combiner == "mean":
            combined = tf.math.divide_no_nan(combined, tf.math.unsorted_segment_sum(weights, ids.steps, steps))
        elif column.combiner == "sqrtn":
            combined = tf.math.divide_no_nan(combined, tf.sqrt(tf.math.unsorted_segment_sum(tf.square(weights), ids.steps, steps)))
    return tf.reshape(combined, [*tf.unstack(ids.shape), vectors.shape[1]])


def _check(columns: list[Column]) -> None:
    if not columns:
        raise ColonnadeError("SequenceFeatures needs at least one column. Received an empty list.")
    seen: set[str] = set()
    tables: dict[str, object] = {}
    for column in columns:
        check_dense(column)
        if column.name in seen:
            raise ColonnadeError(f"Two columns are named {column.name!r}: the outputs are keyed by name. Leave one out.")
        seen.add(column.name)
        if kind(column) in EMBEDDINGS:
            owner = getattr(column, "shared_embedding_column_creator", column)
            if tables.setdefault(table_of(column).name, owner) is not owner:
                raise ColonnadeError(
                    f"Two tables are named {table_of(column).name!r}. Give one shared_embeddings another shared_embedding_collection_name."
                )


def check_dense(column: Column) -> None:
    """Raises a ColonnadeError for a column that gives no vectors."""
    categorical: Column = getattr(column, "categorical_column", None)
    is_over = kind(column) in (*EMBEDDINGS, "IndicatorColumn") and kind(unwrapped(categorical)) in CATEGORICAL
    if kind(column) not in NUMBERS and not is_over:
        what = kind(column) if categorical is None else f"{kind(column)} over {kind(unwrapped(categorical))}"
        raise ColonnadeError(f"Column {getattr(column, 'name', column)!r} is not supported. Received: {what}. Expected: {_EXPECTED}.")
