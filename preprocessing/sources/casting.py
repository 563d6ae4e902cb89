"""Vectorised casts of text to the types that the spec declares.

A parsed column is of one of three Arrow types: `binary`, `list<binary>` or `list<list<binary>>`; null is missing. A column that is sound is
cast in one step; only one that is not is looked at value by value, with regular expressions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_NUMBER = {
    "int64": r"^\s*[+-]?[0-9]{1,19}\s*$",
    "float32": r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$",
}
_ARROW_TYPES = {"int64": pa.int64(), "float32": pa.float64()}


def cast(cells: pa.Array, dtype: str) -> tuple[pa.Array, np.ndarray]:
    """Casts a column with one value a row; empty, null and, for numbers, NaN are missing.

    Args:
        cells: Text [N]; a list is a value if it holds one.
        dtype: "string", "int64" or "float32".

    Returns:
        The values [N], without nulls: "", -1 or NaN where missing or invalid; and a mask bool [N] of those that are invalid.
    """
    values, invalid = _one_value(cells)
    if dtype == "string":
        return pc.fill_null(values, b""), invalid
    present = pc.if_else(pc.equal(pc.binary_length(values), 0), None, values)
    try:
        # Arrow would read 0x10 as 16.
        hexadecimal = dtype == "int64" and pc.any(pc.match_substring(present, "x", ignore_case=True)).as_py()
        numbers = _cast_sound_ones(present, dtype) if hexadecimal else pc.cast(pc.cast(present, pa.string()), _ARROW_TYPES[dtype])
    except pa.ArrowInvalid:
        numbers = _cast_sound_ones(present, dtype)
    if dtype == "int64":
        invalid |= _bool(pc.and_(pc.is_null(numbers), pc.is_valid(present)))
        return pc.fill_null(numbers, -1), invalid
    wide = numbers.to_numpy(zero_copy_only=False).astype(np.float64)
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float32)
    said_nan = pc.match_substring_regex(pc.fill_null(present, b"nan"), r"(?i)^\s*[+-]?nan\s*$") if np.isnan(narrow).any() else None
    invalid |= np.isinf(narrow) if said_nan is None else np.isinf(narrow) | (np.isnan(narrow) & ~_bool(said_nan))
    narrow[invalid] = np.nan
    return pa.array(narrow), invalid


def _one_value(cells: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Returns binary [N] and a mask of the rows that hold more than one value."""
    if not _is_list(cells.type):
        return cells, np.zeros(len(cells), bool)
    parts = split(cells, "")
    counts = np.bincount(parts.row, minlength=len(cells))
    single = counts == 1
    place = np.full(len(cells), -1)
    place[single] = np.flatnonzero(single[parts.row])
    return parts.flat.take(pa.array(place, mask=~single)), parts.invalid | (counts > 1)


def _cast_sound_ones(present: pa.Array, dtype: str) -> pa.Array:
    """Casts the values that are numbers, blanks and a plus sign around them allowed; null for the others."""
    # Only ASCII passes the expression, so the cast to a string cannot fail.
    sound = pc.if_else(pc.match_substring_regex(present, _NUMBER[dtype]), present, None)
    text = pc.replace_substring_regex(pc.ascii_trim_whitespace(pc.cast(sound, pa.string())), r"^\+", "")
    try:
        return pc.cast(text, _ARROW_TYPES[dtype])
    except pa.ArrowInvalid:
        # What is left are integers of more than 64 bits: the limits are checked on the distinct values.
        unique = pc.unique(text)
        fits = [value if value is not None and -(2**63) <= int(value) < 2**63 else None for value in unique.to_pylist()]
        return pc.cast(pc.take(pa.array(fits, pa.string()), pc.index_in(text, unique)), _ARROW_TYPES[dtype])


class Parts(NamedTuple):
    """The values of lists, one after the other.

    Attributes:
        flat: Text [M]; null or empty where missing.
        row: Which row each belongs to, int64 [M], ascending.
        step: Which step of its row, from 0, int64 [M].
        invalid: Rows that hold lists where values are expected, bool [N]; they have no parts.
    """

    flat: pa.Array
    row: np.ndarray
    step: np.ndarray
    invalid: np.ndarray


def split(cells: pa.Array, delimiter: str, value_delimiter: str | None = None) -> Parts:
    """Cuts text [N] into parts: at `delimiter` into steps, and at `value_delimiter`, where given, these into values.

    Lists are cut already; a list of lists has several values a step. A null, an empty text and an empty list have no parts.
    """
    invalid = np.zeros(len(cells), bool)
    if not _is_list(cells.type):
        cells = pc.split_pattern(pc.if_else(pc.equal(pc.binary_length(cells), 0), None, cells), delimiter)
    nested = _is_list(cells.type.value_type)
    if nested and value_delimiter is None:
        invalid = _lengths(cells) > 0
        return Parts(pa.array([], pa.binary()), np.zeros(0, np.int64), np.zeros(0, np.int64), invalid)
    flat, row, step = _flattened(cells)
    if value_delimiter is not None:
        inner, place, _ = _flattened(flat if nested else pc.split_pattern(flat, value_delimiter))
        flat, row, step = inner, row[place], step[place]
    return Parts(flat, row, step, invalid)


def _lengths(lists: pa.Array) -> np.ndarray:
    return pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)


def _flattened(lists: pa.Array) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """Returns the values of lists, the row of each and its place there."""
    lengths = _lengths(lists)
    starts = np.cumsum(lengths) - lengths
    row = np.repeat(np.arange(len(lists)), lengths)
    return pc.list_flatten(lists), row, np.arange(len(row)) - starts[row]


class CastLists(NamedTuple):
    """Lists without missing values.

    Attributes:
        values: Lists [N].
        steps: The step of each value, 0, 1, 2, ... in each row, lists of int64 [N].
        weights: The weight of each value, lists of float32 [N]; 1 where none was given.
        invalid: Rows with a value or weight that is none, or with as many weights as do not fit, bool [N].
    """

    values: pa.ListArray
    steps: pa.ListArray
    weights: pa.ListArray
    invalid: np.ndarray


def cast_lists(
    cells: pa.Array, dtype: str, delimiter: str, value_delimiter: str | None = None, weights: pa.Array | None = None
) -> CastLists:
    """Casts a column with several values a row; empty parts, integers of -1 and NaN are missing and left out, with their weights."""
    parts = split(cells, delimiter, value_delimiter)
    # Parts of all rows are cast together; `row` leads back to where they came from.
    values, bad = cast(parts.flat, dtype)
    invalid = parts.invalid.copy()
    invalid[parts.row[bad]] = True
    numbers = np.ones(len(values), np.float32)
    if weights is not None:
        numbers, bad_rows = _aligned(parts, split(weights, delimiter))
        invalid |= bad_rows
    keep = ~is_missing(values)
    rows, count = parts.row[keep], len(cells)
    return CastLists(
        lists(rows, values.filter(pa.array(keep)), count),
        lists(rows, pa.array(numbered(rows, parts.step[keep])), count),
        lists(rows, pa.array(numbers[keep]), count),
        invalid,
    )


def numbered(row: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Numbers the steps of each row from 0, without gaps: a step without values is none."""
    if not len(row):
        return step
    new_row = np.diff(row, prepend=-1) != 0
    number = np.cumsum(new_row | (np.diff(step, prepend=-1) != 0))
    return number - number[new_row][np.cumsum(new_row) - 1]


def _aligned(parts: Parts, weights: Parts) -> tuple[np.ndarray, np.ndarray]:
    """Returns a weight for each part, 1 where there is none, and a mask of the rows whose weights are invalid."""
    size = len(parts.invalid)
    counts, given = np.bincount(parts.row, minlength=size), np.bincount(weights.row, minlength=size)
    values, bad = cast(weights.flat, "float32")
    # A weight beside a missing value is of no use, and no mistake.
    invalid = weights.invalid | ((given > 0) & (counts != given) & ~((counts == 0) & (given == 1)))
    invalid[weights.row[bad]] = True
    fits = counts == given
    numbers = np.ones(len(parts.row), np.float32)
    numbers[fits[parts.row]] = values.to_numpy(zero_copy_only=False)[fits[weights.row]]
    return np.where(np.isnan(numbers), np.float32(1), numbers), invalid


def cast_vectors(cells: pa.Array, size: int, delimiter: str) -> tuple[pa.FixedSizeListArray, np.ndarray]:
    """Casts a column with `size` numbers a row; a missing or invalid number is NaN, and all are where there are more or fewer.

    Returns:
        Vectors [N], and a mask bool [N] of the rows with an invalid number or another count of numbers than `size` or none.
    """
    parts = split(cells, delimiter)
    numbers, bad = cast(parts.flat, "float32")
    counts = np.bincount(parts.row, minlength=len(cells))
    invalid = parts.invalid | ((counts != size) & (counts != 0))
    invalid[parts.row[bad]] = True
    fits = counts == size
    vectors = np.full((len(cells), size), np.nan, np.float32)
    vectors[fits] = numbers.to_numpy(zero_copy_only=False)[fits[parts.row]].reshape(-1, size)
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), size), invalid


def lists(row: np.ndarray, values: pa.Array, num_rows: int) -> pa.ListArray:
    """Builds lists [num_rows] from flat values and the row of each, ascending."""
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=num_rows))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def missing_marker(kind: pa.DataType) -> bytes | int | float:
    """Returns what stands for a missing value of an Arrow type: b"", -1 or NaN."""
    if pa.types.is_integer(kind):
        return -1
    return float("nan") if pa.types.is_floating(kind) else b""


def is_missing(values: pa.Array) -> np.ndarray:
    """Returns the mask bool [N] of the values that are missing: "", -1 or NaN."""
    if pa.types.is_floating(values.type):
        return np.isnan(values.to_numpy(zero_copy_only=False))
    if pa.types.is_integer(values.type):
        return values.to_numpy(zero_copy_only=False) == -1
    return _bool(pc.equal(pc.binary_length(values), 0))


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _bool(mask: pa.Array) -> np.ndarray:
    return mask.to_numpy(zero_copy_only=False).astype(bool)
