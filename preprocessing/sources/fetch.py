"""Fetches the files of a built-in data set, once, into the user's cache folder."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from feature_specs import ColonnadeError, PypiWheel

_TIMEOUT_SECONDS = 600


def cache_folder() -> Path:
    """Returns the folder that holds downloads: XDG_CACHE_HOME/colonnade, or ~/.cache/colonnade."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "colonnade"


def fetch(wheel: PypiWheel) -> list[Path]:
    """Returns the unpacked members of `wheel`, downloading it where the cache does not hold them.

    Raises:
        ColonnadeError: pip is missing, the download failed, or its checksum is another; the message says how to go on by hand.
    """
    folder = cache_folder() / f"{wheel.package}-{wheel.version}-{wheel.sha256[:12]}"
    members = [folder / member for member in wheel.members]
    if not all(member.is_file() for member in members):
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as temporary:
                unpacked = _unpack(_download(wheel, Path(temporary)), wheel, Path(temporary) / "unpacked")
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(unpacked, folder)
        except OSError as error:
            # Another process may have put the same files there in the meantime.
            if not all(member.is_file() for member in members):
                raise ColonnadeError(f"Cannot write to the cache folder {str(folder.parent)!r}: {error}. {_by_hand(wheel)}") from error
    return members


def _download(wheel: PypiWheel, folder: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise ColonnadeError(f"This Python ({sys.executable}) has no pip to fetch with. Run `python -m ensurepip`. {_by_hand(wheel)}")
    tried = ["pip", "download", "--no-deps", f"{wheel.package}=={wheel.version}"]
    quiet = ["--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check", "--quiet", "--no-input", "--dest", str(folder)]
    try:
        done = subprocess.run([sys.executable, "-m", *tried, *quiet], capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ColonnadeError(f"`{' '.join(tried)}` did not end within {_TIMEOUT_SECONDS} s. {_by_hand(wheel)}") from error
    found = sorted(folder.glob("*.whl"))
    if done.returncode or not found:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        because = next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1] if lines else "no output")
        if any("Retrying" in line for line in lines):
            because = f"the package index cannot be reached ({because.removeprefix('ERROR: ')})"
        raise ColonnadeError(f"`{' '.join(tried)}` failed: {because.removeprefix('ERROR: ').rstrip('.')}. {_by_hand(wheel)}")
    return found[0]


def _unpack(path: Path, wheel: PypiWheel, folder: Path) -> Path:
    received = hashlib.sha256(path.read_bytes()).hexdigest()
    if received != wheel.sha256:
        raise ColonnadeError(
            f"{path.name} has sha256 {received}, expected {wheel.sha256}: it is not the file that this data set was declared with. "
            f"{_by_hand(wheel)}"
        )
    with zipfile.ZipFile(path) as archive:
        missing = sorted(set(wheel.members) - set(archive.namelist()))
        if missing:
            raise ColonnadeError(f"{path.name} lacks {', '.join(missing)}. {_by_hand(wheel)}")
        for member in wheel.members:
            archive.extract(member, folder)
    return folder


def _by_hand(wheel: PypiWheel) -> str:
    names = ", ".join(member.rsplit("/", 1)[-1] for member in wheel.members)
    return f"To supply the files by hand, get {names} from {wheel.package}=={wheel.version} and give them, or their folder, with --input."
