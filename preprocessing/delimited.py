"""Delimited text that Arrow cannot be trusted with, line by line: the job and serving have to agree on what is a row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

_LF, _CR, _QUOTE = 10, 13, 34
_UNCLOSED = "unexpected end of data"
# How much of what a value of several lines looks like has to be chance before it is taken as rows between two stray quotes.
_COINCIDENCES = 3
# So many rows tell whether text begins inside quotes; of a line with more quotes nobody knows which one is astray.
_LOOKED_AT = 20
# A value may be long; the limit of Python's csv module is for the whole process.
csv.field_size_limit(1 << 30)


class Line(NamedTuple):
    """What became of a piece of text: its offset in the text, its bytes, and its values or the reason why it is no row."""

    offset: int
    data: bytes
    values: list[bytes] | str


def is_utf8(data: bytes) -> bool:
    """Whether Arrow may hand a row of `data` to Python: it fails, and complains, where that is not UTF-8."""
    try:
        return data.isascii() or bool(data.decode())
    except UnicodeDecodeError:
        return False


def line_starts(data: bytes) -> np.ndarray:
    """Returns the offset of each line, blank ones included; a line ends with LF, CR LF or CR."""
    array = np.frombuffer(data, dtype=np.uint8)
    # Most files have no carriage return at all.
    is_end = array == _LF if b"\r" not in data else (array == _LF) | ((array == _CR) & (np.append(array[1:], 0) != _LF))
    starts = np.append(0, np.flatnonzero(is_end) + 1)
    return starts[starts < len(array)]


def row_starts(data: bytes, quoting: bool) -> np.ndarray:
    """Returns the offset of each row that is not blank: the begin, and what follows each line end outside quotes."""
    starts = line_starts(data)
    array = np.frombuffer(data, dtype=np.uint8)
    if quoting and b'"' in data:
        # A doubled quote inside quotes changes the count by two, which is as good as nothing.
        starts = starts[np.searchsorted(np.flatnonzero(array == _QUOTE), starts) % 2 == 0]
    blank = (array[starts] == _LF) | (array[starts] == _CR)
    return starts[~blank]


def share_of_rows(data: bytes, inside: bool, expected: int, delimiter: bytes) -> float:
    """Returns which share of some rows in the middle of a file have `expected` values, if the text begins inside quotes or not."""
    data = b'"' + data if inside else data
    starts = row_starts(data, quoting=True).tolist()
    # The first and the last one are not complete.
    rows = [data[begin:end].rstrip(b"\r\n") for begin, end in zip(starts[1:_LOOKED_AT], starts[2 : _LOOKED_AT + 1], strict=False)]
    return sum(_is_row(row, expected, delimiter) for row in rows) / max(len(rows), 1)


def is_doubtful(data: bytes, starts: np.ndarray, expected: int, delimiter: bytes) -> bool:
    """Whether rows of several lines may be made of rows that stray quotes have joined.

    That is so if the quotes of one are not as they should be, or if more of them look like joined rows than like values with line ends.

    Args:
        data: Whole rows.
        starts: Where each begins, by their quotes.
        expected: Values a row.
        delimiter: Between them.
    """
    ends = np.append(starts[1:], len(data))
    lines = line_starts(data)
    several = np.searchsorted(lines, ends) - np.searchsorted(lines, starts) > 1
    rows = (data[begin:end].rstrip(b"\r\n") for begin, end in zip(starts[several].tolist(), ends[several].tolist(), strict=True))
    merged = count = 0
    for row in rows:
        if b"\n" in row or b"\r" in row:
            if not _is_row(row, expected, delimiter):
                return True
            merged, count = merged + _is_merged(row, expected, delimiter), count + 1
    return 2 * merged > count


def split_rows(data: bytes, expected: int, delimiter: bytes, *, quoting: bool = True) -> list[Line]:
    """Reads rows of `expected` values from text that may be broken anywhere.

    A row is one line, or the lines that a value between quotes reaches over. What is neither costs one line: reading goes on behind it.
    Where most rows of several lines look like single rows between two stray quotes, those are taken line by line as well. Blank lines
    are no rows.
    """
    rows = list(_rows(data, expected, delimiter, quoting, keep_merged=True))
    several = [row for row in rows if not isinstance(row.values, str) and (b"\n" in row.data or b"\r" in row.data)]
    if 2 * sum(_is_merged(row.data, expected, delimiter) for row in several) > len(several):
        rows = list(_rows(data, expected, delimiter, quoting, keep_merged=False))
    return rows


def _rows(data: bytes, expected: int, delimiter: bytes, quoting: bool, keep_merged: bool) -> Iterator[Line]:
    starts = line_starts(data)
    bounds = [*starts.tolist(), len(data)]
    number = 0
    while number < len(starts):
        begin = bounds[number]
        line = data[begin : bounds[number + 1]].rstrip(b"\r\n")
        number += 1
        if not line:
            continue
        values = _values(line, expected, delimiter, quoting)
        # A quote that is still open may be closed on a later line; what is behind that decides whether it is.
        end = begin + len(line)
        while values == _UNCLOSED:
            end = _next_line_with_a_closing_quote(data, end, starts, bounds)
            if end < 0:
                break
            whole = data[begin:end].rstrip(b"\r\n")
            values = _values(whole, expected, delimiter, quoting)
            if not isinstance(values, str) and (keep_merged or not _is_merged(whole, expected, delimiter)):
                line, number = whole, int(np.searchsorted(starts, end))
            elif values != _UNCLOSED:
                values = _UNCLOSED
                break
        yield Line(begin, line, "broken quotes: a quote is not closed" if values == _UNCLOSED else values)


def _next_line_with_a_closing_quote(data: bytes, position: int, starts: np.ndarray, bounds: list[int]) -> int:
    """Returns where the line ends that holds the next quote that is not doubled; -1 where there is none."""
    while (quote := data.find(b'"', position)) >= 0:
        position = quote
        while position < len(data) and data[position] == _QUOTE:
            position += 1
        if (position - quote) % 2:
            return bounds[int(np.searchsorted(starts, quote, side="right"))]
    return -1


def _is_merged(row: bytes, expected: int, delimiter: bytes) -> bool:
    """Whether each line of a row would be a row by itself, but for the quote that begins or ends the value of several lines.

    Where there are many, the lines between say enough.
    """
    lines = [line for line in row.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n") if line]
    if (len(lines) - 1) * (expected - 1) < _COINCIDENCES:
        return False
    if not all(_is_row(line, expected, delimiter) for line in lines[1:-1]):
        return False
    if (len(lines) - 2) * (expected - 1) >= 2 * _COINCIDENCES:
        return True
    first = [line for line in _without_a_quote(lines[0]) if _is_row(line, expected, delimiter)]
    # The quote that closes may be the one that opens a value of the last line.
    return bool(first) and any(_is_row(line, expected, delimiter) for line in (lines[-1], *_without_a_quote(lines[-1])))


def _without_a_quote(line: bytes) -> list[bytes]:
    places = [place for place, byte in enumerate(line) if byte == _QUOTE] if line.count(b'"') <= _LOOKED_AT else []
    return [line[:place] + line[place + 1 :] for place in places]


def _is_row(line: bytes, expected: int, delimiter: bytes) -> bool:
    return not isinstance(_values(line, expected, delimiter, quoting=True), str)


def _values(row: bytes, expected: int, delimiter: bytes, quoting: bool) -> list[bytes] | str:
    """Returns the values of a row, or the reason why it is none."""
    if not quoting or b'"' not in row:
        values = row.split(delimiter)
        return values if len(values) == expected else f"expected {expected} values, received {len(values)}"
    text = io.StringIO(row.decode(errors="surrogateescape"), newline="")
    try:
        records = list(csv.reader(text, delimiter=delimiter.decode(), strict=True))
    except csv.Error as error:
        return _UNCLOSED if str(error) == _UNCLOSED else f"broken quotes: {error}"
    if len(records) != 1:
        return "broken quotes: a line end outside of them"
    if len(records[0]) != expected:
        return f"expected {expected} values, received {len(records[0])}"
    return [value.encode(errors="surrogateescape") for value in records[0]]
