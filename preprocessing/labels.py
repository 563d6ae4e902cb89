"""Labels, what a ranking model learns, and the weights of rows: each made of a raw column."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_specs.spec import Label
from preprocessing.sources.casting import cast
from preprocessing.sources.values import shaped

_SHOWN_CHARACTERS = 80


def labels(label: Label, columns: Mapping[str, pa.Array], num_rows: int, reasons: dict[int, str]) -> pa.Array:
    """Returns the label of each row, float32 [N]; NaN or 0 where there is none, which `reasons` then explains.

    Args:
        label: How labels are made.
        columns: By raw column name, binary [N], or lists of one value; null where missing.
        num_rows: N; an implicit label has no column.
        reasons: By row, why it has to be rejected; what is found here is added, a reason that is there already stays.
    """
    if label.column is None:
        return pa.array(np.ones(num_rows, np.float32))
    # In a tf.Example every value is a list: one of one value is that value, an empty one is missing.
    cells, several = shaped(columns[label.column], 0)
    _note(reasons, several, label.column, columns[label.column], "one value")
    return _by_value(label, cells, reasons) if label.positive else _by_number(label, cells, reasons)


def row_weights(column: str, cells: pa.Array, reasons: dict[int, str]) -> pa.Array:
    """Returns how much each row counts in the training loss, float32 [N]; what is returned for a row that `reasons` explains is no weight.

    Args:
        column: Name of the raw column.
        cells: Binary [N], or lists of one value; null where missing.
        reasons: As for `labels`.
    """
    values, several = shaped(cells, 0)
    _note(reasons, several, column, cells, "one value")
    array, invalid = cast(values, "float32")
    numbers = array.to_numpy(zero_copy_only=False)
    _note(reasons, invalid | (numbers < 0), column, values, "a finite number of 0 or more")
    _note_missing(reasons, np.isnan(numbers), column, "weight")
    return array


def _by_number(label: Label, cells: pa.Array, reasons: dict[int, str]) -> pa.Array:
    array, invalid = cast(cells, "float32")
    numbers = array.to_numpy(zero_copy_only=False)
    column = str(label.column)
    _note(reasons, invalid, column, cells, "a finite number")
    _note_missing(reasons, np.isnan(numbers) & ~invalid, column)
    if label.threshold is not None:
        # As float32 on both sides: a value written like the threshold reaches it.
        return pa.array((numbers >= np.float32(label.threshold)).astype(np.float32))
    if label.task != "regression":
        _note(reasons, ~np.isnan(numbers) & (numbers != 0) & (numbers != 1), column, cells, "0 or 1; give the label a threshold")
    return array


def _by_value(label: Label, cells: pa.Array, reasons: dict[int, str]) -> pa.Array:
    column, cells = str(label.column), pc.fill_null(cells, b"")
    # Empty text is a missing label, unless the spec names it.
    named = {value.encode() for value in (*label.positive, *label.negative)}
    if b"" not in named:
        _note_missing(reasons, _mask(pc.equal(pc.binary_length(cells), 0)), column)
    positive = _is_in(cells, label.positive)
    if label.negative:
        expected = ", ".join(map(repr, (*label.positive, *label.negative)))
        _note(reasons, ~positive & ~_is_in(cells, label.negative), column, cells, f"one of the label's values {expected}")
    return pa.array(positive.astype(np.float32))


def _is_in(cells: pa.Array, values: tuple[str, ...]) -> np.ndarray:
    return _mask(pc.is_in(cells, value_set=pa.array([value.encode() for value in values], pa.binary())))


def _note(reasons: dict[int, str], wrong: np.ndarray, column: str, cells: pa.Array, expected: str) -> None:
    for row in np.flatnonzero(wrong).tolist():
        reasons.setdefault(row, f"column {column!r}: {_shown(cells[row].as_py())} is not {expected}")


def _note_missing(reasons: dict[int, str], missing: np.ndarray, column: str, what: str = "label") -> None:
    for row in np.flatnonzero(missing).tolist():
        reasons.setdefault(row, f"{what} {column!r} is missing")


def _shown(value: bytes | list[bytes] | None) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = (value or b"").decode("utf-8", errors="replace")
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...")


def _mask(values: pa.Array) -> np.ndarray:
    return values.to_numpy(zero_copy_only=False).astype(bool)
