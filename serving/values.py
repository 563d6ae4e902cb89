"""One value of unknown type as a feature's dtype: the slow path of `convert`, for columns where something does not fit."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TypeVar

# The blanks are those that the preprocessing job allows: `\s` in Python would take those of other scripts too.
_INTEGER = re.compile(r"[ \t\r\n\f]*[+-]?[0-9]+[ \t\r\n\f]*")
_FLOAT = re.compile(r"[ \t\r\n\f]*[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|nan)[ \t\r\n\f]*", re.IGNORECASE)
_INT64 = range(-(2**63), 2**63)
Number = TypeVar("Number", int, float)


def read_value(value: object, dtype: str) -> bytes | int | float | None:
    """Returns `value` as `dtype`, None where it is missing.

    Raises:
        ValueError: It is no such value.
        OverflowError: It is an integer too large for any float.
    """
    return {"string": _read_string, "int64": _read_int64, "float32": _read_float32}[dtype](value)


def _read_string(value: object) -> bytes | None:
    match value:
        case None | bytes():
            return value
        case str():
            return value.encode()
        case int() if not isinstance(value, bool):
            return str(value).encode()
    raise ValueError


def _read_int64(value: object) -> int | None:
    match value:
        case None | "" | b"":
            return None
        case bytes() | str():
            number = _matched(_INTEGER, value, int)
        case int() if not isinstance(value, bool):
            number = value
        case float() if math.isnan(value):
            return None
        case float() if value.is_integer():
            number = int(value)
        case _:
            raise ValueError
    if number not in _INT64:
        raise ValueError
    return number


def _read_float32(value: object) -> float | None:
    match value:
        case None | "" | b"":
            return None
        case bytes() | str():
            return _matched(_FLOAT, value, float)
        case float():
            return value
        case int() if not isinstance(value, bool):
            return float(value)
    raise ValueError


def _matched(pattern: re.Pattern[str], value: bytes | str, number: Callable[[str], Number]) -> Number:
    """Returns the number in a text; `int` and `float` alone would also take 1_000 and digits of other scripts."""
    text = value.decode() if isinstance(value, bytes) else value
    if not pattern.fullmatch(text):
        raise ValueError
    return number(text)
