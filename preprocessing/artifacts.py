"""The data directory: what the preprocessing job leaves and everything after it reads. No TensorFlow, no Beam."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from feature_specs import ColonnadeError, FeatureSpec
from feature_specs.datasets import all_datasets

SUCCESS = "_SUCCESS"
ITEMS = "items.parquet"


def default_data_dir(spec: FeatureSpec) -> Path:
    """Returns where the data of `spec` is kept unless the user says otherwise."""
    return Path("data") / spec.name


def rebuild_command(path: Path, spec: FeatureSpec | None) -> str:
    """Returns the command line that makes the data directory `path`."""
    if spec is None:
        source = "(--dataset NAME | --spec FILE.yaml)"
    else:
        source = f"--dataset {spec.name}" if all_datasets().get(spec.name) == spec else "--spec FILE.yaml"
    return f"python -m preprocessing.task {source} --output {shlex.quote(str(path))}"


@dataclass(frozen=True)
class DataDirectory:
    """A finished data directory.

    Attributes:
        path: The directory.
        spec: The spec that it was made with.
        statistics: `statistics.json`: rows, splits, tables, label and features.
        success: `_SUCCESS`: fingerprint, digest, spec, splits, shards and inputs (bytes by file).
    """

    path: Path
    spec: FeatureSpec
    statistics: Mapping[str, Any]
    success: Mapping[str, Any]

    @classmethod
    def open(cls, path: str | Path, expected: FeatureSpec | None = None) -> DataDirectory:
        """Checks and opens a data directory.

        Args:
            path: The directory.
            expected: The spec that it has to be made with; any where not given.

        Raises:
            ColonnadeError: It is missing, unfinished, damaged or made with another spec; the message names the command that mends it.
        """
        path = Path(path)
        command = rebuild_command(path, expected)
        if not (path / SUCCESS).is_file():
            what = "is unfinished: it has no _SUCCESS file" if path.is_dir() and any(path.iterdir()) else "does not exist"
            raise ColonnadeError(f"Data directory {str(path)!r} {what}. Make it with `{command}`.")
        try:
            success = json.loads((path / SUCCESS).read_text(encoding="utf-8"))
            statistics = json.loads((path / "statistics.json").read_text(encoding="utf-8"))
            spec = FeatureSpec.from_json((path / "spec.json").read_text(encoding="utf-8"), str(path / "spec.json"))
            found, shards, _ = success["fingerprint"], success["shards"].items(), success["digest"]
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise ColonnadeError(f"Data directory {str(path)!r} is damaged ({error}). {_remake(path, command)}") from error
        if expected is not None and found != expected.fingerprint:
            raise ColonnadeError(
                f"Data directory {str(path)!r} was built for another spec: {success.get('spec')!r} with fingerprint {found[:12]}, expected "
                f"{expected.name!r} with {expected.fingerprint[:12]}. Use another directory, or rebuild this one: "
                f"rm -r {shlex.quote(str(path))} && {command}"
            )
        for name, size in shards:
            shard = path / name
            if not shard.is_file():
                raise ColonnadeError(f"Shard {str(shard)!r} is missing. {_remake(path, command)}")
            if shard.stat().st_size != size:
                raise ColonnadeError(
                    f"Shard {str(shard)!r} has {shard.stat().st_size:,} bytes, expected {size:,}: it is truncated or changed. "
                    f"{_remake(path, command)}"
                )
        return cls(path, spec, statistics, success)

    def check_inputs(self, given: Sequence[str]) -> None:
        """Looks at the names and sizes of local files, for a person who gives new ones and would be left with the old rows.

        Archives, globs and folders are taken as they are, and so are files that are no longer there.

        Raises:
            ColonnadeError: Files are not those that the data was made from.
        """
        paths = [Path(name) for name in given]
        if (
            not isinstance(self.success.get("inputs"), Mapping)
            or not paths
            or not all(path.is_file() and path.suffix != ".zip" for path in paths)
        ):
            return
        made_from = {name.rsplit("/", 1)[-1]: size for name, size in self.success["inputs"].items()}
        received = {path.name: path.stat().st_size for path in paths}
        changed = sorted(name for name, size in made_from.items() if received.get(name) != size)
        if changed:
            name = changed[0]
            now = f"{received[name]:,} bytes" if name in received else f"{', '.join(sorted(received))} instead"
            raise ColonnadeError(
                f"Data directory {str(self.path)!r} was built from other files: {name!r} with {made_from[name]:,} bytes, received {now}. "
                f"Use another directory, or rebuild this one: rm -r {shlex.quote(str(self.path))} && "
                f"{rebuild_command(self.path, self.spec)} --input FILE..."
            )

    @property
    def digest(self) -> str:
        """Tells data of one spec from other data of it: a rebuild from equal raw files has the same."""
        return str(self.success["digest"])

    @property
    def table_rows(self) -> dict[str, int]:
        """Rows of each embedding table, padding and OOV buckets included."""
        return dict(self.statistics["tables"])

    @property
    def pretrained(self) -> dict[str, Path]:
        """The vectors that tables begin with, `[rows, D]`, by table."""
        return {table: self.path / pretrained_file(table) for table in self.statistics.get("pretrained", {})}

    @property
    def transform_fn(self) -> Path:
        """The SavedModel that turns raw examples into transformed ones."""
        return self.path / "transform_fn"

    @property
    def items(self) -> Path:
        """The catalogue of a data set for matching: one row an item."""
        return self.path / ITEMS

    def shards(self, split: str) -> list[Path]:
        """Returns the Parquet files of "train", "valid" or "test", in order."""
        if split not in self.success["splits"]:
            raise ColonnadeError(f"Unknown split {split!r}. One of: {', '.join(self.success['splits'])}.")
        return [self.path / name for name in sorted(self.success["shards"]) if name.startswith(f"{split}-")]

    def num_rows(self, split: str) -> int:
        """Returns the number of rows of a split; for matching that is of users."""
        return int(self.success["splits"][split])


def pretrained_file(table: str) -> str:
    """Returns the name of the file with the vectors that `table` begins with, in data and run directories."""
    return f"pretrained-{quote(table, safe='')}.npy"


def content_digest(folder: Path, shards: Mapping[str, int]) -> str:
    """Returns the SHA-256 of statistics, vocabularies, pretrained vectors, items, and names and sizes of the shards in `folder`.

    It is cheap, whatever the data's size.
    """
    digest = hashlib.sha256(json.dumps(sorted(shards.items())).encode())
    assets = sorted((folder / "transform_fn" / "assets").glob("*"))
    for path in (folder / "statistics.json", *assets, *sorted(folder.glob("pretrained-*.npy")), *sorted(folder.glob(ITEMS))):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _remake(path: Path, command: str) -> str:
    return f"Rebuild it: rm -r {shlex.quote(str(path))} && {command}"
