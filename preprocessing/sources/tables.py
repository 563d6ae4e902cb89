"""Tables of any format, behind two functions: `plan` cuts files into ranges, `read` parses one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_specs import ColonnadeError
from feature_specs.sources import Table
from preprocessing.sources.ranges import ParsedRange, Range
from preprocessing.sources.streams import SUFFIXES, InputFile, opened
from preprocessing.sources.values import shaped

# What no one means as a value; it would also end up in vocabularies and messages.
LONGEST_VALUE_BYTES = 1 << 20
_MODULES = {"text": "text", "json_lines": "json_lines", "parquet": "parquet", "tfrecord": "tfrecord"}
# Formats whose rows say themselves which columns they have.
_SPARSE = ("json_lines", "tfrecord")
_ENDINGS = {
    ".jsonl": "json_lines",
    ".ndjson": "json_lines",
    ".parquet": "parquet",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
    ".csv": "text",
    ".tsv": "text",
}


def plan(table: Table, files: Sequence[InputFile]) -> list[Range]:
    """Cuts the files of a table into ranges, numbered in file order.

    Raises:
        ColonnadeError: A file is not of the table's format, or cannot be read.
    """
    module = _module(table.format)
    ranges: list[Range] = []
    for file in files:
        _check_format(table, file)
        ranges += module.plan(table, file)
    # A column is of one type in all files; where rows name their columns themselves, each file has those of all.
    depths: dict[str, int] = {}
    for found in ranges:
        for name, depth in zip(found.columns, found.depths or (0,) * len(found.columns), strict=True):
            depths[name] = max(depth, depths.get(name, 0))
    everywhere = tuple(depths) if table.format in _SPARSE else None
    for index, found in enumerate(ranges):
        columns = everywhere or found.columns
        ranges[index] = replace(found, index=index, columns=columns, depths=tuple(depths[name] for name in columns))
    return ranges


def read(source: Range, wanted: Sequence[str]) -> ParsedRange:
    """Parses the columns `wanted` of a range; a column that it lacks is missing in every row.

    Raises:
        ColonnadeError: The file cannot be read any more, or is damaged so that nothing can be set aside.
    """
    has = [name for name in wanted if name in source.columns]
    # Some column has to say how many rows there are.
    parsed = _module(source.table.format).read(source, has or source.columns[:1])
    depths = dict(zip(source.columns, source.depths, strict=True))
    columns: dict[str, pa.Array] = {}
    reasons: dict[int, str] = {}
    for name in has:
        column, too_many = shaped(parsed.table[name].combine_chunks(), depths[name])
        columns[name] = column
        for row in np.flatnonzero(too_many).tolist():
            reasons.setdefault(row, f"column {name!r}: a list of several values; the first rows of the file have none there")
        _note_giants(name, column, reasons)
    rows = parsed.table.num_rows
    table = pa.table({name: columns[name] if name in columns else pa.nulls(rows, pa.binary()) for name in wanted})
    return _set_aside(replace(parsed, table=table), reasons)


def common_columns(ranges: Iterable[Range]) -> list[str]:
    """Returns the columns that all files of a table have, in the order of the first."""
    ranges = list(ranges)
    return [column for column in ranges[0].columns if all(column in other.columns for other in ranges)]


def _module(format_name: str) -> Any:  # noqa: ANN401 (a module with `plan` and `read`)
    # Loaded when needed: TFRecord brings TensorFlow along.
    return import_module(f"preprocessing.sources.{_MODULES[format_name]}")


def _check_format(table: Table, file: InputFile) -> None:
    """Refuses a file whose name or first bytes are those of another format."""
    name = file.base_name
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    with opened(file.stored or file.path) as stream:
        head = stream.read(4)
    looks = "parquet" if head == b"PAR1" else next((format_ for ending, format_ in _ENDINGS.items() if name.endswith(ending)), table.format)
    if looks != table.format:
        raise ColonnadeError(
            f"Input {file.path!r} looks like {looks}, but the spec's table is of format {table.format!r}. Say `format: {looks}` in the "
            "table of the spec, or give another file."
        )
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) and table.format in ("text", "json_lines"):
        raise ColonnadeError(f"Input {file.path!r} is text in UTF-16. Convert it to UTF-8.")


def _note_giants(name: str, column: pa.Array, reasons: dict[int, str]) -> None:
    """Notes the rows that hold a value which is longer than any that is meant."""
    row = np.arange(len(column))
    while pa.types.is_list(column.type):
        row = row[pc.list_parent_indices(column).to_numpy()]
        column = pc.list_flatten(column)
    lengths = pc.binary_length(column)
    if (pc.max(lengths).as_py() or 0) <= LONGEST_VALUE_BYTES:
        return
    for place in np.flatnonzero(pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False) > LONGEST_VALUE_BYTES).tolist():
        said = f"column {name!r}: a value of {lengths[place].as_py():,} bytes; expected at most {LONGEST_VALUE_BYTES:,}"
        reasons.setdefault(int(row[place]), said)


def _set_aside(parsed: ParsedRange, reasons: Mapping[int, str]) -> ParsedRange:
    """Moves rows, by their place in the table, to those that are none."""
    if not reasons:
        return parsed
    numbers = parsed.numbers()
    kept = np.ones(parsed.table.num_rows, bool)
    kept[list(reasons)] = False
    ragged = {**parsed.ragged, **{int(numbers[row]): reason for row, reason in reasons.items()}}
    return replace(parsed, table=parsed.table.filter(pa.array(kept)), ragged=ragged)
