"""What becomes of each function of tf.feature_column; that the numbers are equal is tested end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import yaml
from tensorflow import feature_column as fc

from feature_specs import ColonnadeError, FeatureSpec, Label, from_feature_columns


@pytest.fixture(autouse=True)
def _quiet() -> None:
    tf.get_logger().setLevel("ERROR")


def declared(*columns: Any, **options: Any) -> list[dict[str, Any]]:
    """The features as YAML has them, and back again."""
    spec = from_feature_columns(columns, **options)
    assert FeatureSpec.from_yaml(spec.to_yaml()) == spec
    return yaml.safe_load(spec.to_yaml())["features"]


ID, WORD = fc.categorical_column_with_identity("id", 6), fc.categorical_column_with_hash_bucket("word", 9)
AGE = fc.numeric_column("age")
AGES = fc.bucketized_column(AGE, [18.0, 30.0])
USUAL = {"type": "normal", "stddev": 0.5, "truncated": True}  # 1 / sqrt(4)


def test_numbers_and_buckets() -> None:
    assert declared(AGE, AGES, fc.embedding_column(AGES, 4, trainable=False), fc.numeric_column("pair", 2, 0.5), fc.sequence_numeric_column("gaps")) == [  # fmt: skip  # noqa: E501
        {"kind": "numeric", "name": "age", "scaling": "none", "representation": "value"},
        {"kind": "bucketized", "name": "age_bucketized", "column": "age", "boundaries": [18.0, 30.0], "representation": "indicator"},
        {
            "kind": "bucketized", "name": "age_bucketized_embedding", "column": "age", "boundaries": [18.0, 30.0],
            "embedding_dim": 4, "initializer": USUAL, "trainable": False,
        },
        {"kind": "numeric", "name": "pair", "size": 2, "scaling": "none", "representation": "value", "default": 0.5},
        {"kind": "numeric_sequence", "name": "gaps", "scaling": "none", "representation": "value"},
    ]  # fmt: skip


def test_tokens(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("red\ngreen\n")
    words = fc.categorical_column_with_vocabulary_file("colour", str(tmp_path / "words"), default_value=1)
    columns = [
        WORD,
        fc.embedding_column(fc.categorical_column_with_hash_bucket("number", 7, tf.int64), 4, "sqrtn", max_norm=1.0),
        fc.indicator_column(ID),
        fc.indicator_column(fc.categorical_column_with_vocabulary_list("size", ["S", "L"], num_oov_buckets=2)),
        fc.embedding_column(words, 4, initializer=tf.initializers.RandomUniform(-0.25, 0.25)),
        fc.embedding_column(fc.weighted_categorical_column(fc.categorical_column_with_vocabulary_list("tag", [3, 1]), "w"), 4, "sum"),
    ]
    assert declared(*columns, single=["word", "id"]) == [
        {"kind": "categorical", "name": "word", "encoding": {"type": "hash", "num_buckets": 9}},
        {
            "kind": "multi_valued", "name": "number", "dtype": "int64", "encoding": {"type": "hash", "num_buckets": 7}, "combiner": "sqrtn",
            "embedding_dim": 4, "initializer": USUAL, "max_norm": 1.0,
        },
        {
            "kind": "categorical", "name": "id", "dtype": "int64", "representation": "indicator",
            "encoding": {"type": "identity", "num_buckets": 6, "out_of_range": "reject"},
        },
        {
            "kind": "multi_valued", "name": "size", "representation": "indicator",
            "encoding": {"type": "vocabulary", "tokens": ["S", "L"], "num_oov_buckets": 2},
        },
        {
            "kind": "multi_valued", "name": "colour", "embedding_dim": 4, "initializer": {"type": "uniform", "limit": 0.25},
            "encoding": {
                "type": "vocabulary", "file": str(tmp_path / "words"), "max_size": 2, "num_oov_buckets": 0, "oov_token": "green",
            },
        },
        {
            "kind": "multi_valued", "name": "tag", "dtype": "int64",
            "encoding": {"type": "vocabulary", "tokens": [3, 1], "num_oov_buckets": 0},
            "combiner": "sum", "weights": "w", "embedding_dim": 4, "initializer": USUAL,
        },
    ]  # fmt: skip


def test_shared_tables_and_sequences() -> None:
    with tf.Graph().as_default():
        both = [ID, fc.sequence_categorical_column_with_identity("seen", 6)]
        shared = fc.shared_embeddings(both, 4, shared_embedding_collection_name="items", trainable=False)
    first, second = declared(*shared, max_length=7)
    encoding = {"type": "identity", "num_buckets": 6, "out_of_range": "reject"}
    assert first == {
        "kind": "multi_valued", "name": "id", "table": "items", "dtype": "int64", "encoding": encoding,
        "embedding_dim": 4, "initializer": USUAL, "trainable": False,
    }  # fmt: skip
    assert second == {"kind": "sequence", "name": "seen", "table": "items", "dtype": "int64", "max_length": 7}


def test_crosses_find_their_inputs_or_bring_them() -> None:
    size = fc.categorical_column_with_vocabulary_list("size", ["S", "L"])
    pair = fc.crossed_column(["word", "city"], 20)
    columns = [
        fc.embedding_column(fc.crossed_column([pair, AGES], 30, hash_key=7), 4, "sum"),
        fc.crossed_column([size, "word"], 40),
        fc.embedding_column(WORD, 4),
    ]
    features = {feature["name"]: feature for feature in declared(*columns, single=["word"])}
    assert list(features) == ["word", "city", "age_bucketized", "age_bucketized_X_city_X_word", "size", "size_X_word"]
    assert features["city"] == {"kind": "multi_valued", "name": "city", "only_crossed": True}
    assert features["age_bucketized"]["only_crossed"]
    assert features["age_bucketized_X_city_X_word"] == {
        "kind": "crossed", "name": "age_bucketized_X_city_X_word", "inputs": ["word", "city", "age_bucketized"], "num_buckets": 30,
        "hash_key": 7, "combiner": "sum", "embedding_dim": 4, "initializer": USUAL,
    }  # fmt: skip
    crossed = features["size_X_word"]
    assert (crossed["inputs"], crossed["by_id"]) == (["size", "word"], ["size"])


def test_a_column_on_both_sides_is_one_feature() -> None:
    assert [f["name"] for f in declared(WORD, fc.embedding_column(WORD, 4), AGES, AGES)] == ["word", "age_bucketized"]
    both = declared(fc.embedding_column(WORD, 4), fc.indicator_column(WORD))
    assert [(f["name"], f.get("column")) for f in both] == [("word", None), ("word_indicator", "word")]


def test_keys_that_are_no_names() -> None:
    column = fc.numeric_column("capital-gain (USD)")
    assert declared(column, fc.numeric_column("class")) == [
        {"kind": "numeric", "name": "capital_gain__USD_", "column": "capital-gain (USD)", "scaling": "none", "representation": "value"},
        {"kind": "numeric", "name": "f_class", "column": "class", "scaling": "none", "representation": "value"},
    ]


def test_label_and_name() -> None:
    spec = from_feature_columns([AGE], name="people", label=Label(column="rich", threshold=3))
    assert (spec.name, spec.label.threshold) == ("people", 3)


def graph_shared(*columns: Any) -> list[Any]:
    with tf.Graph().as_default():
        return fc.shared_embeddings(columns, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: [fc.numeric_column("x", normalizer_fn=abs)], r"Column 'x' cannot be declared in a spec: a normalizer_fn\. Declare a"),
        (lambda: [fc.numeric_column("x", 2, [1.0, 2.0])], r"several default values, \[1\.0, 2\.0\]"),
        (lambda: [fc.bucketized_column(fc.numeric_column("x", 2), [1.0])], r"'x_bucketized' .* buckets of a vector"),
        (lambda: [fc.sequence_numeric_column("x", 2)], r"steps of several numbers"),
        (lambda: [fc.categorical_column_with_identity("x", 3, default_value=1)], r"default_value=1 for values out of range\. Leave it"),
        (lambda: [fc.indicator_column(fc.weighted_categorical_column(ID, "w"))], r"an indicator of weights\. Use embedding_column"),
        (lambda: [fc.embedding_column(ID, 4, initializer=tf.initializers.GlorotUniform())], r"initializer GlorotUniform"),
        (
            lambda: [fc.embedding_column(ID, 4, ckpt_to_load_from="c", tensor_name_in_ckpt="t")],
            r"ckpt_to_load_from\. Write the vectors .* `pretrained`",
        ),
        (
            lambda: graph_shared(WORD, fc.categorical_column_with_hash_bucket("n", 9, tf.int64)),
            None,
        ),
        (
            lambda: graph_shared(*(fc.categorical_column_with_vocabulary_list(k, v) for k, v in (("a", "xy"), ("b", "zw")))),
            r"'b_shared_embedding' .* number their values in different ways",
        ),
        (lambda: [fc.categorical_column_with_vocabulary_list("a", ["", "b"])], r"Column 'a' .* empty or has a line end.* Change"),
        (lambda: ["age"], r"Column 'age' cannot be converted\. Received: str"),
        (lambda: [], r"The columns make no valid spec: the spec has no features"),
        (lambda: [AGE, fc.categorical_column_with_identity("age", 3)], r"Column 'age' .* a second feature called 'age'"),
        (lambda: [fc.numeric_column("label")], r"reads the label's column"),
    ],
)  # fmt: skip
def test_what_cannot_be_declared_is_one_clear_error(make: Any, message: str | None) -> None:
    if message is None:
        from_feature_columns(make())
        return
    with pytest.raises(ColonnadeError, match=message):
        from_feature_columns(make())
