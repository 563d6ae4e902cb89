"""A run directory is made anew only where nothing is lost, and what cannot be written is said before anything is preprocessed."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest

from feature_specs import ColonnadeError, FeatureSpec
from feature_specs.locking import locked
from preprocessing.artifacts import DataDirectory
from trainer import run as run_module
from trainer import task
from trainer.config import RunConfig
from trainer.run import RunDirectory, check_place

WRONG, MENDED = RunConfig(model="nfm", hyper_parameters={"embedding_dim": 1}), RunConfig(model="nfm", hyper_parameters={"embedding_dim": 6})


@pytest.fixture
def data(tiny_data_dir: Path) -> DataDirectory:
    return DataDirectory.open(tiny_data_dir)


def test_settings_are_mended_before_the_first_checkpoint(data: DataDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run"
    first = RunDirectory.create(path, WRONG, data)
    (path / "checkpoints" / "last").mkdir(parents=True)  # and nothing in it
    run = RunDirectory.create(path, MENDED, data)
    assert run.config.hyper_parameters == {"embedding_dim": 6}
    assert f"{path} is made anew" in capsys.readouterr().out
    assert [each.name for each in tmp_path.iterdir()] == ["run"]
    assert {each.name for each in path.iterdir()} == {"config.json", "spec.json", "versions.json", "transform_fn", "sample.parquet"}
    run.check_own()
    with pytest.raises(ColonnadeError, match="other settings .embedding_dim: 6 != 1"):
        first.check_own()
    before = (path / "config.json").stat().st_ino
    RunDirectory.create(path, MENDED, data)
    assert (path / "config.json").stat().st_ino == before, "with equal settings it stays"
    RunDirectory.create(path, MENDED.model_copy(update={"columns": {"column age": "numeric"}}), None)  # an estimator of columns
    assert not (path / "spec.json").exists()


@pytest.mark.parametrize("kept", ["checkpoints/last/checkpoint", "metrics.jsonl", "export/1/saved_model.pb", "notes.txt", "_SUCCESS"])
def test_what_was_trained_or_is_of_others_stays(kept: str, data: DataDirectory, tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "run", WRONG, data)
    (tmp_path / "run" / kept).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "run" / kept).write_text("mine")
    with pytest.raises(ColonnadeError, match="holds a run with other settings .embedding_dim: 1 != 6"):
        RunDirectory.create(tmp_path / "run", MENDED, data)
    assert (tmp_path / "run" / kept).read_text() == "mine"


def test_links_and_runs_that_another_process_trains_stay(data: DataDirectory, tmp_path: Path) -> None:
    path = tmp_path / "run"
    RunDirectory.create(path, WRONG, data)
    with locked(path, ""), pytest.raises(ColonnadeError, match="Another process is training in .*run', with other settings"):
        RunDirectory.create(path, MENDED, data)
    assert RunDirectory.open(path).config.hyper_parameters == {"embedding_dim": 1}
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(ColonnadeError, match="holds a run with other settings"):
        RunDirectory.create(tmp_path / "link", MENDED, data)
    (path / "best").symlink_to(tmp_path)
    with pytest.raises(ColonnadeError, match="holds a run with other settings"):
        RunDirectory.create(path, MENDED, data)


def test_killed_while_it_is_made_anew(data: DataDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RunDirectory.create(tmp_path / "run", WRONG, data)
    monkeypatch.setattr(shutil, "copytree", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        RunDirectory.create(tmp_path / "run", MENDED, data)
    assert not (tmp_path / "run").exists()
    monkeypatch.undo()
    assert RunDirectory.create(tmp_path / "run", MENDED, data).config.hyper_parameters == {"embedding_dim": 6}
    assert [each.name for each in tmp_path.iterdir()] == ["run"]


def _full(*_: Any, **__: Any) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_directory_that_cannot_be_written(data: DataDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_place(tmp_path / "new" / "run")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    for path, reason in (("file/run", "Not a directory"), ("a" * 300, "File name too long")):
        message = rf"Cannot write the run directory '.*{path}': {reason}\. Choose another --run_dir\."
        with pytest.raises(ColonnadeError, match=message):
            RunDirectory.create(tmp_path / path, MENDED, data)
        with pytest.raises(ColonnadeError, match=message):
            check_place(tmp_path / path)
    with pytest.raises(ColonnadeError, match="is a file. Choose another"):
        check_place(tmp_path / "file")
    with pytest.raises(ColonnadeError, match="is not empty and holds no run"):
        check_place(tmp_path)
    RunDirectory.create(tmp_path / "run", MENDED, data)
    check_place(tmp_path / "run")
    monkeypatch.setattr(run_module.tempfile, "TemporaryFile", _full)
    monkeypatch.setattr(run_module.shutil, "copytree", _full)
    with pytest.raises(ColonnadeError, match="Cannot write the run directory '.*run': No space left on device"):
        check_place(tmp_path / "run")
    with pytest.raises(ColonnadeError, match="Cannot write the run directory '.*other': No space left on device"):
        RunDirectory.create(tmp_path / "other", MENDED, data)


def test_it_is_found_before_anything_is_preprocessed(tiny_spec: FeatureSpec, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(tiny_spec.to_yaml(), encoding="utf-8")
    (tmp_path / "file").touch()
    flags = ["--model", "lr", "--spec", str(tmp_path / "tiny.yaml"), "--data_dir", str(tmp_path / "data")]
    with pytest.raises(ColonnadeError, match="Cannot write the run directory"):
        task.main([*flags, "--run_dir", str(tmp_path / "file" / "run")])
    assert not (tmp_path / "data").exists()
