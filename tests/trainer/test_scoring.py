"""Scoring many batches a call gives what scoring them one by one does, and each step function is traced once."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from feature_specs import ColonnadeError, FeatureSpec
from trainer.config import RunConfig, TrainingConfig
from trainer.estimator import Estimator, EvalSpec, TrainSpec, train_and_evaluate
from trainer.models.base import RankingModel
from trainer.models.registry import get_model, resolve_hyper_parameters
from trainer.scoring import _BATCHES_A_CALL, Scorer


class _TwoParts(RankingModel):
    """Scores x as x and -2 x."""

    def parts(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"once": features["x"], "twice": -2.0 * features["x"]}


class _Numbers:
    """The numbers 0, 1, 2, ... as feature and label, in batches of 3."""

    def __init__(self, count: int) -> None:
        self.count = count

    def dataset(self) -> tf.data.Dataset:
        numbers = tf.data.Dataset.range(self.count).map(lambda number: tf.cast(number, tf.float32))
        return numbers.map(lambda number: ({"x": number}, number)).batch(3)

    def errors_of_reading(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


@pytest.mark.parametrize("count", [1, 3, 7, 3 * _BATCHES_A_CALL, 3 * _BATCHES_A_CALL + 1, 10 * _BATCHES_A_CALL])
def test_all_rows_in_order(count: int) -> None:
    scores = Scorer(_TwoParts()).score(_Numbers(count))
    np.testing.assert_array_equal(scores.labels, np.arange(count))
    np.testing.assert_array_equal(scores.logits, -np.arange(count))
    assert scores.part_shares == pytest.approx({"once": 1 / 3, "twice": 2 / 3} if count > 1 else {"once": 0, "twice": 0})


def test_the_first_batches_alone() -> None:
    assert len(Scorer(_TwoParts()).score(_Numbers(100), max_batches=2).logits) == 6


def test_logits_come_batch_by_batch() -> None:
    batches = list(Scorer(_TwoParts()).logits(_Numbers(7)))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(batches), -np.arange(7))


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(ColonnadeError, match="has no batch"):
        Scorer(_TwoParts()).score(_Numbers(0))
    assert list(Scorer(_TwoParts()).logits(_Numbers(0))) == []


def test_a_run_traces_each_step_function_once(tiny_spec: FeatureSpec, tiny_data_dir: Path, tmp_path: Path) -> None:
    """Two epochs whose last batch is smaller, in calls of unequal length, with evaluations; resumed, scored on every split."""
    config = RunConfig(
        model="nfm",
        dataset=tiny_spec.name,
        fingerprint=tiny_spec.fingerprint,
        data_dir=str(tiny_data_dir),
        hyper_parameters=resolve_hyper_parameters(get_model("nfm"), {"embedding_dim": 6, "hidden_units": "4"}),
        training=TrainingConfig(epochs=4, batch_size=15, steps_per_call=5, checkpoint_steps=7, patience=9),
    )
    for epochs in (2, 3):
        estimator = Estimator(config, tmp_path / "run")
        train_and_evaluate(estimator, TrainSpec(epochs=epochs), EvalSpec())
        estimator.evaluate("test")
        list(estimator.predict("valid"))
        train_and_evaluate(estimator, TrainSpec(epochs=epochs + 1), EvalSpec())
        assert estimator.data.num_rows("train") % 15
        assert estimator.loop._train.experimental_get_tracing_count() == 1
        assert estimator.loop.scorer._score_some.experimental_get_tracing_count() == 1


def test_a_run_over_columns_traces_each_step_function_once(tmp_path: Path) -> None:
    column = tf.feature_column.numeric_column("x")
    estimator = Estimator(
        RunConfig(training=TrainingConfig(steps_per_call=2)), tmp_path / "run", model="lr", columns=[column], hyper_parameters={}
    )

    def rows(count: int) -> tf.data.Dataset:
        x = tf.linspace(-1.0, 1.0, count)
        return tf.data.Dataset.from_tensor_slices(({"x": x}, tf.cast(x > 0, tf.float32))).batch(4)

    for epochs in (2, 4):
        train_and_evaluate(estimator, TrainSpec(lambda: rows(18), epochs=epochs), EvalSpec(lambda: rows(7)))
    assert estimator.loop._train_some.experimental_get_tracing_count() == 1
    assert estimator.loop.scorer._score_some.experimental_get_tracing_count() == 1
