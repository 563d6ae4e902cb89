"""Which versions a folder holds, and whether one is complete: a copy in progress must never be loaded.

Our exporter renames a version into place, but `cp -r`, rsync and downloads write file after file, in any order, and a vocabulary cut off in
the middle would load without an error. So a version counts when everything that its graph names is there, assets with the sizes that our
exporter states, and none of its files has changed for a while; and should its files change after all, it is loaded again.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from feature_specs.errors import ColonnadeError
from serving.assets import stated_sizes

_SHARD = re.compile(r"variables\.data-(\d{5})-of-(\d{5})")
MODEL_FILE = "saved_model.pb"


@dataclass(frozen=True)
class Look:
    """What was seen of a version's files; two looks are equal when the files are.

    Attributes:
        files: Of each its path, size in bytes, time of modification in nanoseconds and inode.
        changed: When one of them last changed, in seconds since the epoch.
    """

    files: tuple[tuple[str, int, int, int], ...]
    changed: float = field(compare=False)

    @classmethod
    def at(cls, version: Path) -> Look:
        """Looks at a version's files."""
        found, changed = [], 0.0
        for folder, _, names in os.walk(version):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    stat = os.stat(path)
                except OSError:  # gone since it was listed
                    continue
                found.append((os.path.relpath(path, version), stat.st_size, stat.st_mtime_ns, stat.st_ino))
                # A copy that keeps times is new all the same by the time of its last change of any kind.
                changed = max(changed, stat.st_ctime)
        return cls(tuple(sorted(found)), changed)

    def rested(self, seconds: float) -> bool:
        """Tells whether no file has changed for so long."""
        return time.time() - self.changed >= seconds


def versions_in(export_dir: Path) -> dict[int, Path]:
    """Returns the versions to serve by their numbers: of a base folder those with a number for a name; else the folder itself."""
    if (export_dir / MODEL_FILE).is_file():
        name = export_dir.resolve().name
        return {int(name) if is_number(name) else 1: export_dir}
    try:
        names = sorted(entry.name for entry in os.scandir(export_dir) if is_number(entry.name) and entry.is_dir())
    except OSError:
        return {}
    return {int(name): export_dir / name for name in names}


def is_number(name: str) -> bool:
    """Tells whether a folder's name is a version, which is an int64."""
    return name.isascii() and name.isdigit() and int(name) < 2**63


def check_export(export_dir: Path) -> None:
    """Raises ColonnadeError where there is nothing to serve."""
    if not versions_in(export_dir):
        what = "has no version: a folder with a number for a name" if export_dir.is_dir() else "does not exist"
        inside = export_dir / "export"
        advice = f"Did you mean {str(inside)!r}?" if versions_in(inside) else "A finished run has them in RUN_DIR/export."
        raise ColonnadeError(f"Export folder {str(export_dir)!r} {what}. {advice}")


def missing_from(version: Path) -> str | None:
    """Returns a clause that says what a version lacks of what its graph names, or None where it is complete."""
    # Imported here: `check_export` is to find a mistake before TensorFlow is loaded.
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    try:
        proto.ParseFromString((version / MODEL_FILE).read_bytes())
    except FileNotFoundError:
        return f"{MODEL_FILE} is missing"
    except (DecodeError, OSError):
        return f"the rest of {MODEL_FILE} is missing"
    if not proto.meta_graphs:
        return f"the graph in {MODEL_FILE} is missing"
    for graph in proto.meta_graphs:
        sizes = stated_sizes(graph)
        for asset in graph.asset_file_def:
            try:
                size = (version / "assets" / asset.filename).stat().st_size
            except OSError:
                return f"assets/{asset.filename} is missing"
            if size != sizes.get(asset.filename, size):
                return f"assets/{asset.filename} is {size} of {sizes[asset.filename]} bytes"
    if not any(graph.HasField("saver_def") for graph in proto.meta_graphs):
        return None
    folder = version / "variables"
    if not (folder / "variables.index").is_file():
        return "variables/variables.index is missing"
    shards = [found for found in map(_SHARD.fullmatch, sorted(os.listdir(folder))) if found]
    if not shards or len(shards) != int(shards[0][2]):
        return "a shard of variables/variables.data is missing"
    return None
