"""Weights that a matching run begins with, and those that it is refitted from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from feature_specs import ColonnadeError
from preprocessing.artifacts import DataDirectory
from tests.serving.tiny_matching import INTEGERS, build
from trainer.config import RunConfig, TrainingConfig
from trainer.estimator import Estimator, EvalSpec, TrainSpec, train_and_evaluate
from trainer.matching.refit import refit


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataDirectory:
    return build(INTEGERS, tmp_path_factory.mktemp("starts") / "integers")


def _config(data: DataDirectory, *starts: Path, **training: Any) -> RunConfig:
    return RunConfig(
        model="bpr",
        dataset="integers",
        fingerprint=data.spec.fingerprint,
        data_dir=str(data.path),
        hyper_parameters={"embedding_dim": 4},
        warm_start=tuple(map(str, starts)),
        training=TrainingConfig(epochs=2, batch_size=16, **training),
    )


def _values(estimator: Estimator) -> list[NDArray]:
    return [variable.numpy() for variable in estimator.loop.model.trainable_variables]


def _equal(ours: list[NDArray], theirs: list[NDArray]) -> bool:
    return all(np.allclose(a, b, rtol=0, atol=1e-7) for a, b in zip(ours, theirs, strict=True))


def test_a_start_that_picks_the_epoch_has_not_seen_the_validation_items(data: DataDirectory, tmp_path: Path) -> None:
    first = Estimator(_config(data, learning_rate=0.05, refit=True), tmp_path / "first")
    train_and_evaluate(first, TrainSpec(), EvalSpec())
    with pytest.raises(
        ColonnadeError, match=r"--warm_start '.*first' has refit, as this run has, and is not refitted yet. Let its command"
    ):
        Estimator(_config(data, first.run.path, refit=True), tmp_path / "second")
    assert not (tmp_path / "second").exists()
    best = _values(first)
    assert _equal(_values(Estimator(_config(data, first.run.path), tmp_path / "plain_before")), best)

    refit(first)
    assert first.loop.restore_weights(first.run.refitted)
    refitted = _values(first)
    assert not _equal(best, refitted)
    assert _equal(_values(Estimator(_config(data, first.run.path), tmp_path / "plain_after")), best)
    # So small a rate changes nothing: what it ends with is what it began with.
    second = Estimator(_config(data, first.run.path, learning_rate=1e-12, refit=True), tmp_path / "second")
    assert _equal(_values(second), best)
    train_and_evaluate(second, TrainSpec(), EvalSpec())
    assert _equal(_values(second), best)
    refit(second)
    assert second.loop.restore_weights(second.run.refitted)
    assert _equal(_values(second), refitted)


def test_a_start_of_other_data_is_refused(data: DataDirectory, tmp_path: Path) -> None:
    first = Estimator(_config(data), tmp_path / "first")
    shutil.copytree(data.path, tmp_path / "data")
    success = json.loads((tmp_path / "data" / "_SUCCESS").read_text())
    (tmp_path / "data" / "_SUCCESS").write_text(json.dumps({**success, "digest": "0" * 64}))
    with pytest.raises(ColonnadeError, match=r"--warm_start '.*first' was trained on other data .*: its ids mean other things"):
        Estimator(_config(DataDirectory.open(tmp_path / "data"), first.run.path), tmp_path / "second")
    assert not (tmp_path / "second").exists()
