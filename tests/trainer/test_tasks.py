"""Losses, weights of classes and of rows, and probabilities that stay those of the data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras
import known_models
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs import ColonnadeError, FeatureSpec
from trainer.config import TrainingConfig
from trainer.data import element_spec
from trainer.layers import Inputs
from trainer.loop import Loop
from trainer.metrics import binary_metrics, sigmoid
from trainer.models.registry import list_models, make_model
from trainer.precision import precision_policy
from trainer.tasks import BinaryTask, RankingTask, make_task, task_of
from trainer.testing import SPEC as EVERY_KIND
from trainer.testing import random_batch

SPEC = FeatureSpec.from_yaml("""
name: known_odds
features:
- {kind: categorical, name: a, dtype: int64, encoding: {type: identity, num_buckets: 8}}
- {kind: categorical, name: b, dtype: int64, encoding: {type: identity, num_buckets: 8}}
label: {column: y, weight: w}
""")
MODELS = [info.name for info in list_models() if info.task == "ranking"]
Rows = tuple[dict[str, NDArray], NDArray, NDArray]


def _rows(count: int, seed: int) -> tuple[Rows, NDArray]:
    """Returns rows of which a logistic regression can learn the log-odds, unweighted, and their probabilities: 4 % on average."""
    odds = np.random.default_rng(0).normal(size=(2, 9))
    rng = np.random.default_rng([1, seed])
    a, b = rng.integers(1, 9, (2, count))
    probabilities = sigmoid(odds[0, a] + odds[1, b] - 3.0)
    labels = (rng.random(count) < probabilities).astype(np.float32)
    return ({"a": a, "b": b}, labels, np.ones(count, np.float32)), probabilities


def _loop(task: RankingTask, weighted: bool = True, **training: Any) -> Loop:
    config = TrainingConfig.model_validate({"learning_rate": 0.05, "clip_norm": 0, **training})
    keras.utils.set_random_seed(0)
    return Loop(make_model("lr", Inputs(SPEC), {}), task, config, element_spec(SPEC)[: 3 if weighted else 2])


def _batches(rows: tuple, size: int, epochs: int = 1) -> Iterator[Any]:
    return iter(tf.data.Dataset.from_tensor_slices(rows).batch(size).repeat(epochs))


def _trained(task: RankingTask, rows: Rows, steps: int = 240) -> Loop:
    loop = _loop(task)
    loop.train(_batches(rows, 2000, epochs=steps), steps)
    loop.finish_rows()
    return loop


def _logits(loop: Loop, rows: Rows) -> NDArray:
    return loop.model({name: tf.constant(values) for name, values in rows[0].items()}, training=False).numpy()


def test_losses_worked_by_hand() -> None:
    labels, logits = tf.constant([0.0, 1.0]), tf.constant([0.0, 0.0])
    np.testing.assert_allclose(BinaryTask().losses(labels, logits), [math.log(2)] * 2, rtol=1e-6)
    # With w = 3 and r = 1/2 the logits are log 6: a probability of 6/7.
    task = BinaryTask(positive_weight=3, negative_sampling_rate=0.5)
    np.testing.assert_allclose(task.losses(labels, logits), [math.log(7), 3 * math.log(7 / 6)], rtol=1e-6)
    # Half of the negatives are left: where the logit is 0, two of three rows in the data are positive.
    assert task.metrics(np.array([0.0, 1, 1]), np.zeros(3), None)["calibration_ratio"] == pytest.approx(1)
    assert make_task("regression", TrainingConfig()).losses(labels, tf.constant([2.0, -1.0])).numpy().tolist() == [4.0, 4.0]


def test_the_best_logit_is_the_log_odds_of_the_data() -> None:
    """Of 1,000 rows 200 are positive; the sum of the losses is flat where the logit is log(200 / 800)."""
    labels, logit = tf.constant([1.0] * 200 + [0.0] * 800), tf.Variable(math.log(0.25))
    for weight in (0.2, 1.0, 5.0, 100.0):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(BinaryTask(positive_weight=weight).losses(labels, logit + tf.zeros(1000)))
        assert float(tape.gradient(loss, logit)) == pytest.approx(0, abs=1e-4)


def test_the_threshold_is_that_of_the_metrics() -> None:
    labels, logits = np.array([1.0, 1.0, 0.0, 0.0]), np.log([0.4 / 0.6, 0.2 / 0.8, 0.35 / 0.65, 0.1 / 0.9])
    low = make_task("binary", TrainingConfig(threshold=0.3)).metrics(labels, logits, None)
    assert (low["precision"], low["recall"], low["accuracy"]) == (0.5, 0.5, 0.5)
    half = task_of(SPEC).metrics(labels, logits, None)
    assert (half["recall"], half["accuracy"]) == (0.0, 0.5)
    assert np.isnan(half["precision"])


@pytest.mark.parametrize("setting", [{"positive_weight": 2.0}, {"negative_sampling_rate": 0.5}, {"threshold": 0.4}])
def test_settings_of_a_binary_task_are_refused_elsewhere(setting: dict[str, float]) -> None:
    with pytest.raises(ColonnadeError, match=rf"{next(iter(setting))} would do nothing: the task is regression"):
        make_task("regression", TrainingConfig.model_validate(setting))


def test_weighted_positives_leave_the_probabilities_as_they_are() -> None:
    rows, _ = _rows(40_000, seed=0)
    unseen, probabilities = _rows(20_000, seed=1)
    uncorrected = BinaryTask(positive_weight=5)
    uncorrected._offset = 0.0
    found = {}
    for name, task in (("plain", BinaryTask()), ("weighted", BinaryTask(positive_weight=5)), ("uncorrected", uncorrected)):
        logits = _logits(_trained(task, rows), unseen)
        found[name] = binary_metrics(unseen[1], logits) | {"gap": np.abs(sigmoid(logits) - probabilities).mean()}
    assert found["weighted"]["calibration_ratio"] == pytest.approx(1, abs=0.05)
    assert found["weighted"]["gap"] < 0.015
    assert found["weighted"]["auc"] > found["plain"]["auc"] - 0.002
    assert found["uncorrected"]["calibration_ratio"] > 2.5
    assert found["uncorrected"]["auc"] == pytest.approx(found["weighted"]["auc"], abs=0.005)


def test_sampled_negatives_give_the_probabilities_of_all_rows() -> None:
    rows, _ = _rows(60_000, seed=0)
    unseen, probabilities = _rows(20_000, seed=1)
    kept = (rows[1] == 1) | (np.random.default_rng(2).random(60_000) < 0.2)
    sampled = ({name: values[kept] for name, values in rows[0].items()}, rows[1][kept], rows[2][kept])
    task = BinaryTask(negative_sampling_rate=0.2)
    loop = _trained(task, sampled)
    logits = _logits(loop, unseen)
    assert binary_metrics(unseen[1], logits)["calibration_ratio"] == pytest.approx(1, abs=0.05)
    assert np.abs(sigmoid(logits) - probabilities).mean() < 0.015
    # Metrics of the sampled rows are in their terms, not those of rows that are not there.
    assert task.metrics(sampled[1], _logits(loop, sampled), None)["calibration_ratio"] == pytest.approx(1, abs=0.02)


def test_a_row_of_weight_n_is_n_rows() -> None:
    (features, labels, _), _ = _rows(60, seed=3)
    weights = np.arange(60, dtype=np.float32) % 3
    again = np.repeat(np.arange(60), weights.astype(int))
    one, many = _loop(BinaryTask()), _loop(BinaryTask(), weighted=False)
    one.train(_batches((features, labels, weights), 60), 1)
    many.train(_batches(({name: values[again] for name, values in features.items()}, labels[again]), 60), 1)
    np.testing.assert_allclose(one.take_loss_sum() / 60, many.take_loss_sum() / len(again), rtol=1e-6)
    for ours, theirs in zip(one.weights, many.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_weights_of_one_change_nothing_and_of_zero_teach_nothing() -> None:
    (features, labels, ones), _ = _rows(64, seed=4)
    plain, weighted, nothing = _loop(BinaryTask(), weighted=False), _loop(BinaryTask()), _loop(BinaryTask())
    before = [variable.numpy() for variable in nothing.weights]
    plain.train(_batches((features, labels), 16), 4)
    weighted.train(_batches((features, labels, ones), 16), 4)
    nothing.train(_batches((features, labels, 0 * ones), 16), 4)
    assert plain.take_loss_sum() == pytest.approx(weighted.take_loss_sum())
    assert nothing.take_loss_sum() == 0
    for ours, theirs in zip(plain.weights, weighted.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    for value, variable in zip(before, nothing.weights, strict=True):
        np.testing.assert_array_equal(value, variable)


def test_batches_of_input_fns_may_have_weights_too() -> None:
    (features, labels, ones), _ = _rows(40, seed=5)
    whole, some = _loop(BinaryTask()), _loop(BinaryTask())
    whole.train(_batches((features, labels, ones * 2), 10), 4)
    assert some.train_some(_batches((features, labels, ones * 2), 10), 9) == (4, 40)
    for ours, theirs in zip(whole.weights, some.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", MODELS)
def test_the_last_layer_of_every_model_is_linear_and_begins_where_it_is_told_to(name: str) -> None:
    keras.utils.set_random_seed(0)
    model = make_model(name, Inputs(EVERY_KIND), {})
    loop = Loop(model, make_task("regression", TrainingConfig()), TrainingConfig(), element_spec(EVERY_KIND))
    features = {key: tf.constant(values) for key, values in random_batch(8)[0].items()}
    before, bias = model(features, training=False), model.output_bias(features)
    loop.start_at(-70.0)
    moved = 0 if bias is None or name == "wide_deep" else -70
    np.testing.assert_allclose(model(features, training=False) - before, moved, atol=1e-3)
    if bias is None:
        assert name not in known_models.RANKING
        return
    for value in (1e3, -1e3):  # nothing is cut off on either side
        bias.assign(bias.numpy() + value)
        np.testing.assert_allclose(model(features, training=False) - before, np.full(8, bias.numpy().item()), atol=1e-2)


@pytest.mark.parametrize("name", MODELS)
def test_predictions_of_bfloat16_are_on_no_grid(name: str) -> None:
    """Around 1,000 numbers of bfloat16 are 4 apart."""
    features = {key: tf.constant(values) for key, values in random_batch(8)[0].items()}
    with precision_policy("bfloat16"):
        model = make_model(name, Inputs(EVERY_KIND), {})
        before = model(features, training=False)
    bias = model.output_bias(features)
    if bias is not None:
        bias.assign(bias.numpy() + 1000)
        np.testing.assert_allclose(model(features, training=False) - before, 1000, atol=1e-3)
