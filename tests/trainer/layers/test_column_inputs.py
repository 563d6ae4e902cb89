"""What models receive of columns, against TensorFlow's DenseFeatures and linear_model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tensorflow import feature_column as fc

from feature_specs import ColonnadeError
from tests.trainer.layers.test_column_input import random_sparse, sparse
from trainer.layers import ColumnInputs, StackedTable

B = 40


@pytest.fixture(autouse=True)
def _quiet() -> None:
    tf.get_logger().setLevel("ERROR")


WORD = fc.categorical_column_with_hash_bucket("word", 9)
ID = fc.categorical_column_with_identity("id", 6)
AGE = fc.numeric_column("age")
PAIR = fc.numeric_column("pair", shape=2)
AGES = fc.bucketized_column(AGE, [-0.5, 0.0, 1.0])
CROSS = fc.crossed_column(["word", AGES], 31)
WEIGHTED = fc.weighted_categorical_column(ID, "w")


@pytest.fixture
def features() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    ids = random_sparse(6)
    return {
        "word": random_sparse(["a", "b", "c", "d"], dtype=tf.string),
        "id": ids,
        "w": tf.SparseTensor(ids.indices, rng.normal(size=len(ids.values)).astype(np.float32), ids.dense_shape),
        "age": tf.constant(rng.normal(size=B).astype(np.float32)),
        "pair": tf.constant(rng.normal(size=(B, 2)).astype(np.float32)),
        "steps": random_sparse(6),
    }


def _randomise(layer: Any) -> None:
    for number, variable in enumerate(layer.variables):
        variable.assign(np.random.default_rng(number).normal(size=variable.shape))


@pytest.mark.filterwarnings("ignore:`layer.add_variable` is deprecated:UserWarning")  # TensorFlow's own call
def test_the_linear_term_is_tensorflow_s_linear_model(features: dict[str, Any]) -> None:
    columns = [WORD, CROSS, WEIGHTED, AGES, AGE, PAIR]
    layer = ColumnInputs([], columns).first_order(use_bias=True)
    _randomise(layer)
    ours = layer(features).numpy()
    (table,) = [each for each in layer._flatten_layers() if isinstance(each, StackedTable)]
    values = table.table.numpy()
    weights = {name: values[first : first + table.rows[name]] for name, first in table.offsets.items()}
    kernel, bias = layer._kernel.numpy(), layer.bias.numpy()
    weights |= {"age": kernel[:1, np.newaxis], "pair": kernel[1:, np.newaxis]}
    plain = {k: tuple(p.numpy() for p in (v.indices, v.values, v.dense_shape)) if isinstance(v, tf.SparseTensor) else v.numpy() for k, v in features.items()}  # fmt: skip  # noqa: E501
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        given = {k: tf.SparseTensor(*v) if isinstance(v, tuple) else tf.constant(v) for k, v in plain.items()}
        logits = tf.compat.v1.feature_column.linear_model(given, columns)
        session.run([tf.compat.v1.global_variables_initializer(), tf.compat.v1.tables_initializer()])
        for variable in tf.compat.v1.global_variables():
            name = variable.name.split("/")[-2]
            session.run(variable.assign([bias] if "bias" in variable.name else weights[name]))
        expected = session.run(logits)[:, 0]
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)
    assert np.abs(ours).min() > 0


def test_flat_is_dense_features_in_the_order_given(features: dict[str, Any]) -> None:
    columns = [fc.embedding_column(WORD, 3), PAIR, fc.indicator_column(ID), AGES, AGE]
    layer = ColumnInputs(columns, []).flat(8)
    _randomise(layer)
    flat = layer(features).numpy()
    assert flat.shape == (B, 3 + 2 + 6 + 4 + 1)
    at = 0
    for column in columns:
        oracle = tf_keras.layers.DenseFeatures([column])
        expected = oracle(features)
        if oracle.variables:
            oracle.variables[0].assign(layer.variables[0].numpy())
            expected = oracle(features)
        np.testing.assert_allclose(flat[:, at : at + expected.shape[1]], expected, rtol=1e-6, atol=1e-6)
        at += expected.shape[1]


def test_fields_are_one_vector_a_column(features: dict[str, Any]) -> None:
    steps = fc.sequence_categorical_column_with_identity("steps", 6)
    inputs = ColumnInputs([fc.embedding_column(WORD, 3), AGE, AGES, fc.embedding_column(steps, 3)], [ID])
    assert inputs.field_names == ("word_embedding", "age", "age_bucketized", "steps_embedding")
    assert inputs.embedding_dim == 3
    layer = inputs.fields_and_first_order(3)
    _randomise(layer)
    vectors, linear = layer(features)
    assert vectors.shape == (B, 4, 3)
    assert linear.shape == (B,)
    kernels = {k: v.numpy() for k, v in layer.fields._kernels.items()}
    age = features["age"].numpy()
    np.testing.assert_allclose(vectors[:, 1], age[:, None] * kernels["age"], rtol=1e-5)
    np.testing.assert_allclose(vectors[:, 2], kernels["age_bucketized"][np.digitize(age, [-0.5, 0.0, 1.0])], rtol=1e-5)
    stack = layer.fields._tables[0]
    table = stack.table.numpy()[stack.offsets["steps_embedding"] :]
    rows = tf.RaggedTensor.from_sparse(features["steps"]).to_list()
    expected = [table[row].mean(0) if row else np.zeros(3) for row in rows]
    np.testing.assert_allclose(vectors[:, 3], expected, rtol=1e-5, atol=1e-6)
    sequences, lengths = inputs.sequences(3)(features)
    assert {name: each.shape[2] for name, each in sequences.items()} == dict.fromkeys(inputs.field_names, 3)
    np.testing.assert_array_equal(lengths["steps_embedding"], [len(row) for row in rows])


def test_numbers_parts_and_targets(features: dict[str, Any]) -> None:
    with tf.Graph().as_default():
        both = [ID, fc.sequence_categorical_column_with_identity("steps", 6)]
        shared = fc.shared_embeddings(both, 3)
    inputs = ColumnInputs([AGE, *shared, PAIR], [])
    assert inputs.number_names == ("age", "pair")
    np.testing.assert_array_equal(inputs.numbers()(features)[:, 1:], features["pair"])
    assert inputs.fields(3, only={"age", "id_shared_embedding"})(features).shape == (B, 2, 3)
    assert inputs.targets == {"steps_shared_embedding": "id_shared_embedding"}
    assert inputs.fields_of_keys == ((), ())


def test_one_list_is_split(features: dict[str, Any]) -> None:
    inputs = ColumnInputs([WORD, CROSS, fc.embedding_column(WORD, 3), fc.indicator_column(ID), AGE, AGES])
    assert [column.name for column in inputs.dense] == ["word_embedding", "id_indicator", "age", "age_bucketized"]
    assert [column.name for column in inputs.linear] == ["word", "age_bucketized_X_word", "age", "age_bucketized"]
    assert set(inputs.parsing_spec) == {"word", "id", "age"}
    assert inputs.first_order()(features).shape == (B,)


def test_a_linear_term_left_out_is_zero(features: dict[str, Any]) -> None:
    layer = ColumnInputs([fc.embedding_column(WORD, 3)], []).first_order(use_bias=True)
    layer.bias.assign(2.0)
    np.testing.assert_array_equal(layer(features), np.full(B, 2.0))


SEQUENCE = fc.sequence_categorical_column_with_identity("steps", 6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ColumnInputs([]), r"`columns` is empty"),
        (lambda: ColumnInputs([WORD], []), r"Column 'word' is not supported\. Received: HashedCategoricalColumn"),
        (lambda: ColumnInputs([AGE], [fc.embedding_column(WORD, 3)]), r"'word_embedding' cannot be in a linear term.*: EmbeddingColumn"),
        (lambda: ColumnInputs([AGE], [WORD, fc.indicator_column(WORD)]), r"Two linear columns are named 'word'"),
        (lambda: ColumnInputs([WORD]).flat(3), r"no column gives any"),
        (lambda: ColumnInputs([fc.embedding_column(WORD, 3)]).first_order(), r"no column is for it\. Pass linear_columns"),
        (
            lambda: ColumnInputs([fc.embedding_column(WORD, 3), fc.embedding_column(ID, 4)]).fields(3),
            r"one width, embedding_dim=3\. Received columns with others: id_embedding 4",
        ),
        (lambda: ColumnInputs([fc.embedding_column(ID, 3), fc.numeric_column("id")]), r"The columns read one feature in two ways"),
    ],
)
def test_mistakes_are_named(make: Any, message: str) -> None:
    with pytest.raises(ColonnadeError, match=message):
        make()


def test_a_sequence_of_nothing_is_zero() -> None:
    layer = ColumnInputs([fc.embedding_column(SEQUENCE, 3)], []).flat(3)
    np.testing.assert_array_equal(layer({"steps": sparse([[], []], 2)}), np.zeros((2, 3)))
