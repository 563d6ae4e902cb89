"""JSON lines: one object a line, cut in byte ranges like text.

Arrow parses a range in one step; only where it gives up (broken lines, a key of several types, integers beyond 53 bits) each line is parsed
by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as pa_json

from feature_specs import ColonnadeError, JsonLinesTable
from preprocessing.delimited import is_utf8
from preprocessing.sources.ranges import ParsedRange, Range
from preprocessing.sources.streams import InputFile, opened
from preprocessing.sources.text import byte_ranges, lines_before, read_bytes
from preprocessing.sources.values import as_text, text_form

# Keys that first appear behind this many bytes of a file are not seen.
SAMPLE_BYTES = 8 << 20
_FEW = 0.01
_LF, _CR, _OPEN, _CLOSE = b"\n\r{}"
_BLANK = np.isin(np.arange(256), list(b" \t\r\n"))


def plan(table: JsonLinesTable, file: InputFile) -> list[Range]:
    """Cuts a file into ranges; its columns are the keys of the rows in its first megabytes."""
    with opened(file.stored or file.path) as stream:
        sample = stream.read(SAMPLE_BYTES)
        if len(sample) == SAMPLE_BYTES:
            sample += stream.readline()
    begin = 3 if sample.startswith(b"\xef\xbb\xbf") else 0
    # How many rows have a key, and lists, and lists of lists there.
    columns: dict[str, list[int]] = {}
    reason = "it has no rows"
    for line in sample[begin:].split(b"\n"):
        if line.strip():
            record = _record(line)
            if isinstance(record, str):
                reason = record
            else:
                for name, value in record.items():
                    depth = _depth(as_text(value)) if isinstance(value, list) else 0
                    counts = columns.setdefault(name, [0, 0, 0])
                    for i in range(depth + 1 if value is not None else 0):
                        counts[i] += 1
    if not columns:
        raise ColonnadeError(f"Input {file.path!r} cannot be read as JSON lines: {reason}. Give one JSON object a line.")
    # A few broken rows do not make lists of a column.
    depths = tuple(sum(count > _FEW * counts[0] for count in counts[1:]) for counts in columns.values())
    return [replace(found, depths=depths) for found in byte_ranges(table, file, tuple(columns), begin)]


def read(source: Range, wanted: Sequence[str]) -> ParsedRange:
    """Parses the keys `wanted` of a range."""
    data = read_bytes(source)
    starts, ends = _bounds(data)
    columns = _by_arrow(data, starts, ends, wanted)
    ragged: dict[int, str] = {}
    if columns is None:
        columns, ragged = _by_line(data, starts, ends, wanted)

    def places(numbers: Sequence[int]) -> Iterator[tuple[int, str]]:
        line, counted = lines_before(source) + 1, 0
        for number in numbers:
            start = int(starts[number])
            line, counted = line + data.count(b"\n", counted, start), start
            yield line, data[start : int(ends[number])].decode("utf-8", errors="replace")

    return ParsedRange(source, pa.table(columns), ragged, places)


def _bounds(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the text of each line that is not blank begins and ends, without line ends."""
    array = np.frombuffer(data, np.uint8)
    starts = np.append(0, np.flatnonzero(array == _LF) + 1)
    ends = np.append(starts[1:] - 1, len(array))
    ends -= (ends > starts) & (array[np.maximum(ends, 1) - 1] == _CR) if len(array) else 0
    # Only a line that begins with a blank may have nothing else.
    kept = ends > starts
    for place in np.flatnonzero(kept & _BLANK[array[np.minimum(starts, len(array) - 1)]]) if len(array) else ():
        kept[place] = bool(data[starts[place] : ends[place]].strip())
    return starts[kept], ends[kept]


def _by_arrow(data: bytes, starts: np.ndarray, ends: np.ndarray, wanted: Sequence[str]) -> dict[str, pa.Array] | None:
    """Parses all lines at once; None where Arrow gives up, or what it takes for a row is no line."""
    array = np.frombuffer(data, np.uint8)
    # No object can begin a line inside another one whose line before ended with "}": so there is one row a line if there are as many.
    if not len(starts) or not ((array[starts] == _OPEN) & (array[ends - 1] == _CLOSE)).all() or not is_utf8(data):
        return None
    table = _parsed(data, {})
    if table is None or table.num_rows != len(starts):
        return None
    moments = [field.name for field in table.schema if field.name in wanted and "timestamp" in str(field.type)]
    if moments:
        # Text that looks like a date is text.
        table = _parsed(data, {name: _with_text(table.schema.field(name).type) for name in moments})
    if table is None:
        return None
    columns: dict[str, pa.Array] = {}
    for name in wanted:
        values = table[name].combine_chunks() if name in table.column_names else pa.nulls(len(starts))
        if _is_lossy(values):
            return None
        columns[name] = text_form(values)
    return columns


def _parsed(data: bytes, types: dict[str, pa.DataType]) -> pa.Table | None:
    try:
        return pa_json.read_json(
            pa.BufferReader(data),
            pa_json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            pa_json.ParseOptions(explicit_schema=pa.schema(list(types.items()))),
        )
    except pa.ArrowInvalid:
        return None


def _with_text(kind: pa.DataType) -> pa.DataType:
    return pa.list_(_with_text(kind.value_type)) if pa.types.is_list(kind) else pa.string()


def _is_lossy(values: pa.Array) -> bool:
    """Whether Arrow may have rounded an integer, or filled the keys of objects up."""
    while pa.types.is_list(values.type):
        values = values.flatten()
    if pa.types.is_floating(values.type):
        numbers = values.to_numpy(zero_copy_only=False)
        return bool((np.abs(numbers[np.isfinite(numbers)]) >= 2.0**53).any())
    return pa.types.is_nested(values.type)


def _by_line(data: bytes, starts: np.ndarray, ends: np.ndarray, wanted: Sequence[str]) -> tuple[dict[str, pa.Array], dict[int, str]]:
    cells: list[list[Any]] = [[] for _ in wanted]
    ragged: dict[int, str] = {}
    for number, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        record = _record(data[start:end])
        if isinstance(record, str):
            ragged[number] = record
        else:
            for column, name in zip(cells, wanted, strict=True):
                column.append(as_text(record.get(name)))
    return {name: _column(values) for name, values in zip(wanted, cells, strict=True)}, ragged


def _record(line: bytes) -> dict[str, Any] | str:
    """Returns the object in a line, or why there is none."""
    try:
        record = json.loads(line)
    except UnicodeDecodeError as error:
        return f"text that is not UTF-8: {error}"
    except (ValueError, RecursionError) as error:
        return f"no valid JSON: {error}"
    return record if isinstance(record, dict) else f"expected a JSON object, received {_KINDS.get(type(record), 'a number')}"


_KINDS = {list: "a list", str: "a text", bool: "a boolean", type(None): "null"}


def _column(values: list[Any]) -> pa.Array:
    """Builds a column whose rows may be of different depths: a value beside lists becomes a list of one."""
    depth = max(map(_depth, values), default=0)
    kind = (pa.binary(), pa.list_(pa.binary()), pa.list_(pa.list_(pa.binary())))[depth]
    return pa.array([_raised(value, depth) for value in values], kind)


def _depth(value: list | bytes | None) -> int:
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def _raised(value: Any, depth: int) -> Any:  # noqa: ANN401 (bytes, lists of them)
    if value is None or depth == 0:
        return value
    return [_raised(part, depth - 1) for part in value] if isinstance(value, list) else [_raised(value, depth - 1)]
