from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from feature_specs import ColonnadeError
from trainer.input_fns import InputFnBatches

SPEC = {"age": tf.io.FixedLenFeature((1,), tf.float32), "word": tf.io.VarLenFeature(tf.string)}
WEIGHTS = {"w": "word"}
FEATURES = {"age": [1.0, 2.0, 3.0], "word": ["a", "b", "c"], "other": [1, 2, 3]}


def dataset(labels: Any = (0, 1, 1), features: Any = None, batch: int | None = 2) -> tf.data.Dataset:
    features = FEATURES if features is None else features
    made = tf.data.Dataset.from_tensor_slices(features if labels is None else (features, tf.constant(labels)))
    return made if batch is None else made.batch(batch)


def batches(make: Any, task: str = "binary", **options: Any) -> list[tuple[dict[str, Any], np.ndarray]]:
    source = InputFnBatches(make, SPEC, WEIGHTS, task=task, **options)
    with source.errors_of_reading():
        return [(features, labels.numpy()) for features, labels in source.dataset()]


@pytest.mark.parametrize("labels", [[0, 1, 1], [[0.0], [1.0], [1.0]], [False, True, True]])
def test_labels_come_in_one_form(labels: list) -> None:
    found = batches(lambda: dataset(labels))
    assert [each.tolist() for _, each in found] == [[0.0, 1.0], [1.0]]
    assert found[0][1].dtype == np.float32
    assert [list(features) for features, _ in found] == [["age", "word"]] * 2, "features that no column reads are left out"


def test_a_start_and_a_limit() -> None:
    source = InputFnBatches(dataset, SPEC, WEIGHTS, task="binary", limit=1)
    assert [labels.numpy().tolist() for _, labels in source.dataset()] == [[0.0, 1.0]]
    assert [labels.numpy().tolist() for _, labels in source.dataset(start_batch=1)] == [[1.0]]


def test_no_tuner_is_waited_for_unless_it_is_asked_for() -> None:
    source = InputFnBatches(dataset, SPEC, WEIGHTS, task="binary")
    assert source.dataset().options().autotune.enabled is False
    asked = tf.data.Options()
    asked.autotune.enabled = True
    source = InputFnBatches(lambda: dataset().with_options(asked), SPEC, WEIGHTS, task="binary")
    assert source.dataset().options().autotune.enabled is True


def test_predictions_need_no_labels() -> None:
    for make in (lambda: dataset(None), dataset):
        assert len(batches(make, labelled=False)) == 2
    ((features, labels), _) = batches(lambda: dataset(None), labelled=False)
    assert np.isnan(labels).all()
    assert features["word"].values.numpy().tolist() == [b"a", b"b"]


def test_features_of_any_length_come_as_parsed_examples_hold_them() -> None:
    spec = {"word": tf.io.VarLenFeature(tf.string), "w": tf.io.VarLenFeature(tf.float32), "id": tf.io.VarLenFeature(tf.int64), "gaps": tf.io.VarLenFeature(tf.float32)}  # fmt: skip  # noqa: E501
    features = {"word": [["a", ""], ["", "b"]], "w": [[0.0, 1.0], [2.0, 3.0]], "id": tf.constant([-1, 7], tf.int32), "gaps": [[0.0], [5.0]]}
    source = InputFnBatches(lambda: dataset([0, 1], features), spec, WEIGHTS, task="binary")
    ((found, _),) = list(source.dataset())
    assert found["word"].indices.numpy().tolist() == found["w"].indices.numpy().tolist() == [[0, 0], [1, 1]]
    assert found["w"].values.numpy().tolist() == [0.0, 3.0]
    assert (found["id"].indices.numpy().tolist(), found["id"].values.numpy().tolist()) == ([[1, 0]], [7])
    assert found["gaps"].values.numpy().tolist() == [0.0, 5.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: (FEATURES, [0]), r"input_fn '<lambda>' should return a tf\.data\.Dataset .* Received: tuple\. Wrap tensors"),
        (lambda: None, r"Received: NoneType"),
        (lambda: dataset(None), r"features without labels"),
        (lambda: dataset(None, {"word": ["a"], "ages": [1.0]}).map(lambda f: (f, 1)), r"'age' is missing\. Did you mean 'ages'\?"),
        (lambda: tf.data.Dataset.from_tensor_slices([1.0]).batch(1), r"should give .* Received elements: TensorSpec"),
        (lambda: dataset(batch=None), r"Feature 'age' is not batched\. Call \.batch"),
        (lambda: dataset(["yes", "no", "no"]), r"Labels should be numbers\. Received: string\. Convert them in the input_fn"),
        (lambda: dataset([[0, 1]] * 3), r"shape \[B\] or \[B, 1\]\. Received: \(None, 2\)"),
        (lambda: dataset().map(lambda f, y: (f, {"y": y})), r"one dense tensor, \[B\] or \[B, 1\]\. Received: \{'y'"),
        (lambda: dataset([0, 1, 2]), r"A batch of input_fn '<lambda>' cannot be used: labels should be 0 or 1"),
        (lambda: dataset(features={**FEATURES, "age": ["1", "2", "3"]}), r"'age' should be of dtype float32\. Received: string"),
    ],
)
def test_mistakes_are_named(make: Any, message: str) -> None:
    with pytest.raises(ColonnadeError, match=message):
        batches(make)


def weighted(weights: Any, labels: Any = (0, 1, 1)) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((FEATURES, tf.constant(labels), tf.constant(weights))).batch(2)


@pytest.mark.parametrize("weights", [[1, 0, 2], [[1.0], [0.0], [2.0]]])
def test_weights_come_in_one_form(weights: list) -> None:
    source = InputFnBatches(lambda: weighted(weights), SPEC, WEIGHTS, task="binary")
    found = [(each.numpy(), labels.numpy()) for _, labels, each in source.dataset()]
    assert [each.tolist() for each, _ in found] == [[1.0, 0.0], [2.0]]
    assert [labels.tolist() for _, labels in found] == [[0.0, 1.0], [1.0]]
    assert found[0][0].dtype == np.float32


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, -1.0, 1.0], r"cannot be used: weights should be finite numbers of 0 or more"),
        ([1.0, float("inf"), 1.0], r"cannot be used: weights should be finite numbers of 0 or more"),
        (["1", "2", "3"], r"Weights should be numbers\. Received: string\. .* tf\.strings\.to_number"),
        ([[1.0, 2.0]] * 3, r"Weights should have shape \[B\] or \[B, 1\]"),
    ],
)
def test_bad_weights_are_named(weights: list, message: str) -> None:
    source = InputFnBatches(lambda: weighted(weights), SPEC, WEIGHTS, task="binary")
    with pytest.raises(ColonnadeError, match=message), source.errors_of_reading():
        list(source.dataset())


def test_an_input_fn_is_a_function() -> None:
    with pytest.raises(ColonnadeError, match=r"input_fn should be a function .* Received: _BatchDataset"):
        batches(dataset())
    with pytest.raises(ColonnadeError, match=r"labels should be finite numbers"):
        batches(lambda: dataset([1.0, float("nan"), 2.0]), task="regression")
