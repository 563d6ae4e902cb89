"""Crosses have the buckets of `tf.feature_column.crossed_column`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.feature_column.feature_column_v2 import FeatureTransformationCache

from feature_specs import FeatureSpec
from preprocessing.analyzers import Analysis
from preprocessing.transform import make_preprocessing_fn

WORDS = [b"a", b"b", b"", b"\xff", b"a"]
NUMBERS = [7, 0, 3, -1, -5]
LISTS = [[b"x", b"y"], [], [b"x"], [b"z"], [b"y", b"y", b"x"]]
AGES = [5.0, 10.0, 12.0, 30.0, -1.0]
AGE = "{kind: bucketized, name: age, boundaries: [0, 10, 20]}"
WORD = "{kind: categorical, name: word, encoding: {type: hash, num_buckets: 9}}"
NUMBER = "{kind: categorical, name: number, dtype: int64, encoding: {type: identity, num_buckets: 8}}"
LIST = "{kind: multi_valued, name: list, encoding: {type: hash, num_buckets: 4}}"


def made(cross: str) -> Any:
    """Returns the crosses of the rows above."""
    text = f"name: c\nfeatures: [{AGE}, {WORD}, {NUMBER}, {LIST}, {{kind: crossed, name: cross, {cross}}}]\nlabel: {{column: y}}"
    raw = {
        "age": tf.constant(AGES),
        "word": tf.constant(WORDS),
        "number": tf.constant(NUMBERS, tf.int64),
        "list": tf.ragged.constant(LISTS, tf.string, 1, row_splits_dtype=tf.int64),
    }
    return make_preprocessing_fn(FeatureSpec.from_yaml(text), Analysis(numbers={"age": []}))(raw)["cross"]


def oracle(keys: list[Any], buckets: int, hash_key: int | None = None) -> list[list[int]]:
    """Returns 1 + the buckets of TensorFlow's own column."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        column = tf.feature_column.crossed_column(keys, buckets, hash_key=hash_key)
        # Dense "" and -1 would be crossed like any token: what is missing is left out.
        features = {
            "age": tf.constant(AGES)[:, tf.newaxis],
            "word": tf.ragged.constant([[word] if word else [] for word in WORDS]).to_sparse(),
            "number": tf.ragged.constant([[number] if number != -1 else [] for number in NUMBERS], tf.int64).to_sparse(),
            "list": tf.ragged.constant(LISTS).to_sparse(),
        }
        ids = session.run(FeatureTransformationCache(features).get(column, None))
    rows: list[list[int]] = [[] for _ in WORDS]
    for (row, _), bucket in zip(ids.indices, ids.values, strict=True):
        rows[row].append(int(bucket) + 1)
    return rows


@pytest.mark.parametrize("buckets", [1, 10, 1_000_000])
@pytest.mark.parametrize("names", [("word", "number"), ("number", "word"), ("word", "age"), ("age", "number", "word")])
def test_crosses_of_single_values(names: tuple[str, ...], buckets: int) -> None:
    keys = [_age() if name == "age" else name for name in names]
    found = made(f"inputs: [{', '.join(names)}], num_buckets: {buckets}").numpy().tolist()
    assert found == [row[0] if row else 0 for row in oracle(keys, buckets)]


@pytest.mark.parametrize("hash_key", [None, 0, 2**40])
@pytest.mark.parametrize("names", [("list", "word"), ("number", "list", "age")])
def test_crosses_of_lists(names: tuple[str, ...], hash_key: int | None) -> None:
    keys = [_age() if name == "age" else name for name in names]
    option = "" if hash_key is None else f", hash_key: {hash_key}"
    assert made(f"inputs: [{', '.join(names)}], num_buckets: 1000{option}").to_list() == oracle(keys, 1000, hash_key)


def test_crosses_by_id() -> None:
    # Of all columns TensorFlow's own crosses the ids; 8 and more, and what is missing, have none there.
    identity = tf.feature_column.categorical_column_with_identity("number", 8, default_value=8 - 1)
    expected = oracle([identity, "word"], 1000)
    found = made("inputs: [number, word], by_id: [number], num_buckets: 1000").numpy().tolist()
    rows = [row for row, number in enumerate(NUMBERS) if 0 <= number < 8 and WORDS[row]]
    assert [found[row] for row in rows] == [expected[row][0] for row in rows]
    assert np.flatnonzero(found).tolist() == [0, 1, 4]  # -5 is out of range, and has the last row's place


def _age() -> Any:
    return tf.feature_column.bucketized_column(tf.feature_column.numeric_column("age"), [0, 10, 20])
