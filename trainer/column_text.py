"""What a list of `tf.feature_column` columns is, as text that is equal where the columns are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf


def describe(columns: Sequence[Any]) -> dict[str, str]:
    """Returns a line a column, by its name."""
    return {column.name: _text(column) for column in columns}


def _text(value: Any) -> str:  # noqa: ANN401 (whatever a column holds)
    if hasattr(value, "_fields"):  # a column is a named tuple
        parts = {name: getattr(value, name) for name in value._fields}
    elif isinstance(value, tf.DType):
        return value.name
    elif isinstance(value, tuple | list):
        return f"[{', '.join(_text(part) for part in value)}]"
    elif isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {_text(part)}' for name, part in sorted(value.items()))}}}"
    elif isinstance(value, str | int | float | bool | None):
        return repr(value)
    elif hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    else:  # an initializer, or the creator of shared embeddings, whose variables by graph are no part of it
        plain = {name: part for name, part in vars(value).items() if isinstance(part, str | int | float | tf.DType | None)}
        parts = {name: part for name, part in plain.items() if "seed" not in name}  # another one in each process
        parts |= {"initializer": value._initializer} if hasattr(value, "_initializer") else {}
    parts = {name.strip("_"): part for name, part in sorted(parts.items()) if part is not None}
    return f"{type(value).__name__}({', '.join(f'{name}={_text(part)}' for name, part in parts.items())})"
