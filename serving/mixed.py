"""Columns of several types, as JSON lines may hold them: Arrow keeps them as JSON texts, marked as such."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa


def from_python(values: list[Any]) -> pa.Array:
    """Returns an Arrow array of Python values; a mixed column where they are of several types."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, TypeError):
        texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
        return pa.ExtensionArray.from_storage(pa.json_(), pa.array(texts, pa.string()))


def is_mixed(column: pa.Array | pa.ChunkedArray) -> bool:
    """Whether the column is one of several types."""
    return isinstance(column.type, pa.JsonType)


def to_python(column: pa.Array) -> list[Any]:
    """Returns the Python values of a column, mixed or not."""
    if not is_mixed(column):
        return list(column.to_pylist())
    return [None if text is None else json.loads(text) for text in column.storage.to_pylist()]


def to_texts(column: pa.Array) -> pa.Array:
    """Returns a mixed column as strings: texts as they are, all else as JSON."""
    texts = [value if isinstance(value, str | None) else json.dumps(value, ensure_ascii=False) for value in to_python(column)]
    return pa.array(texts, pa.string())


def whole(column: pa.ChunkedArray) -> pa.Array:
    """Returns a column in one piece."""
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def one_row(table: pa.Table, row: int) -> dict[str, Any]:
    """Returns a row as Python values, bytes decoded."""
    values = {name: to_python(whole(table[name].slice(row, 1)))[0] for name in table.column_names}
    return {name: value.decode(errors="replace") if isinstance(value, bytes) else value for name, value in values.items()}
