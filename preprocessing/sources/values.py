"""The text form of columns: whatever a file holds becomes one of three Arrow types, which casting starts from.

`binary` (the text of a value; numbers as their shortest decimal, booleans "1" or "0", moments as Unix seconds, objects as JSON),
`list<binary>` and `list<list<binary>>`; null is missing.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_SECOND = pa.timestamp("s")
# Up to here a float64 holds every integer.
_EXACT = 2.0**53


def text_form(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Returns a column of any Arrow type as text, [N]."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    kind = values.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _list_form(values)
    if pa.types.is_dictionary(kind):
        return text_form(values.dictionary_decode())
    if pa.types.is_null(kind):
        return pa.nulls(len(values), pa.binary())
    if pa.types.is_nested(kind):
        return pa.array([None if value is None else as_json(value) for value in values.to_pylist()], pa.binary())
    if pa.types.is_boolean(kind):
        values = pc.cast(values, pa.int8())
    elif pa.types.is_floating(kind):
        return _float_form(values)
    elif pa.types.is_decimal(kind):
        # 1.50 is 1.5, and 2.00 is 2.
        text = pc.replace_substring_regex(pc.cast(values, pa.string()), r"(\.[0-9]*?)0+$", r"\1")
        return pc.cast(pc.replace_substring_regex(text, r"\.$", ""), pa.binary())
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        values = _seconds(values)
    elif pa.types.is_time(kind) or pa.types.is_duration(kind):
        whole = pa.duration("s") if pa.types.is_duration(kind) else pa.time32("s")
        values = pc.cast(pc.cast(values, whole, safe=False), pa.int64() if pa.types.is_duration(kind) else pa.int32())
    if pa.types.is_integer(values.type):
        values = pc.cast(values, pa.string())
    return pc.cast(values, pa.binary())


def _list_form(values: pa.Array) -> pa.Array:
    """Lists, and lists of lists; what is deeper is JSON."""
    # Missing lists and slices leave no gaps after this.
    inner = text_form(pc.list_flatten(values))
    if depth_of(inner.type) == 2:
        inner = pa.array([None if value is None else as_json(value) for value in inner.to_pylist()], pa.binary())
    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
    return _lists(lengths, inner, values.is_null())


def _float_form(values: pa.Array) -> pa.Array:
    """Whole numbers are written without a point, however the file writes them."""
    numbers = values.to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        whole = (numbers == np.floor(numbers)) & (np.abs(numbers) < _EXACT)
    # Arrow knows no half floats as text.
    values = pc.cast(values, pa.float32()) if pa.types.is_float16(values.type) else values
    if not whole.any():
        return pc.cast(pc.cast(values, pa.string()), pa.binary())
    integers = pc.cast(pa.array(np.where(whole, numbers, 0).astype(np.int64)), pa.string())
    others = pa.nulls(len(values), pa.string()) if whole.all() else pc.cast(values, pa.string())
    return pc.cast(pc.if_else(pa.array(whole), integers, others), pa.binary())


def _seconds(values: pa.Array) -> pa.Array:
    if pa.types.is_date(values.type):
        return pc.cast(pc.cast(values, _SECOND), pa.int64())
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[values.type.unit]
    ticks = pc.cast(values, pa.int64())
    # Before 1970 too, a second begins below.
    floored = np.floor_divide(pc.fill_null(ticks, 0).to_numpy(zero_copy_only=False), per_second)
    return pa.array(floored, mask=values.is_null().to_numpy(zero_copy_only=False))


def depth_of(kind: pa.DataType) -> int:
    """Returns how deep lists are nested in the text form of an Arrow type."""
    depth = 0
    while depth < 2 and (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        depth, kind = depth + 1, kind.value_type
    return depth


def shaped(column: pa.Array, depth: int) -> tuple[pa.Array, np.ndarray]:
    """Brings text to a depth of lists: a value becomes a list of one, a list of one a value.

    Returns:
        The column [N], null where a list holds more than can be kept; and a mask bool [N] of these rows.
    """
    has = depth_of(column.type)
    if has == depth:
        return column, np.zeros(len(column), bool)
    missing = column.is_null()
    if has == 0 or (has == 1 and depth == 2):
        inner, _ = shaped(pc.list_flatten(column), depth - 1) if has else shaped(column.drop_null(), depth - 1)
        lengths = pc.fill_null(pc.list_value_length(column), 0) if has else pc.cast(pc.is_valid(column), pa.int32())
        return _lists(lengths.to_numpy(zero_copy_only=False), inner, missing), np.zeros(len(column), bool)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    ends = np.cumsum(lengths)
    flat = pc.list_flatten(column).take(pa.array(np.where(lengths == 1, ends - 1, -1), mask=lengths != 1))
    values, too_long = shaped(flat, depth)
    return values, too_long | (lengths > 1)


def _lists(lengths: np.ndarray, flat: pa.Array, missing: pa.Array) -> pa.ListArray:
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, flat, mask=missing if pc.any(missing).as_py() else None)


def as_text(value: Any) -> bytes | list | None:  # noqa: ANN401 (any JSON)
    """Returns the text form of one value of JSON (or bytes): bytes, a list of them, a list of lists, or None."""
    return _as_list(value, 0) if isinstance(value, list) else _as_bytes(value)


def _as_list(values: list, depth: int) -> list | bytes:
    if depth == 2:
        return as_json(values)
    return [_as_list(value, depth + 1) if isinstance(value, list) else _as_bytes(value) for value in values]


def _as_bytes(value: Any) -> bytes | None:  # noqa: ANN401 (any JSON)
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", errors="surrogatepass")
    if isinstance(value, bool):
        return b"1" if value else b"0"
    if isinstance(value, float):
        return text_form(pa.array([value]))[0].as_py()
    return str(value).encode() if isinstance(value, int) else as_json(value)


def as_json(value: Any) -> bytes:  # noqa: ANN401 (any value of Arrow)
    """Returns an object as JSON text, its keys in order of the alphabet."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=_readable).encode("utf-8", errors="surrogatepass")


def _readable(value: Any) -> str:  # noqa: ANN401 (any value of Arrow)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    return str(value)
