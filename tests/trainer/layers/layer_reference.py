"""The slow and obvious way: loops over rows and values, in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs import (
    CategoricalFeature,
    FeatureSpec,
    Hash,
    Identity,
    Label,
    MultiValuedFeature,
    NumericFeature,
    SequenceFeature,
    Vocabulary,
)
from trainer.layers import StackedTable

SPEC = FeatureSpec(
    name="test",
    features=(
        NumericFeature(name="age"),
        CategoricalFeature(name="item", encoding=Vocabulary()),
        MultiValuedFeature(name="tags", encoding=Hash(num_buckets=6), combiner="sum"),
        CategoricalFeature(name="hour", dtype="int64", encoding=Identity(num_buckets=4)),
        SequenceFeature(name="history", table="item", max_length=9),
        SequenceFeature(name="pages", encoding=Hash(num_buckets=3), combiner="sqrtn"),
        NumericFeature(name="price"),
    ),
    label=Label(column="label"),
)
TABLE_ROWS = {"item": 8, "tags": 7, "hour": 6, "pages": 4}
LISTS = ("tags", "history", "pages")
TABLE_OF = {"item": "item", "tags": "tags", "hour": "hour", "history": "item", "pages": "pages"}


def random_rows(count: int, seed: int = 0) -> dict[str, list]:
    """Returns transformed features as lists: with missing values and empty lists."""
    rng = np.random.default_rng(seed)
    rows: dict[str, list] = {name: rng.normal(size=count).astype(np.float32).tolist() for name in ("age", "price")}
    rows |= {name: rng.integers(0, TABLE_ROWS[name], count).tolist() for name in ("item", "hour")}
    for name in LISTS:
        lengths = rng.integers(0, 6, count)
        rows[name] = [rng.integers(1, TABLE_ROWS[TABLE_OF[name]], length).tolist() for length in lengths]
    return rows


def tensors(rows: dict[str, list], kind: str = "ragged", padding: int = 0, dtype: tf.DType = tf.int64) -> dict[str, tf.Tensor]:
    """Returns `rows` as a model receives them; lists as `kind`, with `padding` more columns where that is dense."""
    features = {name: tf.constant(rows[name], tf.float32 if name in ("age", "price") else dtype) for name in rows if name not in LISTS}
    for name in set(LISTS) & set(rows):
        lengths = [len(row) for row in rows[name]]
        ragged = tf.RaggedTensor.from_row_lengths(tf.constant(sum(rows[name], []), dtype), lengths)
        dense = ragged.to_tensor(shape=[None, max(lengths) + padding])
        features[name] = {"ragged": ragged, "dense": dense, "sparse": ragged.to_sparse()}[kind]
    return features


def table_of(layer: keras.layers.Layer, table: str) -> NDArray:
    """Returns the rows of one table."""
    (stack,) = (each for each in layer._flatten_layers() if isinstance(each, StackedTable) and table in each.offsets)
    start = stack.offsets[table]
    return stack.table.numpy()[start : start + stack.rows[table]]


def vectors_of(layer: keras.layers.Layer, spec: FeatureSpec, rows: dict[str, list], row: int, name: str) -> list[NDArray]:
    """Returns the vectors of one feature of one row; none where the value is missing."""
    numerics = [feature.name for feature in spec.numeric_features]
    if name in numerics:
        vectors = next(v for v in layer.variables if v.name == "vectors").numpy()
        return [np.float32(rows[name][row]) * vectors[numerics.index(name)]]
    ids = rows[name][row] if name in LISTS else [rows[name][row]]
    return [table_of(layer, TABLE_OF[name])[i] for i in ids if i]


def pooled(vectors: list[NDArray], combiner: str, dim: int) -> NDArray:
    """Returns one vector for a list of vectors."""
    total = np.zeros(dim, np.float32)
    for vector in vectors:
        total = total + vector
    return total / {"sum": 1, "mean": max(len(vectors), 1), "sqrtn": np.sqrt(max(len(vectors), 1))}[combiner]
