"""Delimited text: files are cut in byte ranges at line ends, each range is parsed on its own.

So one big file feeds many workers. Values stay bytes here: no type is guessed and broken UTF-8 is no error. Lines are counted only when a
row is set aside.
"""

from __future__ import annotations

import csv
import typing
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from feature_specs import ColonnadeError, TextTable
from feature_specs.sources import Table
from preprocessing.delimited import is_doubtful, is_utf8, row_starts, share_of_rows, split_rows
from preprocessing.sources.ranges import ParsedRange, Range
from preprocessing.sources.streams import InputFile, is_packed, opened

RANGE_BYTES = 16 << 20
_BLOCK_BYTES = 8 << 20
_PARSED_BYTES = 1 << 20
_WINDOW_BYTES = 1 << 16
_LONGEST_QUOTE_BYTES = 16 << 20
# Of these one stands for a delimiter that Arrow does not take; not tab, line ends or what else text may well hold.
_SPARE = bytes([*range(1, 9), *range(14, 32)])


def plan(table: TextTable, file: InputFile) -> list[Range]:
    """Cuts a file into ranges of about `RANGE_BYTES`."""
    _check_delimiter(table)
    columns, begin = _columns(table, file)
    return byte_ranges(table, file, columns, begin, table.delimiter.encode(table.encoding) if quotes(table) else None)


def quotes(table: TextTable) -> bool:
    """Whether double quotes protect delimiters and line ends."""
    return table.quoting and len(table.delimiter) == 1


def byte_ranges(table: Table, file: InputFile, columns: tuple[str, ...], begin: int, quoted: bytes | None = None) -> list[Range]:
    """Returns ranges of whole lines; a packed file, whose size is unknown, is one.

    Args:
        table: What the spec says.
        file: The file.
        columns: Their names.
        begin: Bytes before the first row.
        quoted: The delimiter, where line ends between quotes belong to a value.
    """
    stored = file.stored or file.path
    whole = Range(file.path, stored, 0, begin, None, 0, columns, table)
    if file.stored is None and is_packed(file.path):
        return [whole]
    cuts = _cuts(stored, file.size, begin, len(columns), quoted)
    bounds = zip([begin, *cuts], [*cuts, file.size], strict=True)
    return [replace(whole, begin=start, end=end, size=end - start) for start, end in bounds]


def _check_delimiter(table: TextTable) -> None:
    bad = {'"', "\n", "\r"} & set(table.delimiter)
    if bad:
        raise ColonnadeError(f"delimiter should be other characters than a quote or a line end. Received: {table.delimiter!r}.")


def _columns(table: TextTable, file: InputFile) -> tuple[tuple[str, ...], int]:
    """Returns the names of the columns and the number of bytes before the first row."""
    if not table.header:
        if table.columns is None:
            raise ColonnadeError(f"The table of {file.base_name!r} has no header: name its `columns` in the spec.")
        return table.columns, 0
    with opened(file.stored or file.path) as stream:
        line = stream.readline()
    text = line.removeprefix(b"\xef\xbb\xbf").decode(table.encoding, errors="replace").rstrip("\r\n")
    names = text.split(table.delimiter)
    if quotes(table):
        try:
            names = next(csv.reader([text], delimiter=table.delimiter, strict=True), [])
        except csv.Error as error:
            raise ColonnadeError(
                f"Input {file.path!r} cannot be read as text: its first line is no header. Give text with paired quotes, "
                "whose lines end with LF or CR LF."
            ) from error
    if not text.strip():
        raise ColonnadeError(f"Input {file.path!r} has no header: its first line is blank. Name the columns there, or set `header: false`.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice and table.columns is None:
        raise ColonnadeError(f"Input {file.path!r} has several columns of the same name: {', '.join(map(repr, twice))}. Rename them.")
    if table.columns is not None and len(table.columns) != len(names):
        raise ColonnadeError(
            f"Input {file.path!r} has {len(names)} columns in its header, the spec names {len(table.columns)}: {', '.join(table.columns)}. "
            f"Correct `columns` or `delimiter` (now {table.delimiter!r})."
        )
    return table.columns or tuple(names), len(line)


def _cuts(path: str, size: int, begin: int, width: int, quoted: bytes | None) -> list[int]:
    """Returns the offsets, at line ends outside quotes, at which the file is cut."""
    wanted = list(range(begin + RANGE_BYTES, size, RANGE_BYTES))
    cuts: list[int] = []
    if not wanted:
        return cuts
    with opened(path) as stream:
        stream.seek(begin)
        position, inside = begin, False
        for offset in wanted:
            # A very long row may reach beyond the next cut.
            if offset < position:
                continue
            # Only an even number of quotes before it makes a line end the end of a row.
            while quoted and position < offset and (block := stream.read(min(_BLOCK_BYTES, offset - position))):
                position, inside = position + len(block), inside ^ bool(block.count(b'"') % 2)
            stream.seek(offset)
            if quoted and (b'"' in (window := stream.read(_WINDOW_BYTES)) or inside):
                # Unless a stray quote has turned them around: rows tell.
                shares = [share_of_rows(window, begins_inside, width, quoted) for begins_inside in (False, True)]
                inside ^= shares[not inside] > max(0.5, shares[inside])
            stream.seek(offset)
            position = offset
            while line := stream.readline():
                position += len(line)
                inside ^= quoted is not None and bool(line.count(b'"') % 2)
                # A quote that is still open this far on never closes; `read` takes the rows behind it one by one.
                inside = inside and position - offset < _LONGEST_QUOTE_BYTES
                if not inside:
                    break
            if position < size:
                cuts.append(position)
    return cuts


def read_bytes(source: Range) -> bytes:
    """Returns the bytes of a range.

    Raises:
        ColonnadeError: They are not there any more.
    """
    with opened(source.stored) as stream:
        if source.end is None:
            return stream.read()[source.begin :]
        stream.seek(source.begin)
        data = stream.read(source.end - source.begin)
    if len(data) != source.end - source.begin:
        raise became_shorter(source)
    return data


def became_shorter(source: Range) -> ColonnadeError:
    """Returns the error that a file has changed since it was cut."""
    return ColonnadeError(f"Input {source.path!r} has become shorter while it was read. Wait until it is complete, then start again.")


def read(source: Range, wanted: Sequence[str]) -> ParsedRange:
    """Parses the columns `wanted` of a range."""
    table = typing.cast("TextTable", source.table)
    quoting = quotes(table)
    data = read_bytes(source)
    if table.encoding == "latin-1" and not data.isascii():
        data = data.decode("latin-1").encode()
    delimiter = table.delimiter.encode()
    starts: np.ndarray | None = None
    ragged: dict[int, str] = {}
    parsed = _by_arrow(data, delimiter, quoting, source.columns, wanted, ragged)
    if parsed is None:
        parsed, ragged, starts = _by_line(data, delimiter, quoting, source.columns, wanted)

    def places(numbers: Sequence[int]) -> Iterator[tuple[int, str]]:
        return _places(source, data, row_starts(data, quoting) if starts is None else starts, numbers)

    return ParsedRange(source, parsed, ragged, places)


def _by_arrow(
    data: bytes, delimiter: bytes, quoting: bool, columns: Sequence[str], wanted: Sequence[str], ragged: dict[int, str]
) -> pa.Table | None:
    """Parses text; None where Arrow gives up, or takes what follows a stray quote for one value."""
    if not data[:1].strip(b"\r\n") and not data.strip(b"\r\n"):
        return pa.table({name: pa.array([], pa.binary()) for name in wanted})
    separator = delimiter
    if len(delimiter) > 1:
        unused = [spare for spare in _SPARE if spare not in data]
        if not unused:
            return None
        separator = bytes(unused[:1])
    # Without a quote in it, text parses three times as fast as text that might have one.
    quoting = quoting and b'"' in data
    doubtful = quoting and data.count(b'"') % 2 == 1

    def set_aside(row: pa_csv.InvalidRow) -> str:
        nonlocal doubtful
        doubtful |= quoting and '"' in row.text
        ragged[row.number - 1] = f"expected {row.expected_columns} values, received {row.actual_columns}"
        return "skip"

    # Names are replaced by numbers: a header may leave one empty.
    names = [str(i) for i in range(len(columns))]
    places = [columns.index(name) for name in wanted]
    text = data if separator == delimiter else data.replace(delimiter, separator)

    def parsed(block_bytes: int) -> pa.Table:
        return pa_csv.read_csv(
            pa.BufferReader(text),
            # One thread: otherwise Arrow gives no row numbers.
            read_options=pa_csv.ReadOptions(use_threads=False, block_size=block_bytes, column_names=names),
            parse_options=pa_csv.ParseOptions(
                delimiter=separator.decode(),
                quote_char='"' if quoting else False,
                newlines_in_values=quoting,
                invalid_row_handler=set_aside if is_utf8(data) else None,
            ),
            convert_options=pa_csv.ConvertOptions(
                check_utf8=False,
                column_types={name: pa.binary() for name in names},
                strings_can_be_null=False,
                include_columns=[names[place] for place in places],
            ),
        )

    try:
        try:
            # Small blocks stay in the cache.
            table = parsed(len(text) + 1 if quoting else min(_PARSED_BYTES, len(text) + 1))
        except pa.ArrowInvalid:
            if quoting or len(text) < _PARSED_BYTES:
                raise
            # A row longer than a block.
            ragged.clear()
            table = parsed(len(text) + 1)
    except pa.ArrowInvalid:
        return None
    if doubtful:
        return None
    if quoting and b'"' in data:
        starts = row_starts(data, quoting=True)
        if table.num_rows + len(ragged) != len(starts) or is_doubtful(data, starts, len(columns), delimiter):
            return None
        if separator != delimiter:
            table = pa.table([pc.replace_substring(column, separator, delimiter) for column in table.columns], names=table.column_names)
    return table.rename_columns(list(wanted))


def _by_line(
    data: bytes, delimiter: bytes, quoting: bool, columns: Sequence[str], wanted: Sequence[str]
) -> tuple[pa.Table, dict[int, str], np.ndarray]:
    """Parses text line by line; returns the rows, the others with the reason, and where each begins."""
    places = [columns.index(name) for name in wanted]
    cells: list[list[bytes]] = [[] for _ in wanted]
    ragged: dict[int, str] = {}
    lines = split_rows(data, len(columns), delimiter, quoting=quoting)
    for number, line in enumerate(lines):
        if isinstance(line.values, str):
            ragged[number] = line.values
        else:
            for column, place in zip(cells, places, strict=True):
                column.append(line.values[place])
    table = pa.table({name: pa.array(column, pa.binary()) for name, column in zip(wanted, cells, strict=True)})
    return table, ragged, np.array([line.offset for line in lines], np.int64)


def _places(source: Range, data: bytes, starts: np.ndarray, numbers: Sequence[int]) -> Iterator[tuple[int, str]]:
    line, counted = lines_before(source) + 1, 0
    ends = np.append(starts[1:], len(data))
    for number in numbers:
        start = int(starts[number])
        line, counted = line + data.count(b"\n", counted, start), start
        yield line, data[start : int(ends[number])].rstrip(b"\r\n").decode("utf-8", errors="replace")


def lines_before(source: Range) -> int:
    """Counts the lines of the file before the range; only asked when a row is set aside."""
    lines, left = 0, source.begin
    with opened(source.stored) as stream:
        while left and (block := stream.read(min(_BLOCK_BYTES, left))):
            lines, left = lines + block.count(b"\n"), left - len(block)
    return lines
