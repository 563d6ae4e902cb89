"""Delimited text: files are cut in byte ranges at line ends, each range is parsed on its own.

So one big file feeds many workers. Values stay bytes here: no type is guessed and broken UTF-8 is no error. Lines are counted only when a
row is set aside.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from feature_specs import ColonnadeError, TextTable
from preprocessing.delimited import is_utf8, parse_odd
from preprocessing.sources.files import InputFile

RANGE_BYTES = 32 << 20
_BLOCK_BYTES = 8 << 20
_LONGEST_QUOTE_BYTES = 16 << 20
_LF, _CR, _QUOTE = 10, 13, 34


@dataclass(frozen=True)
class TextRange:
    """Bytes [begin, end) of a file: whole lines, without the header. A compressed file is one range without an end."""

    path: str
    index: int
    begin: int
    end: int | None
    columns: tuple[str, ...]
    delimiter: str
    quoting: bool

    @property
    def size(self) -> int:
        """Number of bytes; 0 where it is unknown."""
        return 0 if self.end is None else self.end - self.begin


@dataclass
class ParsedRange:
    """What became of a range: well-formed rows as columns of bytes, and the numbers of the others.

    Attributes:
        source: The range.
        table: The rows; every column is binary.
        ragged: Row number in the range, from 0, and the reason, of each line that has too few or too many values.
        data: The bytes of the range.
        starts: Where each row starts in `data`, where the range was read row by row.
    """

    source: TextRange
    table: pa.Table
    ragged: dict[int, str]
    data: bytes = field(repr=False)
    starts: np.ndarray | None = field(default=None, repr=False)

    def numbers(self) -> np.ndarray:
        """Returns the number in the range, from 0, of each row of `table`."""
        everything = np.arange(self.table.num_rows + len(self.ragged))
        return np.delete(everything, sorted(self.ragged))

    def locate(self, numbers: Sequence[int]) -> Iterator[tuple[int, str]]:
        """Yields the line in the file, from 1, and the text of each row."""
        starts = row_starts(self.data, self.source.quoting) if self.starts is None else self.starts
        before = _lines_before(self.source)
        ends = np.append(starts[1:], len(self.data))
        for number in numbers:
            start = int(starts[number])
            text = self.data[start : int(ends[number])].rstrip(b"\r\n").decode("utf-8", errors="replace")
            yield before + self.data.count(b"\n", 0, start) + 1, text


def plan(table: TextTable, files: Sequence[InputFile]) -> list[TextRange]:
    """Cuts the files of a table into ranges of about `RANGE_BYTES`, numbered in file order."""
    ranges: list[TextRange] = []
    for file in files:
        names, begin = _columns(table, file)
        compressed = is_compressed(file.path)
        cuts = [] if compressed else _cuts(file, begin, table.quoting)
        ends = [*cuts, None if compressed else file.size]
        for start, end in zip([begin, *cuts], ends, strict=True):
            ranges.append(TextRange(file.path, len(ranges), start, end, names, table.delimiter, table.quoting))
    return ranges


def is_compressed(path: str) -> bool:
    """Whether a file has to be decompressed; only the ending of its name decides."""
    return path.endswith((".gz", ".bz2"))


def _columns(table: TextTable, file: InputFile) -> tuple[tuple[str, ...], int]:
    """Returns the names of the columns and the number of bytes before the first row."""
    if not table.header:
        if table.columns is None:
            raise ColonnadeError(f"The table of {file.base_name!r} has no header: name its `columns` in the spec.")
        return table.columns, 0
    with _open(file.path) as stream:
        line = _first_line(file.path, stream)
    text = line.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace").rstrip("\r\n")
    try:
        names = next(
            csv.reader([text], delimiter=table.delimiter, quoting=csv.QUOTE_MINIMAL if table.quoting else csv.QUOTE_NONE, strict=True), []
        )
    except csv.Error as error:
        raise ColonnadeError(
            f"Input {file.path!r} cannot be read as text: its first line is no header. Give text with paired quotes, "
            "whose lines end with LF or CR LF."
        ) from error
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice and table.columns is None:
        raise ColonnadeError(f"Input {file.path!r} has several columns of the same name: {', '.join(map(repr, twice))}. Rename them.")
    if table.columns is not None and len(table.columns) != len(names):
        raise ColonnadeError(
            f"Input {file.path!r} has {len(names)} columns in its header, the spec names {len(table.columns)}: {', '.join(table.columns)}. "
            f"Correct `columns` or `delimiter` (now {table.delimiter!r})."
        )
    return table.columns or tuple(names), len(line)


def _first_line(path: str, stream: BinaryIO) -> bytes:
    try:
        if is_compressed(path):
            with gzip.open(stream) if path.endswith(".gz") else bz2.open(stream) as unpacked:
                return unpacked.readline()
        return stream.readline()
    except (OSError, EOFError, zlib.error) as error:
        raise ColonnadeError(f"Cannot decompress {path!r}: {error}. Fetch the file again.") from error


def _cuts(file: InputFile, begin: int, quoting: bool) -> list[int]:
    """Returns the offsets, at line ends outside quotes, at which the file is cut."""
    wanted = list(range(begin + RANGE_BYTES, file.size, RANGE_BYTES))
    cuts: list[int] = []
    if not wanted:
        return cuts
    with _open(file.path) as stream:
        stream.seek(begin)
        position, inside = begin, False
        for offset in wanted:
            # A very long row may reach beyond the next cut.
            if offset < position:
                continue
            # Only an even number of quotes before it makes a line end the end of a row.
            while quoting and position < offset and (block := stream.read(min(_BLOCK_BYTES, offset - position))):
                position, inside = position + len(block), inside ^ bool(block.count(b'"') % 2)
            stream.seek(offset)
            position = offset
            while line := stream.readline():
                position += len(line)
                inside ^= quoting and bool(line.count(b'"') % 2)
                # A quote that is still open this far on never closes; `read` takes the rows behind it one by one.
                inside = inside and position - offset < _LONGEST_QUOTE_BYTES
                if not inside:
                    break
            if position < file.size:
                cuts.append(position)
    return cuts


def read(source: TextRange, wanted: Sequence[str]) -> ParsedRange:
    """Parses the columns `wanted` of a range."""
    data = _bytes(source)
    ragged: dict[int, str] = {}
    doubtful = source.quoting and data.count(b'"') % 2 == 1

    def set_aside(row: pa_csv.InvalidRow) -> str:
        nonlocal doubtful
        doubtful |= source.quoting and '"' in row.text
        ragged[row.number - 1] = f"expected {row.expected_columns} values, received {row.actual_columns}"
        return "skip"

    # Names are replaced by numbers: a header may leave one empty.
    names = [str(i) for i in range(len(source.columns))]
    places = [source.columns.index(name) for name in wanted]
    if not data.strip(b"\r\n"):
        return ParsedRange(source, pa.table({name: pa.array([], pa.binary()) for name in wanted}), ragged, data)
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(data),
            # One block, one thread: otherwise Arrow gives no row numbers and refuses rows longer than a block.
            read_options=pa_csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
            parse_options=pa_csv.ParseOptions(
                delimiter=source.delimiter,
                quote_char='"' if source.quoting else False,
                newlines_in_values=source.quoting,
                invalid_row_handler=set_aside if is_utf8(data) else None,
            ),
            convert_options=pa_csv.ConvertOptions(
                check_utf8=False,
                column_types={name: pa.binary() for name in names},
                strings_can_be_null=False,
                include_columns=[names[place] for place in places],
            ),
        )
    except pa.ArrowInvalid:
        return _read_odd(source, wanted, data)
    if doubtful or (source.quoting and b'"' in data and table.num_rows + len(ragged) != len(row_starts(data, quoting=True))):
        return _read_odd(source, wanted, data)
    return ParsedRange(source, table.rename_columns(list(wanted)), ragged, data)


def _read_odd(source: TextRange, wanted: Sequence[str], data: bytes) -> ParsedRange:
    """Parses a range row by row, where Arrow gives up or takes what follows a stray quote for one value."""
    places = [source.columns.index(name) for name in wanted]
    rows: list[list[bytes]] = []
    ragged: dict[int, str] = {}
    starts: list[int] = []
    begins = row_starts(data, source.quoting).tolist()
    for begin, end in zip(begins, [*begins[1:], len(data)], strict=True):
        for line in parse_odd(data[begin:end].rstrip(b"\r\n"), len(source.columns), source.delimiter, quoting=source.quoting):
            if isinstance(line.values, str):
                ragged[len(starts)] = line.values
            else:
                rows.append([line.values[place] for place in places])
            starts.append(begin + line.offset)
    table = pa.table({name: pa.array([row[i] for row in rows], pa.binary()) for i, name in enumerate(wanted)})
    return ParsedRange(source, table, ragged, data, np.array(starts, np.int64))


def _bytes(source: TextRange) -> bytes:
    with _open(source.path) as stream:
        stream.seek(source.begin if source.end is not None else 0)
        data = stream.read(-1 if source.end is None else source.end - source.begin)
    return data if source.end is not None else _decompressed(source.path, data)[source.begin :]


@contextmanager
def _open(path: str) -> Iterator[BinaryIO]:
    """Opens a file for reading its bytes as they are."""
    try:
        stream = FileSystems.open(path, compression_type="uncompressed")
    except (OSError, BeamIOError) as error:
        raise ColonnadeError(f"Cannot read {path!r}: {' '.join(str(error).split())}.") from error
    with stream:
        yield stream


def _decompressed(path: str, data: bytes) -> bytes:
    """Decompresses here, because Beam takes a truncated file for a short one."""
    try:
        return gzip.decompress(data) if path.endswith(".gz") else bz2.decompress(data)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ColonnadeError(f"Cannot decompress {path!r}: {error}. Fetch the file again.") from error


def row_starts(data: bytes, quoting: bool) -> np.ndarray:
    """Returns the offset of each row that is not blank: the begin, and what follows each line end outside quotes."""
    array = np.frombuffer(data, dtype=np.uint8)
    if not len(array):
        return np.zeros(0, np.int64)
    ends = np.flatnonzero((array == _LF) | ((array == _CR) & (np.append(array[1:], 0) != _LF)))
    if quoting:
        # A doubled quote inside quotes changes the count by two, which is as good as nothing.
        ends = ends[np.searchsorted(np.flatnonzero(array == _QUOTE), ends) % 2 == 0]
    starts = np.append(0, ends + 1)
    starts = starts[starts < len(array)]
    blank = (array[starts] == _LF) | (array[starts] == _CR)
    return starts[~blank]


def _lines_before(source: TextRange) -> int:
    """Counts the lines of the file before the range; only asked when a row is set aside."""
    if source.end is None:
        return min(source.begin, 1)
    lines, left = 0, source.begin
    with _open(source.path) as stream:
        while left and (block := stream.read(min(_BLOCK_BYTES, left))):
            lines, left = lines + block.count(b"\n"), left - len(block)
    return lines
