"""From a file's column to a feature's raw values: whole columns at once; value by value only where something does not fit.

Texts are read as the preprocessing job reads them; JSON and Parquet may hold numbers and lists themselves.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs.features import NumericFeature, TokenFeature
from serving.mixed import is_mixed, to_python
from serving.signatures import MISSING
from serving.values import read_value

Feature = NumericFeature | TokenFeature
_WIDE = {"string": pa.binary(), "int64": pa.int64(), "float32": pa.float64()}
_NONE = np.zeros(0, np.int64)


class Converted(NamedTuple):
    """A feature's raw values: `[B]`, or a RaggedTensor `[B, None]`; `bad` are the numbers of the rows whose value does not fit."""

    values: tf.Tensor | tf.RaggedTensor
    bad: NDArray[np.int64]


class _Flat(NamedTuple):
    """Values of the Arrow type of a dtype, null where missing or bad; `bad` are the numbers of the bad ones."""

    values: pa.Array
    bad: NDArray[np.int64]


def convert(column: pa.Array, feature: Feature) -> Converted:
    """Reads a column as the feature's dtype; null, "" and NaN are missing, and so are bad values.

    Numbers may be texts, strings may be integers, and a list may be one text with the feature's delimiter in it.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if feature.is_list:
        return _lists(column, feature)
    flat = _mixed(to_python(column), feature.dtype) if is_mixed(column) else _flat(column, feature.dtype)
    return Converted(_tensor(flat.values, feature.dtype), flat.bad)


def missing(feature: Feature, rows: int) -> tf.Tensor | tf.RaggedTensor:
    """Returns the values of a feature whose column is not there."""
    return convert(pa.nulls(rows), feature).values


def _tensor(values: pa.Array, dtype: str) -> tf.Tensor:
    return tf.constant(values.fill_null(pa.scalar(MISSING[dtype], values.type)).to_numpy(zero_copy_only=False), dtype)


def _is_text(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary))


def _flat(column: pa.Array, dtype: str) -> _Flat:
    """Reads a column of one Arrow type."""
    kind = column.type
    try:
        if pa.types.is_null(kind):
            return _Flat(column.cast(_WIDE[dtype]), _NONE)
        if _is_text(kind):
            return _from_texts(column.cast(pa.binary()), dtype)
        if pa.types.is_integer(kind):
            wide = column.cast(pa.string()).cast(pa.binary()) if dtype == "string" else column.cast(_WIDE[dtype], safe=dtype == "int64")
            return _narrowed(wide, dtype)
        if pa.types.is_floating(kind) and dtype != "string":
            return _narrowed(pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column).cast(_WIDE[dtype]), dtype)
    except pa.ArrowInvalid:
        pass  # some value does not fit: found one by one
    return _mixed(to_python(column), dtype)


def _from_texts(texts: pa.Array, dtype: str) -> _Flat:
    if dtype == "string":
        return _Flat(texts, _NONE)
    if dtype == "int64" and pc.any(pc.match_substring(texts, "x", ignore_case=True)).as_py():
        raise pa.ArrowInvalid  # Arrow would take 0x10 for a number
    return _narrowed(pc.if_else(pc.equal(texts, b""), pa.scalar(None, pa.binary()), texts).cast(_WIDE[dtype]), dtype)


def _narrowed(wide: pa.Array, dtype: str) -> _Flat:
    """Turns doubles into floats; one that is infinite, or becomes so, is bad."""
    if dtype != "float32":
        return _Flat(wide, _NONE)
    with np.errstate(over="ignore"):
        narrow = wide.to_numpy(zero_copy_only=False).astype(np.float32)
    return _Flat(pa.array(narrow, mask=~np.isfinite(narrow)), np.flatnonzero(np.isinf(narrow)))


def _mixed(values: list[Any], dtype: str) -> _Flat:
    """Reads Python values of any type, one by one."""
    converted: list[Any] = []
    bad = []
    for row, value in enumerate(values):
        try:
            converted.append(read_value(value, dtype))
        except (ValueError, OverflowError):
            converted.append(None)
            bad.append(row)
    flat = _narrowed(pa.array(converted, _WIDE[dtype]), dtype)
    return _Flat(flat.values, np.union1d(flat.bad, np.array(bad, np.int64)))


def _lists(column: pa.Array, feature: Feature) -> Converted:
    kind = column.type
    if pa.types.is_null(kind):
        column = column.cast(pa.list_(_WIDE[feature.dtype]))
    elif _is_text(kind):
        column = pc.split_pattern(column.cast(pa.binary()), getattr(feature, "delimiter", "|").encode())
    elif not any(test(kind) for test in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)):
        return _mixed_lists(to_python(column), feature)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    return _ragged(_flat(pc.list_flatten(column), feature.dtype), lengths, feature.dtype)


def _mixed_lists(values: list[Any], feature: Feature) -> Converted:
    """Reads rows of lists, texts and anything else, one by one."""
    delimiter = getattr(feature, "delimiter", "|")
    lists = [v if isinstance(v, list) else v.split(delimiter) if isinstance(v, str) else [] for v in values]
    lengths = np.array([len(one) for one in lists], np.int64)
    result = _ragged(_mixed([value for one in lists for value in one], feature.dtype), lengths, feature.dtype)
    bad = [row for row, value in enumerate(values) if not isinstance(value, list | str | None)]
    return Converted(result.values, np.union1d(result.bad, np.array(bad, np.int64)))


def _ragged(flat: _Flat, lengths: NDArray[np.int64], dtype: str) -> Converted:
    """Cuts values that lie one after the other into lists, leaving out what is missing or bad."""
    rows = np.repeat(np.arange(len(lengths)), lengths)
    marker = pa.scalar(MISSING[dtype], flat.values.type)
    present = pc.fill_null(pc.not_equal(flat.values, marker), False).to_numpy(zero_copy_only=False)
    values = _tensor(flat.values.filter(pa.array(present)), dtype)
    return Converted(
        tf.RaggedTensor.from_row_lengths(values, np.bincount(rows[present], minlength=len(lengths))), np.unique(rows[flat.bad])
    )
