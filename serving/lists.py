"""A file's lists as values that lie one after the other: lists, lists of lists, and texts with delimiters in them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from serving.mixed import from_python, is_mixed, to_python

_NONE = np.zeros(0, np.int64)


class Parts(NamedTuple):
    """The values of lists, as they stand in the file.

    Attributes:
        flat: Values [M] of any type.
        row: Which row each belongs to, int64 [M], ascending.
        step: Which step of its row, from 0, int64 [M].
        bad: Numbers of the rows that are no lists, or lists of lists where values are expected; they have no parts.
    """

    flat: pa.Array
    row: NDArray[np.int64]
    step: NDArray[np.int64]
    bad: NDArray[np.int64]


def parts_of(column: pa.Array, delimiter: str, value_delimiter: str | None = None) -> Parts:
    """Cuts the rows of a column into steps, and these, where a delimiter of values is given, into values.

    Null, an empty text and an empty list have no parts.
    """
    kind = column.type
    if pa.types.is_null(kind):
        return Parts(pa.nulls(0), _NONE, _NONE, _NONE)
    if is_text(kind):
        column = _split(column, delimiter)
    elif not is_list(kind) or is_mixed(column):
        return _parts_of_mixed(to_python(column), delimiter, value_delimiter)
    if value_delimiter is None and is_list(column.type.value_type):
        return Parts(pa.nulls(0), _NONE, _NONE, np.flatnonzero(_lengths(column)))
    flat, row, step = _flattened(column)
    if value_delimiter is not None and (is_text(flat.type) or is_list(flat.type)):
        inner, place, _ = _flattened(flat if is_list(flat.type) else _split(flat, value_delimiter))
        flat, row, step = inner, row[place], step[place]
    return Parts(flat, row, step, _NONE)


def _parts_of_mixed(values: list[Any], delimiter: str, value_delimiter: str | None) -> Parts:
    """Cuts rows of lists, texts and anything else, one by one."""
    flat: list[Any] = []
    places: list[tuple[int, int]] = []
    bad = []
    for row, value in enumerate(values):
        steps = (value.split(delimiter) if value else []) if isinstance(value, str) else value
        if steps is None:
            continue
        if not isinstance(steps, list) or (value_delimiter is None and any(isinstance(step, list) for step in steps)):
            bad.append(row)
            continue
        for number, step in enumerate(steps):
            inner = step.split(value_delimiter) if value_delimiter is not None and isinstance(step, str) else step
            for part in inner if isinstance(inner, list) else [inner]:
                flat.append(part)
                places.append((row, number))
    placed = np.array(places, np.int64).reshape(-1, 2)
    return Parts(from_python(flat), placed[:, 0], placed[:, 1], np.array(bad, np.int64))


def one_value(column: pa.Array) -> tuple[pa.Array, NDArray[np.int64]]:
    """Returns lists as values where they hold one or none, null for the others, and the numbers of these rows."""
    if is_mixed(column):
        values = to_python(column)
        several = [row for row, value in enumerate(values) if isinstance(value, list) and len(value) > 1]
        single = [(value[0] if len(value) == 1 else None) if isinstance(value, list) else value for value in values]
        return from_python(single), np.array(several, np.int64)
    if not is_list(column.type):
        return column, _NONE
    lengths = _lengths(column)
    flat, row, _ = _flattened(column)
    place = np.zeros(len(lengths), np.int64)
    place[row] = np.arange(len(row))
    return flat.take(pa.array(place, mask=lengths != 1)), np.flatnonzero(lengths > 1)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column is of texts or bytes."""
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary))


def is_list(kind: pa.DataType) -> bool:
    """Whether a column is of lists."""
    return any(test(kind) for test in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def _split(column: pa.Array, delimiter: str) -> pa.Array:
    texts = column.cast(pa.binary())
    return pc.split_pattern(pc.if_else(pc.equal(pc.binary_length(texts), 0), None, texts), delimiter.encode())


def _lengths(lists: pa.Array) -> NDArray[np.int64]:
    lengths: NDArray[np.int64] = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths


def _flattened(lists: pa.Array) -> tuple[pa.Array, NDArray[np.int64], NDArray[np.int64]]:
    """Returns the values of lists, the row of each and its place there."""
    lengths = _lengths(lists)
    row = np.repeat(np.arange(len(lists)), lengths)
    return pc.list_flatten(lists), row, np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
