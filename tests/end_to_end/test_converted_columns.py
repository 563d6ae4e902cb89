"""Converted columns: raw rows through the real job's graph and the spec's layers give what TensorFlow's own layers give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tensorflow import feature_column as fc

from feature_specs import FeatureSpec, Label, Source, from_feature_columns
from feature_specs.sources import ParquetTable
from preprocessing.graph import load_transform
from preprocessing.pipeline import build
from serving.signatures import to_scorer_inputs
from tests.trainer.layers.test_column_input import oracle
from trainer.layers import Inputs, StackedTable

ROWS, DIM = 60, 3
WORDS = ["red", "green", "blue", "grey", "naïve", "日本"]
SINGLE = ("single", "city", "n")


def columns(folder: Path) -> list[Any]:
    """Every function; each of the table below once."""
    age, pair = fc.numeric_column("age"), fc.numeric_column("pair", shape=2)
    ages = fc.bucketized_column(age, [-0.5, 0.0, 1.0])
    tags, ids = fc.categorical_column_with_vocabulary_list("tags", WORDS[:4]), fc.categorical_column_with_identity("ids", 9)
    city = fc.categorical_column_with_hash_bucket("city", 20)
    file = fc.categorical_column_with_vocabulary_file("file", str(folder / "words.txt"), num_oov_buckets=3)
    return [
        age,
        pair,
        ages,
        fc.embedding_column(ages, DIM),
        fc.embedding_column(fc.categorical_column_with_hash_bucket("single", 50), DIM),
        fc.embedding_column(fc.categorical_column_with_hash_bucket("n", 50, tf.int64), DIM),
        fc.embedding_column(tags, DIM, "sqrtn", max_norm=0.7),
        fc.indicator_column(tags),
        fc.embedding_column(ids, DIM, "sum"),
        fc.indicator_column(ids),
        fc.embedding_column(file, DIM, "mean"),
        fc.embedding_column(fc.categorical_column_with_vocabulary_list("other", WORDS[:3], default_value=1), DIM, "mean"),
        fc.embedding_column(fc.weighted_categorical_column(fc.categorical_column_with_hash_bucket("bag", 30), "weights"), DIM, "mean"),
        fc.embedding_column(fc.crossed_column(["city", "tags"], 97), DIM, "mean"),
        fc.indicator_column(fc.crossed_column(["city", ages], 31, hash_key=5)),
        fc.embedding_column(fc.crossed_column([tags, "city", ids], 61), DIM, "sum"),
        fc.indicator_column(city),
        fc.embedding_column(fc.sequence_categorical_column_with_hash_bucket("seen", 20, tf.int64), DIM),
        fc.embedding_column(fc.sequence_categorical_column_with_identity("watched", 9), DIM),
        fc.embedding_column(fc.sequence_categorical_column_with_vocabulary_list("said", WORDS[:3], num_oov_buckets=2), DIM),
        fc.indicator_column(fc.sequence_categorical_column_with_vocabulary_file("read", str(folder / "words.txt"), num_oov_buckets=1)),
        fc.sequence_numeric_column("gaps"),
    ]


def raw_rows() -> dict[str, list[Any]]:
    rng = np.random.default_rng(0)

    def lists(values: Any, shortest: int = 0) -> list[list[Any]]:
        return [[v.item() for v in rng.choice(values, rng.integers(shortest, 5))] for _ in range(ROWS)]

    bag = lists(WORDS)
    return {
        "age": rng.normal(size=ROWS).astype(np.float32).tolist(),
        "pair": rng.normal(size=(ROWS, 2)).astype(np.float32).tolist(),
        "single": rng.choice(WORDS, ROWS).tolist(),
        "city": rng.choice(["Rom", "Oslo", "Wien"], ROWS).tolist(),
        "n": rng.integers(0, 2**62, ROWS).tolist(),
        "tags": lists(WORDS[:4]),  # TensorFlow crosses an unknown token by the place -1
        "ids": lists(range(9)),
        "file": lists(WORDS),
        "other": lists(WORDS),
        "bag": bag,
        "weights": [rng.uniform(0.1, 3, len(each)).astype(np.float32).tolist() for each in bag],
        "seen": lists(range(1000)),
        "watched": lists(range(9)),
        "said": lists(WORDS),
        "read": lists(WORDS, 1),
        "gaps": lists(np.float32([0.0, 1.5, -2.0])),
        "label": rng.integers(0, 2, ROWS).astype(np.float32).tolist(),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    (folder / "words.txt").write_text("\n".join(WORDS[1:5]) + "\n", encoding="utf-8")
    pq.write_table(pa.table(raw_rows()), folder / "rows.parquet")
    return folder


def sparse_features() -> dict[str, Any]:
    """The same rows as TensorFlow's layers take them: sparse, as parsed tf.Examples are."""
    features = {}
    for name, values in raw_rows().items():
        if name in ("age", "pair"):
            features[name] = tf.constant(values, tf.float32)
        elif name in SINGLE:
            features[name] = tf.RaggedTensor.from_tensor(tf.constant(values)[:, tf.newaxis]).to_sparse() if name != "n" else _sparse([[v] for v in values], tf.int64)  # fmt: skip  # noqa: E501
        elif name != "label":
            dtype = {"weights": tf.float32, "gaps": tf.float32}.get(name, tf.string if isinstance(sum(values, [])[0], str) else tf.int64)
            features[name] = _sparse(values, dtype)
    return features


def _sparse(rows: list[list[Any]], dtype: tf.DType) -> tf.SparseTensor:
    return tf.RaggedTensor.from_row_lengths(tf.constant(sum(rows, []), dtype), [len(row) for row in rows]).to_sparse()


def test_the_spec_s_vectors_are_tensorflow_s(folder: Path) -> None:
    tf.get_logger().setLevel("ERROR")
    made = columns(folder)
    spec = from_feature_columns(made, label=Label(column="label"), single=SINGLE, max_length=9)
    spec = FeatureSpec.from_yaml(spec.to_yaml()).model_copy(update={"source": Source(rows=ParquetTable())})
    data = build(spec, folder / "data", [str(folder / "rows.parquet")], show_progress=False)
    raw = {}
    for feature in spec.features:
        for column in feature.raw_inputs:
            values = raw_rows()[feature.weights if column.name.endswith("_weights") else feature.raw_column]
            dtype = tf.as_dtype(column.dtype)
            raw[column.name] = tf.ragged.constant(values, dtype) if column.layout == "list" else tf.constant(values, dtype)
    transformed = to_scorer_inputs(spec, load_transform(data.transform_fn)(raw))
    inputs, features = Inputs(spec, data.table_rows), sparse_features()
    names = [f.name for f in spec.features if not f.only_crossed]
    # Crosses come last in the spec, whatever the order of the columns.
    order = sorted(made, key=lambda column: "_X_" in column.name)
    assert len(names) == len(order)
    for column, name in zip(order, names, strict=True):
        layer = inputs.sequences(DIM) if "sequence" in type(getattr(column, "categorical_column", column)).__name__.lower() else None
        flat = inputs.flat(DIM, only={name})
        table = _randomised(layer or flat, spec, name)
        expected, lengths = oracle(column, features, table)
        if layer is None:
            ours = flat(transformed).numpy()[:, np.newaxis]
        else:
            vectors, ours_lengths = layer(transformed)
            ours = vectors[name].numpy()[:, : expected.shape[1]]
            np.testing.assert_array_equal(ours_lengths[name], lengths, err_msg=name)
        if "identity" in str(type(getattr(column, "categorical_column", ""))).lower() and "indicator" in column.name:
            assert not ours[..., -1].any(), "the row of values out of range"
            ours = ours[..., :-1]
        np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-6, err_msg=name)


def _randomised(layer: Any, spec: FeatureSpec, name: str) -> np.ndarray | None:
    """Fills the table of a feature, and returns what of it TensorFlow's column has: without the row of padding."""
    (feature,) = (each for each in spec.features if each.name == name)
    table = getattr(feature, "table_name", None)
    for stack in (each for each in layer._flatten_layers() if isinstance(each, StackedTable)):
        if table in stack.offsets and getattr(feature, "representation", "") == "embedding":
            values = np.random.default_rng(0).normal(size=stack.table.shape).astype(np.float32)
            stack.table.assign(values)
            first, rows = stack.offsets[table] + 1, stack.rows[table] - 1
            if getattr(feature.table_encoding, "type", "") == "identity":
                rows -= 1  # values out of range
            return values[first : first + rows]
    return None
