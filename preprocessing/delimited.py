"""Delimited text that Arrow cannot read, row by row: the job and serving have to agree on what is a row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import NamedTuple


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


def parse_odd(row: bytes, expected: int, delimiter: str, *, quoting: bool = True) -> Iterator[Line]:
    """Reads one row of `expected` values, or several where line ends between quotes make no sense as part of a value.

    With a stray quote it is anyone's guess which line ends belong to a value: what is not one row of several lines is taken as several
    rows. Blank lines are none.
    """
    whole = _values(row, expected, delimiter, quoting)
    if b"\n" not in row or not isinstance(whole, str):
        yield Line(0, row, whole)
        return
    offset = 0
    for part in row.split(b"\n"):
        line = part.removesuffix(b"\r")
        if line:
            yield Line(offset, line, _values(line, expected, delimiter, quoting))
        offset += len(part) + 1


def _values(row: bytes, expected: int, delimiter: str, quoting: bool) -> list[bytes] | str:
    """Returns the values of a row, or the reason why it is none."""
    text = io.StringIO(row.decode(errors="surrogateescape"), newline="")
    try:
        records = list(csv.reader(text, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE, strict=True))
    except csv.Error as error:
        return f"broken quotes: {error}"
    if len(records) != 1:
        return f"expected one row, received {len(records)}"
    if len(records[0]) != expected:
        return f"expected {expected} values, received {len(records[0])}"
    return [value.encode(errors="surrogateescape") for value in records[0]]
