"""How a data directory comes into being: locked, in a hidden folder inside, made visible at the end, `_SUCCESS` last."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from feature_specs import ColonnadeError, FeatureSpec
from feature_specs.locking import locked
from preprocessing.artifacts import SUCCESS, DataDirectory

STAGING = ".building"
_OURS = (
    STAGING,
    "spec.json",
    "transform_fn",
    "statistics.json",
    "statistics.txt",
    "sketches-*.arrow",
    "pretrained-*.npy",
    "sample.parquet",
    "items.parquet",
    "train-*.parquet",
    "valid-*.parquet",
    "test-*.parquet",
    "rejected-*.jsonl",
)


@contextmanager
def claimed(output: Path, spec: FeatureSpec) -> Iterator[Path | None]:
    """Locks `output` for one build and yields an empty staging folder inside, or None where the build is already finished.

    What an interrupted build left behind is removed first, the staging folder afterwards. The lock ends with the process, however that
    ends.

    Raises:
        ColonnadeError: Another process builds there, it is finished for another spec, or it holds files that no build of ours made.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ColonnadeError(f"Cannot write the data directory {str(output)!r}: {error.strerror}. Choose another --output.") from error
    with locked(output, f"Another process is building {str(output)!r}. Wait for it, or choose another --output."):
        try:
            if (output / SUCCESS).exists():
                DataDirectory.open(output, spec)
                yield None
            else:
                yield _clean_staging(output)
        finally:
            shutil.rmtree(output / STAGING, ignore_errors=True)
            if output.is_dir() and not any(output.iterdir()):
                output.rmdir()


def _clean_staging(output: Path) -> Path:
    foreign = [name for name in sorted(os.listdir(output)) if not any(fnmatchcase(name, ours) for ours in _OURS)]
    if foreign:
        more = " and more" if len(foreign) > 1 else ""
        raise ColonnadeError(f"{str(output)!r} is no data directory: it holds {foreign[0]!r}{more}. Choose another --output.")
    staging = output / STAGING
    try:
        for entry in output.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        staging.mkdir()
    except OSError as error:
        raise ColonnadeError(f"Cannot write the data directory {str(output)!r}: {error.strerror}. Choose another --output.") from error
    return staging


def publish(finished: Path, output: Path, success: Mapping[str, Any]) -> None:
    """Moves the files of `finished` into `output` and then writes `_SUCCESS`."""
    for entry in sorted(finished.iterdir()):
        # Within one file system, so each file appears whole.
        os.replace(entry, output / entry.name)
    written = finished / SUCCESS
    written.write_text(json.dumps(success, indent=2) + "\n", encoding="utf-8")
    os.replace(written, output / SUCCESS)
