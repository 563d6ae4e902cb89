"""Which input files belong to which table of a source."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from feature_specs import ColonnadeError, FeatureSpec, FilesSplit, TextTable
from feature_specs.sources import Table, is_hidden
from preprocessing.sources.fetch import fetch
from preprocessing.sources.streams import SUFFIXES, InputFile, check_not_empty, members, unpack


@dataclass(frozen=True)
class InputFiles:
    """The files of the rows; in order, of each side table; and of fixed candidates, where the split names some and they are there."""

    rows: tuple[InputFile, ...]
    joins: tuple[tuple[InputFile, ...], ...]
    candidates: tuple[InputFile, ...] = ()

    def unpacked(self, folder: str) -> InputFiles:
        """Returns the files, those that are compressed or in an archive as copies in `folder`, so that they can be cut in ranges."""
        groups = [unpack(files, f"{folder}/{i}") for i, files in enumerate((self.rows, *self.joins, self.candidates))]
        return InputFiles(tuple(groups[0]), tuple(map(tuple, groups[1:-1])), tuple(groups[-1]))


def find_files(spec: FeatureSpec, inputs: Sequence[str] | None) -> InputFiles:
    """Matches `inputs` (files, folders, globs, zip archives) to the tables of the spec; without inputs, the data set is fetched.

    Raises:
        ColonnadeError: Nothing matches an input, a table has no file, or a file is empty.
    """
    source = spec.source
    if inputs:
        found = [file for given in inputs for file in _listed(given)]
    elif source.fetch is not None:
        found = [InputFile(str(path), path.stat().st_size) for path in fetch(source.fetch)]
    else:
        by_hand = f" {source.instructions}" if source.instructions else ""
        raise ColonnadeError(f"Data set {spec.name!r} cannot be fetched. Give its files with --input FILE...{by_hand}")
    # Each file once, in an order that does not depend on how the inputs were named.
    found = sorted({file.path: file for file in found}.values(), key=lambda file: file.path)
    loose = [file for file in found if not file.path.endswith(".zip")]
    packed = [member for file in found if file.path.endswith(".zip") for member in _inside(file)]
    tables = (source.rows, *(join.table for join in source.joins))
    wanted = TextTable(files=spec.split.candidates if isinstance(spec.split, FilesSplit) else None)
    candidates = [file for file in loose if _matches(wanted, file)] or [file for file in packed if _matches(wanted, file)]
    # They are no rows, even where the pattern of the rows fits them too.
    loose, packed = ([file for file in group if not _matches(wanted, file)] for group in (loose, packed))
    # A file beside the archive that it came from is the same file.
    files = [_matching(table, loose, tables) or _matching(table, packed, tables) for table in tables]
    for table, group in zip(tables, files, strict=True):
        if not group:
            names = [file.base_name for file in (*loose, *packed)]
            given = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            raise ColonnadeError(f"No input file is called {table.files or '(anything left)'!r}, which the spec needs. Given: {given}.")
    for file in (file for group in (*files, candidates) for file in group):
        check_not_empty(file)
    return InputFiles(files[0], tuple(files[1:]), tuple(candidates))


def _listed(given: str) -> list[InputFile]:
    given = given.rstrip("/") or "/"
    if os.path.exists(given):
        # Taken by name: Beam would read brackets in it as a pattern.
        names = [posixpath.join(given, name) for name in os.listdir(given)] if os.path.isdir(given) else []
        inside = [InputFile(name, os.path.getsize(name)) for name in names if os.path.exists(name)]
        itself = [InputFile(given, os.path.getsize(given))]
    else:
        try:
            matched = FileSystems.match([given, posixpath.join(given, "*")])
        except (BeamIOError, ValueError) as error:
            raise ColonnadeError(f"Cannot list --input {given!r}: {' '.join(str(error).split())}.") from error
        # A folder matches its own name too; it counts through the files in it.
        inside = [InputFile(m.path, m.size_in_bytes) for m in matched[1].metadata_list]
        itself = [InputFile(m.path, m.size_in_bytes) for m in matched[0].metadata_list]
    files = [file for file in inside or itself if (file.path == given or not _is_hidden(file)) and not _is_folder(file.path)]
    if not files:
        raise ColonnadeError(f"No file matches --input {given!r}. Check the path; quote a glob so that the shell leaves it alone.")
    return files


def _inside(archive: InputFile) -> list[InputFile]:
    files = [member for member in members(archive) if not _is_hidden(member)]
    if not files:
        raise ColonnadeError(f"Archive {archive.path!r} holds no file.")
    return files


def _is_hidden(file: InputFile) -> bool:
    """Whether a file is there for a program; so are those that an archive made on a Mac has beside its files."""
    return is_hidden(file.base_name) or "__MACOSX/" in file.path


def _is_folder(path: str) -> bool:
    return FileSystems.get_filesystem(path).scheme() is None and posixpath.isdir(path)


def _matches(table: Table, file: InputFile) -> bool:
    """Whether the name of a file, compressed or not, is that of the table."""
    names = [file.base_name, *(file.base_name.removesuffix(suffix) for suffix in SUFFIXES)]
    return table.files is not None and any(fnmatchcase(name, table.files) for name in names)


def _matching(table: Table, found: Sequence[InputFile], tables: Sequence[Table]) -> tuple[InputFile, ...]:
    """Returns the files of one table; a table without a pattern takes those that no other table claims."""
    if table.files is None:
        return tuple(file for file in found if not any(_matches(other, file) for other in tables))
    return tuple(file for file in found if _matches(table, file))
