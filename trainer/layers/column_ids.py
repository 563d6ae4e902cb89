"""What `tf.feature_column` columns make of features: ids, weights and lengths, before any table is read.

The columns' classes are told apart by their names, since TensorFlow exports only the functions that make them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from trainer.layers.features import received

CATEGORICAL = (
    "HashedCategoricalColumn",
    "IdentityCategoricalColumn",
    "VocabularyListCategoricalColumn",
    "VocabularyFileCategoricalColumn",
    "CrossedColumn",
    "BucketizedColumn",
)
NUMBERS = ("NumericColumn", "SequenceNumericColumn", "BucketizedColumn")
EMBEDDINGS = ("EmbeddingColumn", "SharedEmbeddingColumn")
Column = Any  # a class that TensorFlow does not export


class Ids(NamedTuple):
    """The ids of a categorical column, in ascending order of their steps; negative ones, which TensorFlow drops, are left out.

    Attributes:
        values: `[n]` int64.
        steps: `[n]`, ascending: which of the B * T steps each id belongs to.
        weights: `[n]` float32, where the column has weights.
        shape: `[B, T]`.
        lengths: `[B]` int32; dropped ids count.
    """

    values: tf.Tensor
    steps: tf.Tensor
    weights: tf.Tensor | None
    shape: tf.Tensor
    lengths: tf.Tensor


class Lookups:
    """Keeps the columns' vocabulary tables from one call to the next; `module` holds them for export."""

    def __init__(self) -> None:
        self.module = tf.Module()
        self._tables: dict[tuple[Column, str], Any] = {}

    def has_resource(self, column: Column, name: str) -> bool:
        """Whether the table has been made."""
        return (column, name) in self._tables

    def add_resource(self, column: Column, name: str, table: Any) -> None:  # noqa: ANN401
        """Keeps a table."""
        number = len(self._tables)
        setattr(self.module, f"table_{number}", table)
        # A table with OOV buckets does not track the one inside, whose file would then be no asset of an export.
        setattr(self.module, f"words_{number}", getattr(table, "_table", None))
        self._tables[column, name] = table

    def get_resource(self, column: Column, name: str) -> Any:  # noqa: ANN401
        """Returns a kept table."""
        return self._tables[column, name]


class Transformed:
    """One batch as columns take it, with what they have made of it so far.

    Args:
        columns: All columns that will be asked for.
        features: Dense tensors, SparseTensors (in any order) or RaggedTensors, by the columns' keys.
        lookups: The vocabulary tables.
    """

    def __init__(self, columns: Iterable[Column], features: Mapping[str, Any], lookups: Lookups) -> None:
        self._features = _readable(columns, features)
        self.lookups = lookups
        self.cache = tf.__internal__.feature_column.FeatureTransformationCache(self._features)

    def ids(self, categorical: Column) -> Ids:
        """Returns the ids of a categorical column, one step an example where it is no sequence; too large ones fail."""
        is_sequence = kind(categorical) == "SequenceCategoricalColumn"
        ids, weights = self._sparse_tensors(categorical)
        shape = tf.stack([ids.dense_shape[0], ids.dense_shape[1] if is_sequence else 1])
        rows, positions = ids.indices[:, 0], ids.indices[:, 1] if is_sequence else tf.zeros_like(ids.indices[:, 0])
        kept = tf.reshape(tf.where(ids.values >= 0), [-1])
        values = _checked(categorical, tf.gather(tf.cast(ids.values, tf.int64), kept))
        steps = tf.gather(rows * shape[1] + positions, kept)
        return Ids(values, steps, None if weights is None else tf.gather(weights, kept), shape, _lengths(rows, positions, shape[0]))

    def lengths(self, categorical: Column) -> tf.Tensor:
        """Returns the lengths `[B]` of a categorical column that is no sequence: 1, or 0 where there is no value at all."""
        ids, _ = self._sparse_tensors(categorical)
        return _lengths(ids.indices[:, 0], tf.zeros_like(ids.indices[:, 0]), ids.dense_shape[0])

    def _sparse_tensors(self, categorical: Column) -> tuple[tf.SparseTensor, tf.Tensor | None]:
        """Returns ids and the weights of their values `[n]`, if any."""
        if kind(categorical) != "WeightedCategoricalColumn":
            return categorical.get_sparse_tensors(self.cache, self.lookups).id_tensor, None
        ids = unwrapped(categorical).get_sparse_tensors(self.cache, self.lookups).id_tensor
        weights = self._features[categorical.weight_feature_key]
        if isinstance(weights, tf.SparseTensor):
            same = tf.reduce_all(tf.equal(tf.shape(weights.indices), tf.shape(ids.indices)))
            same = tf.cond(same, lambda: tf.reduce_all(weights.indices == ids.indices), lambda: False)
            key, by = unwrapped(categorical).name, categorical.weight_feature_key
            check = tf.debugging.Assert(same, [f"Weights {by!r} should be at the same positions as the values of {key!r}."])
            with tf.control_dependencies([check] if check is not None else []):
                found = tf.identity(weights.values)
        else:
            # TensorFlow leaves dense weights of 0 out, also beside a value; a weight belongs to the value at its own place.
            found = tf.gather_nd(tf.reshape(weights, ids.dense_shape), ids.indices)
        return ids, tf.cast(found, tf.float32)


def kind(column: Column) -> str:
    """Returns the name of a column's class."""
    return type(column).__name__


def unwrapped(categorical: Column) -> Column:
    """Returns the categorical column inside weights and sequences."""
    while kind(categorical) in ("SequenceCategoricalColumn", "WeightedCategoricalColumn"):
        categorical = categorical.categorical_column
    return categorical


def nested(column: Column) -> Iterator[Column]:
    """Yields a column and all columns inside it."""
    yield column
    for name in ("categorical_column", "source_column"):
        if hasattr(column, name):
            yield from nested(getattr(column, name))
    for key in column.keys if kind(column) == "CrossedColumn" else ():
        if not isinstance(key, str):
            yield from nested(key)


def is_sequence(column: Column) -> bool:
    """Whether a dense column gives several steps an example."""
    return kind(column) == "SequenceNumericColumn" or kind(getattr(column, "categorical_column", None)) == "SequenceCategoricalColumn"


def _lengths(rows: tf.Tensor, positions: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    return tf.maximum(tf.math.unsorted_segment_max(tf.cast(positions + 1, tf.int32), rows, batch), 0)


def _checked(categorical: Column, ids: tf.Tensor) -> tf.Tensor:
    """Returns `ids`; what is too large would be a row of the next table in the same variable."""
    rows = categorical.num_buckets
    check = tf.debugging.Assert(tf.reduce_all(ids < rows), [f"Ids of column {categorical.name} should be below {rows}."])
    with tf.control_dependencies([check] if check is not None else []):
        return tf.identity(ids)


def _readable(columns: Iterable[Column], features: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the features that the columns read, as the kinds of tensor that these take."""
    readable: dict[str, Any] = {}
    for column in columns:
        for key in column.parse_example_spec:
            value = received(features, key)
            if isinstance(value, tf.RaggedTensor):
                value = value.to_sparse()
            elif isinstance(value, tf.SparseTensor):
                value = tf.sparse.reorder(value)
            elif kind(column) == "SequenceNumericColumn":
                value = _all_present(tf.convert_to_tensor(value))
            readable[key] = value
    return readable


def _all_present(values: tf.Tensor) -> tf.SparseTensor:
    """Returns `[B, T]` as a SparseTensor that holds every value, also zeros."""
    values = values if values.shape.rank > 1 else values[:, tf.newaxis]
    indices = tf.where(tf.ones_like(values, tf.bool))
    return tf.SparseTensor(indices, tf.reshape(values, [-1]), tf.shape(values, tf.int64))
