"""A run and its data belong together: other data of the same spec is refused, damaged data is one clear error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from feature_specs import ColonnadeError, FeatureSpec
from preprocessing.artifacts import DataDirectory, content_digest
from trainer.compare import main as compare
from trainer.config import RunConfig, TrainingConfig
from trainer.estimator import Estimator, EvalSpec, TrainSpec, train_and_evaluate
from trainer.models.registry import get_model, resolve_hyper_parameters
from trainer.run import RunDirectory


@pytest.fixture
def data_dir(tiny_data_dir: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_data_dir, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def config(tiny_spec: FeatureSpec, data_dir: Path) -> RunConfig:
    return RunConfig(
        model="nfm",
        dataset=tiny_spec.name,
        fingerprint=tiny_spec.fingerprint,
        data_dir=str(data_dir),
        hyper_parameters=resolve_hyper_parameters(get_model("nfm"), {"embedding_dim": 6}),
        training=TrainingConfig(batch_size=64, epochs=1),
    )


def _rebuilt_from_other_files(data_dir: Path) -> None:
    """Changes one vocabulary and what `_SUCCESS` says of the content, as a rebuild would."""
    vocabulary = next((data_dir / "transform_fn" / "assets").glob("*user"))
    vocabulary.write_bytes(b"\n".join(reversed(vocabulary.read_bytes().splitlines())) + b"\n")
    success = json.loads((data_dir / "_SUCCESS").read_text())
    success["digest"] = content_digest(data_dir, success["shards"])
    (data_dir / "_SUCCESS").write_text(json.dumps(success))


def test_the_digest_is_of_the_content(data_dir: Path, tiny_data_dir: Path) -> None:
    assert DataDirectory.open(data_dir).digest == DataDirectory.open(tiny_data_dir).digest
    _rebuilt_from_other_files(data_dir)
    assert DataDirectory.open(data_dir).digest != DataDirectory.open(tiny_data_dir).digest


def test_a_run_goes_on_with_its_own_data_alone(config: RunConfig, data_dir: Path, tmp_path: Path) -> None:
    Estimator(config, tmp_path / "run").train(TrainSpec(max_steps=2))
    Estimator(config, tmp_path / "run")
    _rebuilt_from_other_files(data_dir)
    with pytest.raises(ColonnadeError, match="holds a run with other settings .data: .* != .*choose another --run_dir"):
        Estimator(config, tmp_path / "run")
    with pytest.raises(ColonnadeError, match="holds other data .* than the run was trained on"):
        Estimator.load(tmp_path / "run").evaluate("valid")


def test_a_shard_that_breaks_is_named(config: RunConfig, data_dir: Path, tmp_path: Path) -> None:
    estimator = Estimator(config, tmp_path / "run")
    batches = estimator.batches("valid")
    shard = data_dir / "valid-00000-of-00001.parquet"
    content = bytearray(shard.read_bytes())
    content[8:-2000] = bytes(len(content) - 2008)  # the footer stays
    shard.write_bytes(bytes(content))
    with pytest.raises(ColonnadeError, match=r"valid-00000-of-00001.parquet' cannot be read: .* Preprocess again\."):
        estimator.loop.score(batches)


def test_more_epochs_go_on_where_fewer_ended(config: RunConfig, tmp_path: Path) -> None:
    whole, pieces = Estimator(config, tmp_path / "whole"), Estimator(config, tmp_path / "pieces")
    expected = train_and_evaluate(whole, TrainSpec(epochs=3), EvalSpec(patience=9))
    train_and_evaluate(pieces, TrainSpec(epochs=1), EvalSpec(patience=9))
    assert train_and_evaluate(pieces, TrainSpec(epochs=3), EvalSpec(patience=9)) == expected
    assert [line["valid"] for line in pieces.run.epochs()] == [line["valid"] for line in whole.run.epochs()]
    assert train_and_evaluate(pieces, TrainSpec(epochs=0), EvalSpec()) == expected


def test_damaged_runs_are_one_clear_error(config: RunConfig, tmp_path: Path) -> None:
    run = Estimator(config, tmp_path / "run").run
    Estimator.load(run.path).train(TrainSpec(max_steps=2))
    newest = max(run.last.glob("*.data-*"))
    newest.write_bytes(newest.read_bytes()[:50])
    with pytest.raises(ColonnadeError, match="Checkpoint .* does not fit this model"):
        Estimator(config, run.path)
    (run.path / "result.json").write_text("{")
    with pytest.raises(ColonnadeError, match="result.json' is damaged"):
        run.result()
    (run.path / "config.json").write_text("{")
    with pytest.raises(ColonnadeError, match="no run directory, or a damaged one"):
        RunDirectory.open(run.path)
    (tmp_path / "file").touch()
    with pytest.raises(ColonnadeError, match="is a file. Choose another --run_dir"):
        Estimator(config, tmp_path / "file")


def test_unknown_and_empty_splits(config: RunConfig, tmp_path: Path) -> None:
    estimator = Estimator(config, tmp_path / "run")
    with pytest.raises(ColonnadeError, match="Unknown split 'tset'. One of: train, valid, test"):
        estimator.evaluate("tset")  # type: ignore[arg-type]


def test_a_picture_that_cannot_be_drawn(config: RunConfig, tmp_path: Path) -> None:
    estimator = Estimator(config, tmp_path / "run")
    train_and_evaluate(estimator, TrainSpec(epochs=1), EvalSpec())
    with pytest.raises(ColonnadeError, match="Cannot draw .*picture.foo"):
        compare([str(estimator.run.path), "--output", str(tmp_path / "picture.foo")])
    with pytest.raises(ColonnadeError, match="Cannot draw"):
        compare([str(estimator.run.path), "--output", str(tmp_path / "nowhere" / "picture.png")])
