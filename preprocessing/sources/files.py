"""Which input files belong to which table of a source."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from feature_specs import ColonnadeError, FeatureSpec, TextTable
from preprocessing.sources.fetch import fetch


@dataclass(frozen=True)
class InputFile:
    """One file and its size in bytes."""

    path: str
    size: int

    @property
    def base_name(self) -> str:
        """The last part of the path."""
        return posixpath.basename(self.path)


@dataclass(frozen=True)
class InputFiles:
    """The files of the rows and, in order, of each side table."""

    rows: tuple[InputFile, ...]
    joins: tuple[tuple[InputFile, ...], ...]


def find_files(spec: FeatureSpec, inputs: Sequence[str] | None) -> InputFiles:
    """Matches `inputs` (files, folders, globs) to the tables of the spec; without inputs, the data set is fetched.

    Raises:
        ColonnadeError: Nothing matches an input, a table has no file, or a file is empty.
    """
    source = spec.source
    if inputs:
        found = [file for given in inputs for file in _listed(given)]
    elif source.fetch is not None:
        found = [InputFile(str(path), path.stat().st_size) for path in fetch(source.fetch)]
    else:
        raise ColonnadeError(f"Data set {spec.name!r} cannot be fetched. Give its files with --input FILE...")
    # Each file once, in an order that does not depend on how the inputs were named.
    found = sorted({file.path: file for file in found}.values(), key=lambda file: file.path)
    tables = (source.rows, *(join.table for join in source.joins))
    files = [_matching(table, found, tables) for table in tables]
    for file in (file for group in files for file in group):
        if file.size == 0:
            raise ColonnadeError(f"Input {file.path!r} is empty (0 bytes). Give a file with rows.")
    return InputFiles(files[0], tuple(files[1:]))


def _listed(given: str) -> list[InputFile]:
    given = given.rstrip("/") or "/"
    try:
        matched = FileSystems.match([given, posixpath.join(given, "*")])
    except (BeamIOError, ValueError) as error:
        raise ColonnadeError(f"Cannot list --input {given!r}: {' '.join(str(error).split())}.") from error
    # A folder matches its own name too; it counts through the files in it.
    inside = [InputFile(m.path, m.size_in_bytes) for m in matched[1].metadata_list]
    itself = [InputFile(m.path, m.size_in_bytes) for m in matched[0].metadata_list]
    files = [file for file in inside or itself if not file.base_name.startswith(".") and not _is_folder(file.path)]
    if not files:
        raise ColonnadeError(f"No file matches --input {given!r}. Check the path; quote a glob so that the shell leaves it alone.")
    return files


def _is_folder(path: str) -> bool:
    return FileSystems.get_filesystem(path).scheme() is None and posixpath.isdir(path)


def _matches(table: TextTable, file: InputFile) -> bool:
    """Whether the name of a file, compressed or not, is that of the table."""
    names = (file.base_name, file.base_name.removesuffix(".gz").removesuffix(".bz2"))
    return table.files is not None and any(fnmatchcase(name, table.files) for name in names)


def _matching(table: TextTable, found: Sequence[InputFile], tables: Sequence[TextTable]) -> tuple[InputFile, ...]:
    """Returns the files of one table; a table without a pattern takes those that no other table claims."""
    if table.files is None:
        files = tuple(file for file in found if not any(_matches(other, file) for other in tables))
    else:
        files = tuple(file for file in found if _matches(table, file))
    if not files:
        given = ", ".join(file.base_name for file in found[:10]) + (", ..." if len(found) > 10 else "")
        raise ColonnadeError(f"No input file is called {table.files or '(anything left)'!r}, which the spec needs. Given: {given}.")
    return files
