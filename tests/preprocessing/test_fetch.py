"""Fetching with a stand-in for pip: checksum, cache, and what to do when it fails."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from feature_specs import ColonnadeError, PypiWheel
from preprocessing.sources import fetch as module
from preprocessing.sources.fetch import fetch


def _archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("data/a.csv"), "x\n1\n")
        archive.writestr(zipfile.ZipInfo("code.py"), "import this")
    return buffer.getvalue()


WHEEL = PypiWheel(package="pkg", version="1.0", sha256=hashlib.sha256(_archive()).hexdigest(), members=("data/a.csv",))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """The commands that were run; pip succeeds."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        (Path(command[command.index("--dest") + 1]) / "pkg-1.0-py3-none-any.whl").write_bytes(_archive())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_only_named_members_are_unpacked_and_fetched_once(calls: list[list[str]], tmp_path: Path) -> None:
    (path,) = fetch(WHEEL)
    assert path.read_text() == "x\n1\n"
    assert (tmp_path / "cache" / "colonnade") in path.parents
    assert [file.name for file in (tmp_path / "cache").rglob("*") if file.is_file()] == ["a.csv"]
    assert fetch(WHEEL) == [path]
    (command,) = calls
    assert command[:6] == [sys.executable, "-m", "pip", "download", "--no-deps", "pkg==1.0"]


@pytest.mark.usefixtures("calls")
def test_another_checksum_is_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    with pytest.raises(
        ColonnadeError, match=r"has sha256 [0-9a-f]{64}, expected 0000.*To supply the files by hand, get a\.csv from pkg==1\.0"
    ):
        fetch(WHEEL.model_copy(update={"sha256": "0" * 64}))
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    with pytest.raises(ColonnadeError, match=r"lacks data/b\.csv"):
        fetch(WHEEL.model_copy(update={"members": ("data/b.csv",)}))


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        ("ERROR: No matching distribution found for pkg==1.0\n", "failed: No matching distribution found for pkg==1.0. To supply"),
        ("WARNING: Retrying (Retry(total=4)) ...\nERROR: No matching distribution found\n", "the package index cannot be reached"),
        ("", "failed: no output. To supply"),
    ],
)
@pytest.mark.usefixtures("calls")
def test_a_failed_download_says_what_was_tried_and_what_to_do(monkeypatch: pytest.MonkeyPatch, stderr: str, message: str) -> None:
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, "", stderr))
    with pytest.raises(ColonnadeError) as caught:
        fetch(WHEEL)
    assert str(caught.value).startswith("`pip download --no-deps pkg==1.0` failed: ")
    assert message in str(caught.value)
    assert "get a.csv from pkg==1.0 and give them, or their folder, with --input" in str(caught.value)


@pytest.mark.usefixtures("calls")
def test_a_python_without_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ColonnadeError, match=r"has no pip to fetch with\. Run `python -m ensurepip`"):
        fetch(WHEEL)


def test_a_cache_that_cannot_be_written(calls: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ColonnadeError, match="Cannot write to the cache folder"):
        fetch(WHEEL)
    assert calls == []
