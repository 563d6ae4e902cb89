"""Files as a stream of Arrow tables, each row with the number of its line; what cannot be read is set aside."""

from __future__ import annotations

import codecs
import gzip
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_specs.errors import ColonnadeError
from feature_specs.features import MultiValuedFeature
from feature_specs.sources import TextTable
from feature_specs.spec import FeatureSpec
from serving import delimited
from serving.mixed import from_python
from serving.rejects import NoRowsError, Rejects
from serving.text import read_blocks


class Rows(NamedTuple):
    """Some rows of a file.

    Attributes:
        table: The file's own columns; text of CSV files is `binary`, as it stands there.
        lines: Number of the line of each row (in Parquet: of the row), from 1.
        share: Which part of the file has been read so far, from 0 to 1.
    """

    table: pa.Table
    lines: NDArray[np.int64]
    share: float


Reader = Callable[[Path, Rejects], Iterator[Rows]]
_STDIN = Path("-")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")


def source_layout(spec: FeatureSpec) -> TextTable:
    """Returns the layout of the data set's own rows.

    Raises:
        ColonnadeError: They are no delimited text.
    """
    rows = spec.source.rows
    if not isinstance(rows, TextTable):
        raise ColonnadeError(
            f"--source_layout is for data sets of delimited text; the files of {spec.name!r} are {rows.format}. Leave it out: "
            "the suffix tells the format."
        )
    return rows


def layout_hint(spec: FeatureSpec) -> str:
    """Returns how files like the data set's own are read, where those say less about themselves than readers need; else ""."""
    rows = spec.source.rows
    if not isinstance(rows, TextTable) or (rows.header and rows.columns is None and len(rows.delimiter) == 1):
        return ""
    about = f"delimiter {rows.delimiter!r}, {'a' if rows.header else 'no'} header, the spec's columns"
    return f" A file like the data set's own ({about}) is read by `python -m serving.predict --source_layout`."


def find_reader(path: Path, spec: FeatureSpec | None = None, like_source: bool = False, suffix: str = "") -> Reader:
    """Returns what reads `path`: told by its suffix or, where it is like the data set's own files, by the spec.

    The path "-" is standard input: JSON lines, or text of which `suffix` tells the format.

    Raises:
        ColonnadeError: The file is missing, empty or of no known format.
    """
    if path == _STDIN:
        return _reader_of(suffix or ".jsonl", spec)
    if not path.is_file():
        raise ColonnadeError(f"There is no input file {str(path)!r}. Give a CSV, TSV, JSON lines or Parquet file.")
    suffix = suffix or (path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix)
    if not like_source and suffix not in (*_DELIMITERS, *_READERS):
        raise ColonnadeError(
            f"Input file {str(path)!r} is of no known format. Received the suffix {suffix!r}; expected one of "
            f"{', '.join((*_DELIMITERS, *_READERS))}, text also with .gz. Convert or rename the file.{layout_hint(spec) if spec else ''}"
        )
    if path.stat().st_size == 0:
        raise NoRowsError(f"Input file {str(path)!r} is empty.")
    if spec is not None and like_source:
        return _read_source(source_layout(spec), spec)
    return _reader_of(suffix, spec)


def _reader_of(suffix: str, spec: FeatureSpec | None) -> Reader:
    return _read_csv(_DELIMITERS[suffix], spec) if suffix in _DELIMITERS else _READERS[suffix]


def _known(spec: FeatureSpec) -> set[str]:
    """Returns the names that columns of features, and of their weights, may have in a file."""
    read = [feature for feature in spec.features if feature.raw_inputs]
    names = {name for feature in read for name in (feature.name, feature.raw_column)}
    return names | {feature.weights for feature in read if isinstance(feature, MultiValuedFeature) and feature.weights}


def read_rows(path: Path, rejects: Rejects, spec: FeatureSpec | None = None, like_source: bool = False, suffix: str = "") -> Iterator[Rows]:
    """Yields the rows of a CSV, TSV, JSON lines or Parquet file, told by its suffix; text may be gzipped (`.csv.gz`).

    Args:
        path: The file.
        rejects: Takes what cannot be read.
        spec: The data set.
        like_source: Whether the file is in the layout of the data set's own rows, whatever its suffix.
        suffix: Counts in place of the path's own.

    Raises:
        ColonnadeError: The file is missing, of no known format, empty or broken.
    """
    found = 0
    try:
        for rows in find_reader(path, spec, like_source, suffix)(path, rejects):
            found += len(rows.lines)
            yield rows
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise ColonnadeError(f"Input file {str(path)!r} cannot be read: {' '.join(str(error).split()).rstrip('.')}.") from error
    if not found and not rejects.count:
        raise NoRowsError(f"Input file {str(path)!r} has no rows.")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, Callable[[], float]]]:
    """Opens a file, unzipped, together with a function that tells which share of it has been read."""
    if path == _STDIN:
        arriving: Any = _Arriving()
        yield arriving, lambda: 0.0
        return
    with path.open("rb") as raw:
        size = path.stat().st_size
        stream: Any = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
        yield stream, lambda: raw.tell() / size


class _Arriving:
    """Standard input as it arrives: whoever writes it need not end first."""

    def read(self, size: int) -> bytes:
        stream: Any = sys.stdin.buffer
        return stream.read1(size)


def _read_csv(usual: str, spec: FeatureSpec | None) -> Reader:
    known, hint = (_known(spec), layout_hint(spec)) if spec else (set[str](), "")

    def read(path: Path, rejects: Rejects) -> Iterator[Rows]:
        names, delimiter, quoting = None, usual, True
        with _opened(path) as (stream, share):
            for block in read_blocks(stream, quoting=True):
                if names is None:
                    rows = block.rows()
                    names, delimiter = delimited.header(path, rows[0], usual)
                    names, delimiter, quoting = delimited.without_blanks(path, rows, names, delimiter, quoting, known, hint)
                    block = block.without_first()
                if len(block.starts):
                    table, lines = delimited.parse(path, block, names, delimiter, rejects, quoting)
                    yield Rows(table, lines, share())

    return read


def _read_source(layout: TextTable, spec: FeatureSpec) -> Reader:
    def read(path: Path, rejects: Rejects) -> Iterator[Rows]:
        names, delimiter, quoting = None, layout.delimiter, delimited.is_quoted(layout)
        with _opened(path) as (stream, share):
            text: Any = stream if layout.encoding == "utf-8" else codecs.EncodedFile(stream, "utf-8", layout.encoding)
            for block in read_blocks(text, quoting=quoting):
                if names is None:
                    rows = block.rows()
                    names = delimited.source_columns(path, rows, layout, spec.label.column)
                    if layout.header and layout.columns is None:
                        names, delimiter, quoting = delimited.without_blanks(path, rows, names, delimiter, quoting, _known(spec), "")
                    block = block.without_first() if layout.header else block
                if len(block.starts):
                    table, lines = delimited.parse(path, block, names, delimiter, rejects, quoting)
                    yield Rows(table, lines, share())

    return read


def _read_json_lines(path: Path, rejects: Rejects) -> Iterator[Rows]:
    with _opened(path) as (stream, share):
        for block in read_blocks(stream, quoting=False):
            records, lines = [], []
            for line, text in zip(block.lines.tolist(), block.rows(), strict=True):
                try:
                    record = json.loads(text)
                    if _SURROGATE.search(text):  # a pair, or half of one, which Arrow does not take
                        json.dumps(record, ensure_ascii=False).encode()
                    problem = "" if isinstance(record, dict) else f"expected a JSON object, received {type(record).__name__}"
                except (ValueError, RecursionError) as error:
                    problem = f"invalid JSON: {error}"
                if problem:
                    rejects.add(path, line, problem, text.decode(errors="replace"))
                else:
                    records.append(record)
                    lines.append(line)
            names = dict.fromkeys(name for record in records for name in record)
            if not names:  # a table without columns has no rows
                for line in lines:
                    rejects.add(path, line, "expected some column, received none", "{}")
                continue
            columns = {name: from_python([record.get(name) for record in records]) for name in names}
            yield Rows(pa.table(columns), np.array(lines, np.int64), share())


def _read_parquet(path: Path, rejects: Rejects) -> Iterator[Rows]:  # noqa: ARG001 (a Parquet file is readable or not)
    with pq.ParquetFile(path) as file:
        delimited.unique(path, file.schema_arrow.names)
        done = 0
        for batch in file.iter_batches(1 << 16):
            first, done = done, done + batch.num_rows
            yield Rows(pa.Table.from_batches([batch]), np.arange(first, done) + 1, done / file.metadata.num_rows)


_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_READERS: dict[str, Reader] = {
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_json_lines,
    ".parquet": _read_parquet,
}
