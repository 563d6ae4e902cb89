"""The estimator's verbs, on the tiny data set: an epoch has 17 steps of 16 rows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from sklearn.metrics import log_loss, roc_auc_score

from feature_specs import ColonnadeError, FeatureSpec
from serving.skew import compare_sample
from trainer import fitting
from trainer.config import RunConfig, TrainingConfig
from trainer.estimator import BestExporter, Estimator, EvalSpec, FinalExporter, TrainSpec, train_and_evaluate
from trainer.finish import finish_run, print_result
from trainer.models.registry import get_model, resolve_hyper_parameters
from trainer.run import RunDirectory


@pytest.fixture
def config(tiny_spec: FeatureSpec, tiny_data_dir: Path) -> RunConfig:
    return _config(tiny_spec, tiny_data_dir)


def _config(spec: FeatureSpec, data_dir: Path, **training: Any) -> RunConfig:
    training = {"epochs": 3, "batch_size": 16, "steps_per_call": 5, "checkpoint_steps": 7, "patience": 9, "learning_rate": 0.01, **training}
    settings = resolve_hyper_parameters(get_model("nfm"), {"embedding_dim": 6, "hidden_units": "8"})
    return RunConfig(
        model="nfm",
        dataset=spec.name,
        fingerprint=spec.fingerprint,
        data_dir=str(data_dir),
        hyper_parameters=settings,
        training=TrainingConfig(**training),
    )


@pytest.fixture(scope="module")
def whole(tiny_spec: FeatureSpec, tiny_data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Estimator, dict[str, float]]:
    """A run from start to end with an evaluation after each epoch, and what that returned. Treat it as read-only."""
    estimator = Estimator(_config(tiny_spec, tiny_data_dir), tmp_path_factory.mktemp("whole") / "run")
    return estimator, train_and_evaluate(estimator, TrainSpec(), EvalSpec())


def _assert_same_state(ours: Estimator, theirs: Estimator) -> None:
    for variable, expected in zip(ours.loop.state, theirs.loop.state, strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected.numpy(), err_msg=variable.name)


def _with_validation_auc(monkeypatch: pytest.MonkeyPatch, estimator: Estimator, values: list[float]) -> None:
    """Makes the validation AUC of the epochs what is given; that of the training rows stays as it is."""
    found, left = estimator.metrics, iter(values)
    monkeypatch.setattr(estimator, "metrics", lambda *args: {**found(*args), "auc": next(left)})


def _logits(estimator: Estimator, split: str = "test") -> np.ndarray:
    return np.concatenate([batch["logits"] for batch in estimator.predict(split)])


def _labels(data_dir: Path, split: str) -> np.ndarray:
    return np.concatenate([pq.read_table(path)["label"].to_numpy() for path in sorted(data_dir.glob(f"{split}-*.parquet"))])


def test_training_in_pieces_is_training_at_once(config: RunConfig, tmp_path: Path) -> None:
    """Stopped inside an epoch and between steps_per_call, scored in between, and opened again."""
    whole, pieces = Estimator(config, tmp_path / "whole"), Estimator(config, tmp_path / "pieces")
    assert whole.train(TrainSpec(max_steps=23)) == 23
    assert pieces.train(TrainSpec(max_steps=8)) == 8
    assert pieces.train(TrainSpec(max_steps=8)) == 8
    pieces.evaluate("valid")
    assert pieces.train(TrainSpec(max_steps=12)) == 12
    pieces = Estimator(config, tmp_path / "pieces")
    assert pieces.train(TrainSpec(max_steps=23)) == 23
    _assert_same_state(pieces, whole)
    lines = pieces.run.epochs()
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 17)]
    assert lines[0]["loss"] == whole.run.epochs()[0]["loss"]


def test_training_then_training_with_evaluation(config: RunConfig, tmp_path: Path) -> None:
    estimator = Estimator(config, tmp_path / "run")
    estimator.train(TrainSpec(epochs=1))
    metrics = train_and_evaluate(estimator, TrainSpec(epochs=2), EvalSpec())
    first, second = estimator.run.epochs()
    assert "valid" not in first
    assert {name: value for name, value in metrics.items() if not np.isnan(value)}.items() <= second["valid"].items()
    assert (tmp_path / "run" / "curves.png").is_file()
    finish_run(estimator, 0.0)
    assert estimator.run.is_finished


def test_a_look_at_the_best_weights_does_not_change_what_follows(
    config: RunConfig, whole: tuple[Estimator, dict[str, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that stopped between two epochs is loaded, scored and gone on with."""
    stopped = Estimator(config, tmp_path / "stopped")
    train_epoch = fitting.train_epoch

    def stop_in_epoch_2(*args: Any) -> None:
        if stopped.loop.position.epoch == 1:
            raise KeyboardInterrupt
        train_epoch(*args)

    monkeypatch.setattr(fitting, "train_epoch", stop_in_epoch_2)
    with pytest.raises(KeyboardInterrupt):
        train_and_evaluate(stopped, TrainSpec(), EvalSpec())
    monkeypatch.undo()
    assert stopped.run.best.is_dir()
    loaded = Estimator.load(tmp_path / "stopped")
    loaded.evaluate("test")
    unbroken, expected = whole
    np.testing.assert_equal(train_and_evaluate(loaded, TrainSpec(), EvalSpec()), expected)
    _assert_same_state(loaded, unbroken)


def test_patience_stops_and_the_best_epoch_s_weights_stay(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    estimator = Estimator(config, tmp_path / "run")
    _with_validation_auc(monkeypatch, estimator, [0.6, 0.7, 0.65, 0.7, 0.9, 0.9])  # equal is not better
    train_and_evaluate(estimator, TrainSpec(epochs=9), EvalSpec(patience=2))
    position = estimator.loop.position
    assert [line["epoch"] for line in estimator.run.epochs()] == [1, 2, 3, 4]
    assert (position.best_epoch, position.best, position.waited, position.out_of_patience) == (2, 0.7, 2, True)
    second_epoch = Estimator(config, tmp_path / "second")
    second_epoch.train(TrainSpec(epochs=2))
    np.testing.assert_array_equal(_logits(estimator), _logits(second_epoch))
    second_epoch.train(TrainSpec(epochs=3))
    assert np.abs(_logits(estimator) - _logits(second_epoch)).max() > 1e-3


def test_exporters_leave_training_as_it_is(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, exporting = Estimator(config, tmp_path / "plain"), Estimator(config, tmp_path / "exporting")
    for estimator, exporters in ((plain, ()), (exporting, (BestExporter(exports_to_keep=1), FinalExporter()))):
        _with_validation_auc(monkeypatch, estimator, [0.6, 0.5, 0.9])
        train_and_evaluate(estimator, TrainSpec(epochs=2), EvalSpec(exporters=exporters))
    _assert_same_state(exporting, plain)
    folder, sample = exporting.run.path / "export", exporting.run.path / "sample.parquet"
    assert sorted(str(path.parent.relative_to(folder)) for path in folder.glob("*/*/saved_model.pb")) == ["best/1", "final/1"]
    features, _ = next(iter(exporting.batches("test").dataset()))
    best = exporting.model(features, training=False).numpy()
    assert compare_sample(folder / "best" / "1", sample, exporting.model).score <= 1e-5
    exporting.loop.restore(exporting.run.last)
    exporting.loop.finish_rows()
    assert compare_sample(folder / "final" / "1", sample, exporting.loop.model).score <= 1e-5
    assert np.abs(best - exporting.loop.model(features, training=False)).max() > 1e-4


def test_a_run_of_a_spec_takes_no_input_fn(config: RunConfig, tmp_path: Path) -> None:
    estimator = Estimator(config, tmp_path / "run")
    for call in (
        lambda: estimator.train(lambda: None),
        lambda: train_and_evaluate(estimator, TrainSpec(), EvalSpec(lambda: None)),
        lambda: estimator.evaluate(lambda: None),
    ):
        with pytest.raises(ColonnadeError, match="Leave input_fn out|Name a split"):
            call()


def test_an_undefined_metric_is_null_and_patience_does_not_count_it(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    estimator = Estimator(config, tmp_path / "run")
    _with_validation_auc(monkeypatch, estimator, [0.6, float("nan"), 0.6])
    train_and_evaluate(estimator, TrainSpec(epochs=2), EvalSpec(patience=1))
    assert "Evaluation 2: auc is not defined" in capsys.readouterr().out
    assert (estimator.loop.position.waited, estimator.loop.position.out_of_patience) == (0, False)

    resumed = Estimator(config, tmp_path / "run")
    _with_validation_auc(monkeypatch, resumed, [float("nan"), 0.5, 0.6])
    train_and_evaluate(resumed, TrainSpec(epochs=9), EvalSpec(patience=1))
    again = Estimator(config, tmp_path / "run")
    assert [line["valid"]["auc"] for line in again.run.epochs()] == [0.6, None, None, 0.5]
    assert (again.loop.position.best_epoch, again.loop.position.out_of_patience) == (1, True)
    fitting.plot_curves(tmp_path / "curves.png", again.run.epochs(), "auc")


def test_a_metric_that_is_undefined_from_the_start_ends_the_run(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    estimator = Estimator(config, tmp_path / "run")
    _with_validation_auc(monkeypatch, estimator, [float("nan")])
    with pytest.raises(ColonnadeError, match="Evaluation 1: auc is not defined, as the rows have labels of one class alone. .* more rows"):
        train_and_evaluate(estimator, TrainSpec(epochs=2), EvalSpec())
    assert not estimator.run.best.exists()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_loss_that_is_not_finite_is_one_clear_error(tiny_spec: FeatureSpec, tiny_data_dir: Path, tmp_path: Path, optimizer: str) -> None:
    config = _config(tiny_spec, tiny_data_dir, learning_rate=1e30, optimizer=optimizer, clip_norm=0)
    for _ in range(2):
        estimator = Estimator(config, tmp_path / "run")
        with pytest.raises(ColonnadeError, match=r"the loss is not finite .* before step \d+. Lower --learning_rate"):
            train_and_evaluate(estimator, TrainSpec(), EvalSpec())
    assert not estimator.run.best.exists()
    assert all(np.isfinite(v.numpy()).all() for v in Estimator.load(tmp_path / "run").loop.weights)


def test_evaluate_is_the_metrics_of_predict(whole: tuple[Estimator, dict[str, float]], tiny_data_dir: Path) -> None:
    estimator, _ = whole
    for split in ("valid", "test"):
        batches = list(estimator.predict(split))
        logits, probabilities = (np.concatenate([batch[name] for batch in batches]) for name in ("logits", "probabilities"))
        labels, metrics = _labels(tiny_data_dir, split), estimator.evaluate(split)
        assert len(logits) == len(labels)
        np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-logits.astype(np.float64))), rtol=1e-6)
        assert metrics["auc"] == pytest.approx(roc_auc_score(labels, logits))
        assert metrics["log_loss"] == pytest.approx(log_loss(labels, probabilities), rel=1e-5)
        assert metrics["accuracy"] == pytest.approx(np.mean((probabilities >= 0.5) == labels))
    assert estimator.evaluate("test") != estimator.evaluate("valid")


def test_parts_are_shares_of_the_logit(whole: tuple[Estimator, dict[str, float]]) -> None:
    estimator, _ = whole
    _, shares = estimator.evaluate_parts("test")
    features, _ = next(iter(estimator.batches("test").dataset()))
    parts = {name: np.abs(part.numpy()).mean() for name, part in estimator.model.scored_parts(features).items()}
    assert shares == pytest.approx({name: value / sum(parts.values()) for name, value in parts.items()}, rel=1e-4)


@pytest.mark.parametrize("evaluated", [True, False])
def test_a_loaded_run_scores_the_same_without_its_data(config: RunConfig, tiny_data_dir: Path, tmp_path: Path, evaluated: bool) -> None:
    shutil.copytree(tiny_data_dir, tmp_path / "data")
    estimator = Estimator(config.model_copy(update={"data_dir": str(tmp_path / "data")}), tmp_path / "run")
    if evaluated:
        train_and_evaluate(estimator, TrainSpec(epochs=2), EvalSpec())
    else:
        estimator.train(TrainSpec(max_steps=9))
    expected = _logits(estimator)
    features, _ = next(iter(estimator.batches("test").dataset()))
    shutil.rmtree(tmp_path / "data")
    loaded = Estimator.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.model(features, training=False), expected)
    with pytest.raises(ColonnadeError, match="Data directory .* does not exist"):
        loaded.evaluate("test")
    if evaluated:
        version = loaded.export_saved_model(tmp_path / "elsewhere")
        assert version == tmp_path / "elsewhere" / "1"
        assert "predict" in tf.saved_model.load(str(version)).signatures


def test_a_config_for_another_spec_is_refused(config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ColonnadeError, match="was built for spec .{12}, the run is for abc"):
        Estimator(config.model_copy(update={"fingerprint": "abc"}), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_run_directory_is_whole_or_not_there(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while it is made, and made again over what was left."""
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        Estimator(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    monkeypatch.undo()
    (tmp_path / ".run.partial" / "left").mkdir()
    Estimator(config, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert not (tmp_path / "run" / "left").exists()
    made = RunDirectory.open(tmp_path / "run").config
    assert made.differences(config.model_copy(update={"data_digest": made.data_digest})) == []


@pytest.fixture(scope="module")
def rating_data(tiny_spec: FeatureSpec, tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FeatureSpec, Path]]:
    from preprocessing.pipeline import build

    tree = json.loads(tiny_spec.to_json())
    spec = FeatureSpec.model_validate({**tree, "name": "ratings", "label": {"column": "rating", "task": "regression"}})
    output = tmp_path_factory.mktemp("ratings") / "data"
    build(spec, output, [str(tiny_files)], show_progress=False)
    return spec, output


def test_regression_from_ratings_to_predictions(rating_data: tuple[FeatureSpec, Path], tmp_path: Path) -> None:
    spec, data_dir = rating_data
    estimator = Estimator(_config(spec, data_dir, learning_rate=0.05, patience=2, epochs=12), tmp_path / "run")
    best = train_and_evaluate(estimator, TrainSpec(), EvalSpec())
    lines = estimator.run.epochs()
    rmse = [line["valid"]["rmse"] for line in lines]
    assert best == lines[int(np.argmin(rmse))]["valid"]
    assert estimator.loop.position.best_epoch == 1 + int(np.argmin(rmse))
    labels = _labels(data_dir, "test")
    assert set(labels) == {1, 2, 3, 4, 5}
    predictions = np.concatenate([batch["predictions"] for batch in estimator.predict("test")])
    metrics = estimator.evaluate("test")
    assert metrics.keys() == {"rmse", "mae"}
    assert metrics["rmse"] == pytest.approx(np.sqrt(np.mean((predictions - labels) ** 2)))
    assert metrics["mae"] == pytest.approx(np.abs(predictions - labels).mean())
    assert min(rmse) < 0.8 * np.sqrt(np.mean(labels**2)), "it has learnt the level of the ratings"
    finish_run(estimator, 0.0)
    print_result(estimator.run)
    result = estimator.run.result()
    assert result["task"] == "regression"
    assert result["metrics"]["test"] == metrics
    exported = tf.saved_model.load(str(estimator.run.path / result["export"]))
    assert exported.signatures["predict"].structured_outputs.keys() == {"predictions"}
    assert (tmp_path / "run" / "curves.png").stat().st_size > 5000
