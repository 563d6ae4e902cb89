"""From a file's columns to a feature's raw values: whole columns at once; value by value only where something does not fit.

Texts are read as the preprocessing job reads them; JSON and Parquet may hold numbers and lists themselves.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs.base import Column
from feature_specs.features import AnyFeature
from preprocessing.sources.values import text_form
from serving.lists import Parts, is_text, one_value, parts_of
from serving.mixed import is_mixed, to_python
from serving.signatures import MISSING, RawExamples
from serving.values import read_value

_WIDE = {"string": pa.binary(), "int64": pa.int64(), "float32": pa.float64()}
_NONE = np.zeros(0, np.int64)


class Converted(NamedTuple):
    """A feature's raw columns, by name; `bad` are the numbers of the rows whose value does not fit."""

    raw: RawExamples
    bad: NDArray[np.int64]


class _Flat(NamedTuple):
    """Values of the Arrow type of a dtype, null where missing or bad; `bad` are the numbers of the bad ones."""

    values: pa.Array
    bad: NDArray[np.int64]


def convert(feature: AnyFeature, cells: pa.Array, weights: pa.Array | None = None) -> Converted:
    """Reads a column as the feature's dtype; null, "" and NaN are missing, and so are bad values.

    Numbers may be texts, strings may be integers, and a list or vector may be one text with the feature's delimiter in it.

    Args:
        feature: Which has raw columns.
        cells: Its column.
        weights: Of a multi-valued feature: one number a value; where not given, they are 1.
    """
    cells = cells.dictionary_decode() if pa.types.is_dictionary(cells.type) else cells
    column, *beside = feature.raw_inputs
    if column.layout == "single":
        cells, several = one_value(cells)
        flat = _flat(cells, column.dtype)
        return Converted({column.name: _tensor(flat.values, column.dtype)}, np.union1d(flat.bad, several))
    delimiter = getattr(feature, "delimiter", "|")
    parts = parts_of(cells, delimiter, getattr(feature, "value_delimiter", None))
    flat = _flat(parts.flat, column.dtype)
    bad = np.union1d(parts.bad, parts.row[flat.bad])
    if column.layout == "vector":
        return _vectors(column, parts, flat, bad, len(cells))
    present = pc.fill_null(pc.not_equal(flat.values, pa.scalar(MISSING[column.dtype], flat.values.type)), False)
    kept = present.to_numpy(zero_copy_only=False)
    rows = parts.row[kept]
    lists = tf.RaggedTensor.from_row_lengths(
        _tensor(flat.values.filter(present), column.dtype), np.bincount(rows, minlength=len(cells)).astype(np.int64)
    )
    raw: dict[str, tf.RaggedTensor] = {column.name: lists}
    for other in beside:
        if other.dtype == "float32":
            numbers, bad_rows = _aligned(parts, weights, delimiter, len(cells))
            bad = np.union1d(bad, bad_rows)
            raw[other.name] = lists.with_flat_values(tf.constant(numbers[kept]))
        else:
            raw[other.name] = lists.with_flat_values(tf.constant(_numbered(rows, parts.step[kept])))
    return Converted(raw, bad)


def missing(feature: AnyFeature, rows: int) -> RawExamples:
    """Returns the raw columns of a feature whose column is not there."""
    return convert(feature, pa.nulls(rows)).raw


def _vectors(column: Column, parts: Parts, flat: _Flat, bad: NDArray[np.int64], rows: int) -> Converted:
    counts = np.bincount(parts.row, minlength=rows)
    fits = counts == column.size
    vectors = np.full((rows, column.size), np.nan, np.float32)
    numbers = flat.values.to_numpy(zero_copy_only=False).astype(np.float32)
    vectors[fits] = numbers[fits[parts.row]].reshape(-1, column.size)
    return Converted({column.name: tf.constant(vectors)}, np.union1d(bad, np.flatnonzero(~fits & (counts > 0))))


def _aligned(parts: Parts, column: pa.Array | None, delimiter: str, rows: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Returns a weight for each part, 1 where there is none, and the numbers of the rows whose weights do not fit."""
    weights = parts_of(pa.nulls(rows) if column is None else column, delimiter)
    counts, given = np.bincount(parts.row, minlength=rows), np.bincount(weights.row, minlength=rows)
    flat = _flat(weights.flat, "float32")
    # A weight beside a missing value is of no use, and no mistake.
    unequal = (given > 0) & (counts != given) & ~((counts == 0) & (given == 1))
    fits = counts == given
    numbers = np.ones(len(parts.row), np.float32)
    numbers[fits[parts.row]] = flat.values.to_numpy(zero_copy_only=False).astype(np.float32)[fits[weights.row]]
    bad = np.union1d(np.union1d(weights.bad, weights.row[flat.bad]), np.flatnonzero(unequal))
    return np.where(np.isnan(numbers), np.float32(1), numbers), bad


def _numbered(row: NDArray[np.int64], step: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers the steps of each row from 0, without gaps: a step without values is none."""
    if not len(row):
        return step
    new_row = np.diff(row, prepend=-1) != 0
    number = np.cumsum(new_row | (np.diff(step, prepend=-1) != 0))
    return number - number[new_row][np.cumsum(new_row) - 1]


def _tensor(values: pa.Array, dtype: str) -> tf.Tensor:
    return tf.constant(values.fill_null(pa.scalar(MISSING[dtype], values.type)).to_numpy(zero_copy_only=False), dtype)


def _flat(column: pa.Array, dtype: str) -> _Flat:
    """Reads a column of one Arrow type, or a mixed one."""
    kind = column.type
    try:
        if pa.types.is_null(kind):
            return _Flat(column.cast(_WIDE[dtype]), _NONE)
        if is_text(kind):
            return _from_texts(column.cast(pa.binary()), dtype)
        if pa.types.is_integer(kind):
            wide = column.cast(pa.string()).cast(pa.binary()) if dtype == "string" else column.cast(_WIDE[dtype], safe=dtype == "int64")
            return _narrowed(wide, dtype)
        if pa.types.is_floating(kind):
            numbers = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
            return _from_texts(text_form(numbers), dtype) if dtype == "string" else _narrowed(numbers.cast(_WIDE[dtype]), dtype)
        if pa.types.is_boolean(kind) or pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
            return _from_texts(text_form(column), dtype)
    except pa.ArrowInvalid:
        pass  # some value does not fit: found one by one
    return _one_by_one(to_python(column) if is_mixed(column) else column.to_pylist(), dtype)


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


def _one_by_one(values: list[Any], dtype: str) -> _Flat:
    """Reads Python values of any type."""
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
