"""Vectorised casts of columns of bytes to the types that the spec declares.

A column that is sound is cast in one step; only one that is not is looked at value by value, with regular expressions.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_NUMBER = {
    "int64": r"^\s*[+-]?[0-9]{1,19}\s*$",
    "float32": r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$",
}
_ARROW_TYPES = {"int64": pa.int64(), "float32": pa.float64()}


def cast(values: pa.Array, dtype: str) -> tuple[pa.Array, np.ndarray]:
    """Casts binary values; empty, null and, for numbers, NaN are missing.

    Args:
        values: Binary [N].
        dtype: "string", "int64" or "float32".

    Returns:
        The values [N], without nulls: "", -1 or NaN where missing or invalid; and a mask bool [N] of those that are invalid.
    """
    if dtype == "string":
        return pc.fill_null(values, b""), np.zeros(len(values), bool)
    present = pc.if_else(pc.equal(pc.binary_length(values), 0), None, values)
    try:
        # Arrow would read 0x10 as 16.
        hexadecimal = dtype == "int64" and pc.any(pc.match_substring(present, "x", ignore_case=True)).as_py()
        numbers = _cast_sound_ones(present, dtype) if hexadecimal else pc.cast(pc.cast(present, pa.string()), _ARROW_TYPES[dtype])
    except pa.ArrowInvalid:
        numbers = _cast_sound_ones(present, dtype)
    if dtype == "int64":
        invalid = _bool(pc.and_(pc.is_null(numbers), pc.is_valid(present)))
        return pc.fill_null(numbers, -1), invalid
    wide = numbers.to_numpy(zero_copy_only=False).astype(np.float64)
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float32)
    said_nan = pc.match_substring_regex(pc.fill_null(present, b"nan"), r"(?i)^\s*[+-]?nan\s*$") if np.isnan(narrow).any() else None
    invalid = np.isinf(narrow) if said_nan is None else np.isinf(narrow) | (np.isnan(narrow) & ~_bool(said_nan))
    narrow[invalid] = np.nan
    return pa.array(narrow), invalid


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


def cast_lists(values: pa.Array, dtype: str, delimiter: str) -> tuple[pa.Array, np.ndarray]:
    """Splits binary values at `delimiter` and casts the parts; empty parts and integers of -1 are missing and left out.

    Returns:
        Lists [N] without nulls, and a mask bool [N] of the rows with an invalid part.
    """
    # Parts of all rows are cast together; `row` leads back to where they came from.
    lists = pc.split_pattern(pc.fill_null(values, b""), delimiter)
    parts, invalid = cast(lists.flatten(), dtype)
    row = np.repeat(np.arange(len(lists)), np.diff(lists.offsets.to_numpy()))
    bad_rows = np.zeros(len(lists), bool)
    bad_rows[row[invalid]] = True
    return without_missing(row, parts, len(lists)), bad_rows


def without_missing(row: np.ndarray, values: pa.Array, num_rows: int) -> pa.ListArray:
    """Builds lists [num_rows] from flat values and the row of each, ascending, leaving out those that are missing."""
    keep = ~is_missing(values)
    lengths = np.bincount(row[keep], minlength=num_rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values.filter(pa.array(keep)))


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


def _bool(mask: pa.Array) -> np.ndarray:
    return mask.to_numpy(zero_copy_only=False).astype(bool)
