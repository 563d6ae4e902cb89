"""Delimited text: blocks of it to columns of bytes; what is no row of the right width is set aside."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from feature_specs.errors import ColonnadeError
from feature_specs.sources import TextTable
from preprocessing.delimited import is_doubtful, is_utf8, split_rows
from serving.rejects import Rejects
from serving.text import Block

_OTHER_DELIMITERS = ";\t|,"  # of spreadsheets set to other languages, for one
# Of these one stands for a delimiter that Arrow does not take.
_SPARE = bytes([*range(1, 9), *range(14, 32)])
# Rows that tell whether a file comes without its labels.
_LOOKED_AT = 20


def header(path: Path, row: bytes, usual: str) -> tuple[list[str], str]:
    """Returns the names in the first row of a file, and their delimiter: another one than usual where that does not cut the row.

    Raises:
        ColonnadeError: It is no text, or repeats a name.
    """
    names: list[str] = []
    found, problem = usual, ""
    for delimiter in usual + _OTHER_DELIMITERS:
        try:
            cut = next(csv.reader([row.decode()], delimiter=delimiter, strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            problem = problem or str(error)
            continue
        if len(cut) > len(names):
            names, found = cut, delimiter
        if delimiter == usual and len(cut) > 1:
            break
    if not names:
        raise ColonnadeError(f"Input file {str(path)!r} cannot be read: its first line is no header in UTF-8 ({problem}).")
    return unique(path, names), found


def without_blanks(
    path: Path, rows: list[bytes], names: list[str], delimiter: str, quoting: bool, known: Collection[str], hint: str
) -> tuple[list[str], str, bool]:
    """Returns the names of a file's columns, its delimiter and whether quotes protect: with ", " for a delimiter, such as UCI's files have.

    Where blanks keep no name of the header from being `known`, all are returned as they are.

    Args:
        path: Of the file, for messages.
        rows: The first block, with its header.
        names: What the header says.
        delimiter: That cuts it.
        quoting: Whether double quotes protect delimiters and line ends.
        known: Names that columns of features have.
        hint: How else the file may be read, for messages.

    Raises:
        ColonnadeError: Blanks hide columns of features, and it is not plain what else they are part of.
    """
    bare = [name.strip().strip('"') for name in names]
    if len(set(known).intersection(bare)) <= len(set(known).intersection(names)):
        return names, delimiter, quoting
    texts = [row.decode(errors="replace") for row in rows[:_LOOKED_AT]]
    if not any('"' in text for text in texts):
        cut = [text.split(f"{delimiter} ") for text in texts]
        if cut[0] == bare and 2 * sum(len(values) == len(bare) for values in cut) > len(cut):
            return unique(path, bare), f"{delimiter} ", False
        if not any(f"{delimiter} " in text or f" {delimiter}" in text for text in texts[1:]):
            return unique(path, bare), delimiter, quoting
    raise ColonnadeError(
        f"Input file {str(path)!r} has blanks or quotes around the names of columns: {', '.join(map(repr, names[:20]))}. "
        f"Write each right beside its delimiter {delimiter!r}, and the values too.{hint}"
    )


def is_quoted(layout: TextTable) -> bool:
    """Whether double quotes protect delimiters and line ends."""
    return layout.quoting and len(layout.delimiter) == 1


def source_columns(path: Path, rows: list[bytes], layout: TextTable, label: str | None) -> list[str]:
    """Returns the names of the columns of a file in the layout of a data set's own rows; the label's may be absent.

    Args:
        path: Of the file, for messages.
        rows: The first block, with its header where the layout has one.
        layout: What the spec says.
        label: Column of the label.

    Raises:
        ColonnadeError: The header has other columns, or repeats one.
    """
    cut = [_cut(row, layout) for row in rows[:_LOOKED_AT]]
    if layout.columns is None:
        return unique(path, cut[0])
    names = list(layout.columns)
    widths = [len(values) for values in cut]
    if label in names and widths.count(len(names) - 1) > widths.count(len(names)):
        names.remove(label)
    if layout.header and widths[0] != len(names):
        raise ColonnadeError(
            f"Input file {str(path)!r} has {widths[0]} columns in its header, the data set's own files have {len(names)}: "
            f"{', '.join(names)}, separated by {layout.delimiter!r}. Without --source_layout, its own header counts."
        )
    return names


def _cut(row: bytes, layout: TextTable) -> list[str]:
    text = row.decode(errors="replace")
    return next(csv.reader([text], delimiter=layout.delimiter), []) if is_quoted(layout) else text.split(layout.delimiter)


def unique(path: Path, names: list[str]) -> list[str]:
    """Returns the names of a file's columns.

    Raises:
        ColonnadeError: One of them is repeated.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ColonnadeError(f"Input file {str(path)!r} has several columns of the same name: {', '.join(map(repr, twice))}. Rename them.")
    return names


def parse(
    path: Path, block: Block, names: list[str], delimiter: str, rejects: Rejects, quoting: bool = True
) -> tuple[pa.Table, NDArray[np.int64]]:
    """Returns the well-formed rows of a block as columns of bytes, and the number of the line of each; the others are set aside."""
    invalid: dict[int, tuple[int, str]] = {}
    separator, data = delimiter, block.data
    if len(delimiter.encode()) > 1:
        unused = [chr(spare) for spare in _SPARE if spare not in data]
        if quoting or not unused:
            return _parse_odd_csv(path, block, names, delimiter, rejects, quoting)
        separator, data = unused[0], data.replace(delimiter.encode(), unused[0].encode())

    def set_aside(row: pa_csv.InvalidRow) -> str:
        invalid[row.number - 1] = (row.actual_columns, row.text.replace(separator, delimiter))
        return "skip"

    handler = set_aside if is_utf8(block.data) else None
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(data),
            read_options=pa_csv.ReadOptions(column_names=names, use_threads=False, block_size=len(data) + 1),
            parse_options=pa_csv.ParseOptions(
                delimiter=separator, quote_char='"' if quoting else False, newlines_in_values=quoting, invalid_row_handler=handler
            ),
            convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.binary()), strings_can_be_null=False),
        )
    except pa.ArrowInvalid:
        return _parse_odd_csv(path, block, names, delimiter, rejects, quoting)
    if table.num_rows + len(invalid) != len(block.starts) or (quoting and any('"' in text for _, text in invalid.values())):
        return _parse_odd_csv(path, block, names, delimiter, rejects, quoting)
    if quoting and b'"' in block.data and is_doubtful(block.data, block.starts, len(names), delimiter.encode()):
        return _parse_odd_csv(path, block, names, delimiter, rejects, quoting)
    for number, (received, text) in invalid.items():
        rejects.add(path, int(block.lines[number]), f"expected {len(names)} values, received {received}", text)
    return table, np.delete(block.lines, list(invalid))


def _parse_odd_csv(
    path: Path, block: Block, names: list[str], delimiter: str, rejects: Rejects, quoting: bool
) -> tuple[pa.Table, NDArray[np.int64]]:
    """Reads a block that Arrow cannot, line by line."""
    rows, lines = [], []
    first = int(block.starts[0])
    number, counted = int(block.lines[0]) - block.data.count(b"\n", 0, first), 0
    for line in split_rows(block.data, len(names), delimiter.encode(), quoting=quoting):
        number, counted = number + block.data.count(b"\n", counted, line.offset), line.offset
        if isinstance(line.values, str):
            rejects.add(path, number, line.values, line.data.decode(errors="replace"))
        else:
            rows.append(line.values)
            lines.append(number)
    columns = [pa.array([row[i] for row in rows], pa.binary()) for i in range(len(names))]
    return pa.Table.from_arrays(columns, names=names), np.array(lines, np.int64)
