"""Compressed files, zip archives and other file systems: read like plain files, cut in ranges once they are unpacked."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem

from feature_specs import ColonnadeError, FeatureSpec, TextTable
from preprocessing.sources import tables, text
from preprocessing.sources.files import find_files
from preprocessing.sources.streams import InputFile, unpack

SPEC = FeatureSpec.from_yaml(
    """
name: ratings
features:
- {kind: categorical, name: user, encoding: {type: vocabulary}}
label: {column: rating}
source:
  rows: {files: ratings.dat, delimiter: '::', header: false, columns: [user, movie, rating]}
  joins:
  - {table: {files: movies.dat, delimiter: '::', header: false, columns: [movie, title], encoding: latin-1}, key: movie}
"""
)
RATINGS = b"".join(b"%d::%d::5\n" % (i, i % 7) for i in range(1000))
MOVIES = "".join(f"{i}::Caf\xe9 {i}\n" for i in range(7)).encode("latin-1")


def _zip(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("ml/"), b"")
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return path


def _rows(table: Any, files: Any, *wanted: str) -> list[tuple[bytes, ...]]:
    ranges = tables.plan(table, files)
    return [tuple(row.values()) for part in ranges for row in tables.read(part, wanted).table.to_pylist()]


def test_an_archive_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {"ml/ratings.dat": RATINGS, "ml/movies.dat": MOVIES, "ml/README": b"read me", "__MACOSX/ml/._ratings.dat": b"x"}
    archive = _zip(tmp_path / "ml.zip", **members)
    monkeypatch.setattr(text, "RANGE_BYTES", 3000)
    for given in (str(archive), str(tmp_path)):
        found = find_files(SPEC, [given])
        assert [file.path for file in found.rows] == [f"{archive}!/ml/ratings.dat"]
        assert found.rows[0].base_name == "ratings.dat"
        # Without copies the files are read in one piece.
        assert len(tables.plan(SPEC.source.rows, found.rows)) == 1
        for files in (found, found.unpacked(str(tmp_path / "unpacked"))):
            assert len(_rows(SPEC.source.rows, files.rows, "user")) == 1000
            assert _rows(SPEC.source.joins[0].table, files.joins[0], "title")[1] == ("Café 1".encode(),)
        ranges = tables.plan(SPEC.source.rows, found.unpacked(str(tmp_path / "unpacked")).rows)
        assert len(ranges) > 2
        assert {part.path for part in ranges} == {f"{archive}!/ml/ratings.dat"}


def test_a_file_beside_its_archive_counts_once(tmp_path: Path) -> None:
    _zip(tmp_path / "ml.zip", **{"ratings.dat": RATINGS, "movies.dat": MOVIES})
    (tmp_path / "ratings.dat").write_bytes(RATINGS)
    found = find_files(SPEC, [str(tmp_path)])
    assert [file.path for file in found.rows] == [str(tmp_path / "ratings.dat")]
    assert [file.base_name for file in found.joins[0]] == ["movies.dat"]


def test_broken_archives(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "ml.zip", **{"ratings.dat": RATINGS})
    with pytest.raises(ColonnadeError, match=r"No input file is called 'movies\.dat', which the spec needs\. Given: ratings\.dat\."):
        find_files(SPEC, [str(archive)])
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])
    with pytest.raises(ColonnadeError, match=r"Cannot decompress '.*ml\.zip': File is not a zip file\. Fetch the file again"):
        find_files(SPEC, [str(archive)])
    place = content.index(b"ratings.dat") + 60
    archive.write_bytes(content[:place] + b"\x00\xff\x00" + content[place + 3 :])
    with pytest.raises(ColonnadeError, match=r"Cannot decompress '.*ml\.zip!/ratings\.dat'"):
        unpack([InputFile(f"{archive}!/ratings.dat", len(RATINGS))], str(tmp_path / "unpacked"))


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), ("", gzip.compress)])
def test_compressed_files(suffix: str, pack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "RANGE_BYTES", 100)
    path = tmp_path / f"a.csv{suffix}"
    path.write_bytes(pack(b"x,y\n" + b"1,2\n" * 100))
    files = [InputFile(str(path), path.stat().st_size)]
    unpacked = unpack(files, str(tmp_path / "unpacked"))
    assert len(tables.plan(TextTable(), unpacked)) == 4
    for some in (files, unpacked):
        assert _rows(TextTable(), some, "y") == [(b"2",)] * 100
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ColonnadeError, match=r"Cannot decompress '.*a\.csv.*'.* Fetch the file again"):
        unpack(files, str(tmp_path / "unpacked"))
    path.write_bytes(pack(b""))
    with pytest.raises(ColonnadeError, match=r"is empty \(0 bytes\)"):
        unpack(files, str(tmp_path / "unpacked"))


def test_a_file_that_shrinks_or_vanishes_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"x,y\n" + b"1,2\n" * 100)
    (part,) = tables.plan(TextTable(), [InputFile(str(path), path.stat().st_size)])
    path.write_bytes(b"x,y\n1,2\n")
    with pytest.raises(ColonnadeError, match=r"'.*a\.csv' has become shorter while it was read\. Wait until it is complete"):
        tables.read(part, ["x"])
    path.unlink()
    with pytest.raises(ColonnadeError, match=r"Cannot read '.*a\.csv'"):
        tables.read(part, ["x"])


class _Memory(FileSystem):
    """A file system `memory://` whose files are in a dictionary."""

    files: dict[str, bytes] = {}

    @classmethod
    def scheme(cls) -> str:
        return "memory"

    def open(self, path: str, *_: Any, **__: Any) -> BinaryIO:
        if path not in self.files:
            raise BeamIOError(f"no such file: {path}")
        return io.BytesIO(self.files[path])

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        yield from (FileMetadata(path, len(content)) for path, content in self.files.items() if path.startswith(dir_or_prefix))

    def has_dirs(self) -> bool:
        return False

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path: str) -> tuple[str, str]:
        head, _, tail = path.rpartition("/")
        return head, tail

    def exists(self, path: str) -> bool:
        return path in self.files

    def _unused(self, *_: Any) -> Any:
        raise NotImplementedError

    create = mkdirs = copy = rename = size = last_updated = checksum = delete = metadata = _unused


def test_any_beam_file_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("ml/movies.dat"), MOVIES)
    files = {"memory://bucket/ratings.dat.gz": gzip.compress(RATINGS), "memory://bucket/ml.zip": packed.getvalue()}
    monkeypatch.setattr(_Memory, "files", files)
    monkeypatch.setattr(text, "RANGE_BYTES", 3000)
    found = find_files(SPEC, ["memory://bucket/*"]).unpacked(str(tmp_path / "unpacked"))
    assert [file.path for file in (*found.rows, *found.joins[0])] == ["memory://bucket/ratings.dat.gz", "memory://bucket/ml.zip!/ml/movies.dat"]
    assert len(_rows(SPEC.source.rows, found.rows, "user")) == 1000
    assert len(_rows(SPEC.source.joins[0].table, found.joins[0], "title")) == 7
    files["memory://bucket/plain.dat"] = RATINGS
    plain = [InputFile("memory://bucket/plain.dat", len(RATINGS))]
    assert len(tables.plan(SPEC.source.rows, plain)) > 2
    assert _rows(SPEC.source.rows, plain, "user") == [(str(i).encode(),) for i in range(1000)]
