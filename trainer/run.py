"""The run directory: made once, enough to resume, evaluate, export and explain without any flag."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feature_specs.errors import ColonnadeError
from feature_specs.locking import locked
from feature_specs.spec import FeatureSpec
from preprocessing.artifacts import DataDirectory, pretrained_file
from trainer.config import RunConfig

# What a run has before its first checkpoint: all of it is made anew from the data and the flags.
_CREATED = ("transform_fn", "sample.parquet", "items.parquet", "spec.json", "versions.json", "config.json", "sample.tfrecord")
_PACKAGES = ("tensorflow", "tensorflow-transform", "apache-beam", "keras", "numpy", "pandas", "pyarrow")


@dataclass(frozen=True)
class RunDirectory:
    """One training run on disk.

    Attributes:
        path: The directory.
        config: What `config.json` holds.
        spec: What `spec.json` holds; a run over columns has none.
        table_rows: Rows of each embedding table, padding and OOV buckets included.
    """

    path: Path
    config: RunConfig
    spec: FeatureSpec | None
    table_rows: dict[str, int]

    @classmethod
    def create(cls, path: Path, config: RunConfig, data: DataDirectory | None) -> RunDirectory:
        """Returns the run at `path`: a new one, or the one that is there if it has the same configuration.

        One with another configuration that never came to a checkpoint is replaced: mostly the settings were wrong, and are now mended.

        Args:
            path: Of the run.
            config: Of the run.
            data: What it is trained on; a run over columns has no data directory.

        Raises:
            ColonnadeError: There is a run with another configuration or on other data, or something that is no run; or the directory cannot
                be written.
        """
        config = config.model_copy(update={"data_digest": data.digest}) if data else config
        with _writing(path):
            return cls._create(path, config, data)

    @classmethod
    def _create(cls, path: Path, config: RunConfig, data: DataDirectory | None) -> RunDirectory:
        _check_kind(path)
        if (path / "config.json").is_file():
            run = cls.open(path)
            if not (run.config.differences(config) and run._is_untouched):
                run.check_equal(config)
                return run
            print(f"{path} is made anew: the run in it had other settings and no checkpoint yet.")
        # Made beside its place and renamed, so that a run directory has all of its parts or does not exist.
        partial = path.with_name(f".{path.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        if (path / "config.json").is_file():
            # A process that trains in it holds the lock, long before its first checkpoint.
            with locked(path, f"Another process is training in {str(path)!r}, with other settings. Choose another --run_dir."):
                path.rename(partial)
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        if data:
            shutil.copytree(data.transform_fn, partial / "transform_fn")
            for name in ("sample.parquet", "items.parquet"):
                if (data.path / name).is_file():
                    shutil.copy(data.path / name, partial)
            for path_of_vectors in data.pretrained.values():
                shutil.copy(path_of_vectors, partial)
            (partial / "spec.json").write_text(data.spec.to_json(), encoding="utf-8")
        write_json(partial / "versions.json", _versions())
        write_json(partial / "config.json", {**config.model_dump(mode="json"), "table_rows": data.table_rows if data else {}})
        if path.exists():
            path.rmdir()
        partial.rename(path)
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """Returns the run at `path`.

        Raises:
            ColonnadeError: There is none.
        """
        path = Path(path)
        try:
            tree = json.loads((path / "config.json").read_text(encoding="utf-8"))
            table_rows = tree.pop("table_rows")
            config = RunConfig.model_validate(tree)
            spec = None if config.columns else FeatureSpec.load(path / "spec.json")
            return cls(path, config, spec, table_rows)
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise ColonnadeError(
                f"{str(path)!r} is no run directory, or a damaged one ({reason}). Choose another --run_dir, or delete it and train again."
            ) from error

    @property
    def _is_untouched(self) -> bool:
        """Whether nothing is in it but what it was made with: no checkpoint, metric, event or export, and nothing of anybody else."""
        vectors = {path.name for path in self.pretrained.values()}
        files = (path.relative_to(self.path).parts[0] for path in self.path.rglob("*") if path.is_symlink() or not path.is_dir())
        return not self.path.is_symlink() and all(name in _CREATED or name in vectors for name in files)

    def check_own(self) -> None:
        """Raises a ColonnadeError where another process has made the directory anew, with other settings, since it was opened."""
        type(self).open(self.path).check_equal(self.config)

    def check_equal(self, config: RunConfig) -> None:
        """Raises a ColonnadeError naming the settings in which `config` differs from the run's."""
        differences = self.config.differences(config)
        if differences:
            again = f" Or add an export to it: Estimator.load({str(self.path)!r}).export_saved_model(dtype={config.export_dtype!r})."
            raise ColonnadeError(
                f"{str(self.path)!r} holds a run with other settings ({'; '.join(differences)}). Use the same flags to resume it, "
                f"choose another --run_dir, or delete it.{again if self.config.export_dtype != config.export_dtype else ''}"
            )

    @property
    def task(self) -> str:
        """What the model is trained for."""
        return self.spec.label.task if self.spec else str(self.config.task)

    @property
    def pretrained(self) -> dict[str, Path]:
        """The vectors that tables began with, by table."""
        files = {table: self.path / pretrained_file(table) for table in (self.spec.tables if self.spec else ())}
        return {table: file for table, file in files.items() if file.is_file()}

    @property
    def last(self) -> Path:
        """Folder of the checkpoints that training resumes from."""
        return self.path / "checkpoints" / "last"

    @property
    def best(self) -> Path:
        """Folder of the weights with the best validation metric."""
        return self.path / "checkpoints" / "best"

    @property
    def refitted(self) -> Path:
        """Folder of the weights that were trained anew with the validation split, where that was asked for."""
        return self.path / "checkpoints" / "refitted"

    @property
    def is_finished(self) -> bool:
        """Whether training, evaluation and export have all ended well."""
        return (self.path / "_SUCCESS").is_file()

    def result(self) -> dict[str, Any]:
        """Returns what `result.json` holds."""
        try:
            return json.loads((self.path / "result.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ColonnadeError(f"{str(self.path / 'result.json')!r} is damaged ({error}). Delete the run and train again.") from error

    def epochs(self) -> list[dict[str, Any]]:
        """Returns the lines of `metrics.jsonl`, one an epoch."""
        path = self.path / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []

    def write_epochs(self, epochs: list[dict[str, Any]]) -> None:
        """Replaces `metrics.jsonl`, in one step: a killed run leaves the old or the new one."""
        _replace(self.path / "metrics.jsonl", "".join(_to_json(epoch) + "\n" for epoch in epochs))

    def finish(self, result: dict[str, Any]) -> None:
        """Writes `result.json`, then `_SUCCESS`."""
        write_json(self.path / "result.json", result)
        _replace(self.path / "_SUCCESS", self.config.fingerprint + "\n")


def check_place(path: Path) -> None:
    """Raises a ColonnadeError where a run could not be written at `path`, found out by writing into the nearest folder that is there."""
    with _writing(path):
        _check_kind(path)
        there = next(place for place in (path, *path.absolute().parents) if place.exists())
        tempfile.TemporaryFile(dir=there).close()


def _check_kind(path: Path) -> None:
    """Raises a ColonnadeError where something is at `path` that is no run."""
    if path.exists() and not path.is_dir():
        raise ColonnadeError(f"{str(path)!r} is a file. Choose another --run_dir.")
    if path.is_dir() and not (path / "config.json").is_file() and any(path.iterdir()):
        raise ColonnadeError(f"{str(path)!r} is not empty and holds no run. Choose another --run_dir.")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Inside, what the system refuses is a clear error."""
    try:
        yield
    except OSError as error:
        raise ColonnadeError(
            f"Cannot write the run directory {str(path)!r}: {error.strerror or error}. Choose another --run_dir."
        ) from error


def write_json(path: Path, tree: object) -> None:
    """Writes `tree` to `path` in one step."""
    _replace(path, _to_json(tree, indent=2) + "\n")


def _to_json(tree: object, indent: int | None = None) -> str:
    """JSON has no NaN: a metric that is not defined is null."""
    return json.dumps(_without_nan(tree), indent=indent, allow_nan=False)


def _without_nan(tree: object) -> object:
    if isinstance(tree, dict):
        return {name: _without_nan(value) for name, value in tree.items()}
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in _PACKAGES}}
