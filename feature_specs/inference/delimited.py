"""Delimited text whose delimiter, quoting, encoding and header nobody has told."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Literal

from feature_specs.errors import ColonnadeError, did_you_mean
from feature_specs.sources import TextTable

NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", re.ASCII)
_DELIMITERS = ("::", "\t", ",", ";", "|", "\x01", " ")
_SNIFFED_ROWS = 200
_LONGEST_ROW_LINES = 1000


@dataclass(frozen=True)
class TextOptions:
    """What the user says of text files.

    Attributes:
        delimiter: Sniffed where not given.
        columns: Names, where the files have no header.
        wanted: Columns that have to be there, such as the label's: a first line that has them is a header.
    """

    delimiter: str | None = None
    columns: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()


@dataclass
class TextSample:
    """Columns of a text file, and how they were read; `used` is in bytes."""

    table: TextTable
    columns: dict[str, list[str]]
    rows: int
    skipped: int
    used: int
    remarks: list[str] = field(default_factory=list)


def read(name: str, data: bytes, rows: int, options: TextOptions) -> TextSample:
    """Reads up to `rows` rows (0: all) of the text `data` of the file called `name`.

    Raises:
        ColonnadeError: It has no header and no names are given, one column, or no rows.
    """
    remarks: list[str] = []
    encoding = _encoding(data, remarks)
    text = data.removeprefix(b"\xef\xbb\xbf").decode(encoding, errors="replace")
    delimiter = options.delimiter or _sniff(name, text)
    quoting = len(delimiter) == 1 and _is_quoted(text, delimiter)
    records = _records(text, delimiter, quoting)
    first = next(records, [])
    if len(first) < 2:
        raise ColonnadeError(
            f"{name!r} has one column when read with delimiter {delimiter!r}: {_short(first)}. Say which one it is: --delimiter ';'"
        )
    header, names = _header(name, first, options, remarks)
    body = list(islice(records, rows or None) if header else islice(chain([first], records), rows or None))
    sound = [row for row in body if len(row) == len(names)]
    skipped = len(body) - len(sound)
    if skipped > len(body) / 2:
        raise ColonnadeError(
            f"{name!r}: {skipped:,} of {len(body):,} rows do not have the {len(names)} values of the {'header' if header else 'columns'}, "
            f"read with delimiter {delimiter!r}. Say which one it is: --delimiter ';'"
        )
    kept = (names != first or len(set(names)) < len(names)) if header else True
    table = TextTable(delimiter=delimiter, header=header, columns=tuple(names) if kept else None, quoting=quoting, encoding=encoding)
    # Whatever the records have not consumed was not read; a full reading has used everything.
    used = len(data) if next(records, None) is None else round(len(data) * _share_used(body, text, len(delimiter)))
    values = zip(*sound, strict=True) if sound else ([] for _ in names)
    return TextSample(table, {n: list(v) for n, v in zip(names, values, strict=True)}, len(sound), skipped, used, remarks)


def _share_used(rows: Sequence[Sequence[str]], text: str, delimiter_length: int) -> float:
    used = sum(sum(map(len, row)) + (len(row) - 1) * delimiter_length + 1 for row in rows)
    return min(0.999, used / len(text))


def _encoding(data: bytes, remarks: list[str]) -> Literal["utf-8", "latin-1"]:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":  # the sample ends inside a character
            return "utf-8"
        text = data.decode(errors="replace")
        sound = sum(character > "\x7f" for character in text.replace("\ufffd", ""))
        if sound >= text.count("\ufffd"):
            remarks.append("Some text is broken UTF-8; its bytes are kept as they are.")
            return "utf-8"
        remarks.append("The text is not UTF-8; it is read as latin-1.")
        return "latin-1"
    return "utf-8"


def _lines(text: str) -> Iterator[str]:
    return (line for line in io.StringIO(text, newline="") if line.strip("\r\n"))


def _records(text: str, delimiter: str, quoting: bool) -> Iterator[list[str]]:
    """Yields the values of each row; of a row whose quotes do not close, those of its first line."""
    csv.field_size_limit(1 << 30)
    if not quoting:
        for line in _lines(text):
            yield line.rstrip("\r\n").split(delimiter)
        return
    pending: list[str] = []
    is_open = False
    for line in _lines(text):
        pending.append(line)
        is_open ^= line.count('"') % 2 == 1
        if is_open and len(pending) < _LONGEST_ROW_LINES:
            continue
        yield from (_cut(row, delimiter) for row in pending) if is_open else _row(pending, delimiter)
        pending.clear()
        is_open = False
    yield from (_cut(row, delimiter) for row in pending)


def _row(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Returns the one row that lines with evenly many quotes make; a row each where the quotes enclose no line end (5" and 7")."""
    try:
        return [_cut("".join(lines), delimiter)]
    except csv.Error:
        return [_cut(line, delimiter) for line in lines]


def _cut(row: str, delimiter: str) -> list[str]:
    return next(csv.reader([row.rstrip("\r\n")], delimiter=delimiter), [])


def _sniff(name: str, text: str) -> str:
    """Returns the delimiter that cuts the first rows into the same number of values, two at least."""
    lines = [line.rstrip("\r\n") for line in islice(_lines(text), _SNIFFED_ROWS)]
    if not lines:
        raise ColonnadeError(f"{name!r} has no line with text. Give a file with rows.")
    best, best_score = "", 0.0
    for delimiter in (delimiter for delimiter in _DELIMITERS if delimiter in lines[0]):
        quoting = len(delimiter) == 1
        counts = Counter(len(row) for row in islice(_records("\n".join(lines), delimiter, quoting), _SNIFFED_ROWS))
        (width, agreeing) = max(counts.items(), key=lambda item: (item[0] > 1, item[1], item[0]))
        # A blank inside values is common: it only wins where nothing else cuts every row alike.
        score = agreeing / counts.total() * (0.5 if delimiter == " " else 1.0) if width > 1 else 0.0
        if score > best_score + 1e-9:
            best, best_score = delimiter, score
    if not best:
        raise ColonnadeError(
            f"{name!r} has one column: no delimiter of {', '.join(map(repr, _DELIMITERS))} cuts its first line {_short(lines[:1])}. A spec "
            "needs a label and at least one feature; say --delimiter where it is another one."
        )
    if best == "," and _blank_follows(lines):
        return ", "
    return best


def _blank_follows(lines: Sequence[str]) -> bool:
    """Whether every comma is followed by a blank, as in the files of the UCI repository."""
    commas = sum(line.count(",") for line in lines)
    return sum(line.count(", ") for line in lines) > 0.98 * commas and not any('"' in line for line in lines)


def _is_quoted(text: str, delimiter: str) -> bool:
    """Whether quotes protect delimiters; they do not where reading them so makes more rows uneven."""
    if '"' not in text:
        return True
    head = text[: 1 << 20]
    uneven = []
    for quoting in (True, False):
        counts = Counter(len(row) for row in _records(head, delimiter, quoting))
        uneven.append(counts.total() - max(counts.values(), default=0))
    # One stray quote among many sound ones makes a row or two uneven.
    return uneven[0] <= uneven[1] + max(1, 0.01 * head.count("\n"))


def _header(name: str, first: list[str], options: TextOptions, remarks: list[str]) -> tuple[bool, list[str]]:
    """Returns whether the first line names the columns, and the names."""
    if options.columns:
        if len(options.columns) != len(first):
            raise ColonnadeError(f"{name!r} has {len(first)} columns, --columns names {len(options.columns)}. Name each, in order.")
        return first == list(options.columns), list(options.columns)
    if not set(options.wanted) & set(first):
        if any(NUMBER.fullmatch(value) for value in first) or len(set(first)) < len(first):
            raise ColonnadeError(
                f"{name!r} seems to have no header: its first line is {_short(first)}. Name its {len(first)} columns: "
                "--columns NAME NAME ..."
            )
        missing = options.wanted[0] if options.wanted else ""
        if missing:
            raise ColonnadeError(f"{name!r} has no column {missing!r}.{did_you_mean(missing, first)} It has: {', '.join(first)}.")
    names: list[str] = []
    for place, given in enumerate(first, 1):
        unique, number = given or f"column_{place}", 2
        while unique in names:
            unique, number = f"{given or f'column_{place}'}_{number}", number + 1
        names.append(unique)
    if names != first:
        remarks.append("The header repeats a name or leaves one empty: `columns` names all of them.")
    return True, names


def _short(values: Sequence[str]) -> str:
    shown = ", ".join(repr(value[:40]) for value in values[:8])
    return shown + (", ..." if len(values) > 8 else "")
