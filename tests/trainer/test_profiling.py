"""Where the time goes: what an epoch's line says, and the profile of some steps."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from feature_specs import ColonnadeError, FeatureSpec
from trainer import loop as loop_module
from trainer.config import RunConfig, TrainingConfig, read_profile_steps
from trainer.estimator import Estimator, EvalSpec, TrainSpec, train_and_evaluate
from trainer.models.registry import get_model, resolve_hyper_parameters
from trainer.profiling import StepProfile
from trainer.progress import waiting
from trainer.task import main

_SLOW = 0.2  # seconds


@pytest.fixture
def estimator(tiny_spec: FeatureSpec, tiny_data_dir: Path, tmp_path: Path) -> Estimator:
    """Of a run whose epochs have 17 steps."""
    training = TrainingConfig(epochs=1, batch_size=16, steps_per_call=5)
    names = {"model": "lr", "dataset": tiny_spec.name, "fingerprint": tiny_spec.fingerprint, "data_dir": str(tiny_data_dir)}
    settings = resolve_hyper_parameters(get_model("lr"), {})
    return Estimator(RunConfig(**names, hyper_parameters=settings, training=training), tmp_path / "run")


def test_an_epoch_s_line_splits_its_time_and_a_profile_is_written(estimator: Estimator, capsys: pytest.CaptureFixture) -> None:
    train_and_evaluate(estimator, TrainSpec(profile_steps=(7, 8)), EvalSpec())
    (line,) = estimator.run.epochs()
    seconds = line["seconds"]
    assert set(seconds) == {"train", "input", "step", "evaluate", "save"}
    assert all(value > 0 for name, value in seconds.items() if name != "save")
    assert seconds["save"] == 0  # the epoch's only checkpoint follows its line
    assert seconds["input"] + seconds["step"] == pytest.approx(seconds["train"])
    events = estimator.run.path / "events"
    (profile,) = events.glob("plugins/profile/*/*.xplane.pb")
    assert profile.stat().st_size > 0
    assert f"profiled steps 7 to 8: tensorboard --logdir {events}" in capsys.readouterr().out


def test_a_profile_that_no_step_belongs_to(estimator: Estimator) -> None:
    with pytest.raises(ColonnadeError, match="begins at step 18, and the run has 17 steps"):
        estimator.train(TrainSpec(profile_steps=(18, 20)))


def test_a_profile_ends_with_training(estimator: Estimator, capsys: pytest.CaptureFixture) -> None:
    estimator.train(TrainSpec(profile_steps=(16, 30)))
    assert "profiled steps 16 to 17:" in capsys.readouterr().out
    estimator.train(TrainSpec(profile_steps=(1, 2), epochs=2))
    assert "No profile: steps 1 to 2 are none of those that were trained now." in capsys.readouterr().out


def test_checkpoints_are_no_part_of_training(estimator: Estimator, monkeypatch: pytest.MonkeyPatch) -> None:
    manager, clock, passed = loop_module._manager, time.perf_counter, [0.0]

    def slow(*arguments: object) -> object:
        passed[0] += 1000
        return manager(*arguments)

    estimator.loop.config = estimator.config.training.model_copy(update={"checkpoint_steps": 5})
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + passed[0])
    monkeypatch.setattr(loop_module, "_manager", slow)
    estimator.train(TrainSpec(epochs=2))
    first, second = (line["seconds"] for line in estimator.run.epochs())
    assert [first["save"] // 1000, second["save"] // 1000] == [3, 4]  # the second epoch's line has the end of the first
    assert max(first["train"], second["train"]) < 1000


def test_waiting_for_batches_is_counted(estimator: Estimator) -> None:
    def slow(label: np.ndarray) -> np.ndarray:
        time.sleep(_SLOW)
        return label

    def delayed(features: dict[str, tf.Tensor], label: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        return features, tf.ensure_shape(tf.numpy_function(slow, [label], tf.float32), [None])

    loop, batches = estimator.loop, estimator.batches("train", batch_size=16).dataset().take(2)
    loop.train(iter(batches.map(delayed)), 1)
    assert loop.take_seconds_waited() >= _SLOW
    assert loop.take_seconds_waited() == 0
    loop.train_some(iter(batches.map(delayed)), 9)
    assert loop.take_seconds_waited() >= _SLOW
    loop.waiting(lambda: time.sleep(_SLOW))
    assert loop.take_seconds_waited() >= _SLOW


def test_an_epoch_that_waits_says_so() -> None:
    assert waiting({"train": 10.0, "input": 2.0}) == ""
    assert waiting({"train": 10.0, "input": 2.5}) == "  25% of the time waiting for input"


def test_calls_end_where_a_profile_begins_and_its_steps_have_one_each(tmp_path: Path) -> None:
    profile = StepProfile((8, 9), tmp_path)
    assert [profile.allowed(done, 5) for done in (0, 4, 6, 7, 8, 9)] == [5, 3, 1, 1, 1, 5]
    assert StepProfile((1, 1), tmp_path).allowed(0, 5) == 1
    assert StepProfile(None, tmp_path).allowed(0, 5) == 5


def test_ranges_of_steps() -> None:
    assert read_profile_steps("100,120") == (100, 120)
    assert read_profile_steps("3") == (3, 3)
    for text in ("", "a", "1,2,3", "1.5", "-1,2"):
        with pytest.raises(ColonnadeError, match=re.escape(f"as in 100,120, or one step. Received: {text!r}")):
            read_profile_steps(text)
    for text, shown in (("0", "0,0"), ("5,4", "5,4")):
        with pytest.raises(ColonnadeError, match=f"Received: {shown}"):
            read_profile_steps(text)
    with pytest.raises(ColonnadeError, match="Received: 9,3"):
        TrainSpec(profile_steps=(9, 3))
    with pytest.raises(ColonnadeError, match="--profile_steps takes"):
        main(["--model", "lr", "--profile_steps", "soon"])
