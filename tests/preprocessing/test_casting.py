"""Casts against Python's own, and that no bytes whatever break them."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.sources.casting import cast, cast_lists

NUMBERS = st.one_of(
    st.integers().map(lambda i: str(i).encode()),
    st.floats().map(lambda f: repr(f).encode()),
    st.text(alphabet="0123456789+-.eE nanifxX", max_size=8).map(str.encode),
    st.binary(max_size=6),
)


@pytest.mark.parametrize(
    ("text", "integer", "number"),
    [  # None is missing, "bad" is invalid
        (b"7", 7, 7.0),
        (b"007", 7, 7.0),
        (b" -3 ", -3, -3.0),
        (b"+4", 4, 4.0),
        (b"", None, None),
        (None, None, None),
        (b"5.5", "bad", 5.5),
        (b"1e3", "bad", 1000.0),
        (b".5", "bad", 0.5),
        (b"nan", "bad", None),
        (b"inf", "bad", "bad"),
        (b"1e400", "bad", "bad"),
        (b"9223372036854775807", 2**63 - 1, float(2**63)),
        (b"9223372036854775808", "bad", float(2**63)),
        (b"9" * 5000, "bad", "bad"),
        (b"V", "bad", "bad"),
        (b"1_000", "bad", "bad"),
        (b"0x10", "bad", "bad"),
        (b"\xff", "bad", "bad"),
        (b"1\x00", "bad", "bad"),
    ],
)
@pytest.mark.parametrize("company", [[], [b"x"]])
def test_cast(text: bytes | None, integer: object, number: object, company: list[bytes]) -> None:
    column = pa.array([text, *company], pa.binary())
    for dtype, expected, missing in (("int64", integer, -1), ("float32", number, math.nan)):
        values, invalid = cast(column, dtype)
        assert invalid[0] == (expected == "bad"), dtype
        np.testing.assert_equal(values[0].as_py(), missing if expected in (None, "bad") else expected)
        assert values.null_count == 0


@given(st.lists(st.none() | NUMBERS, max_size=12))
def test_any_bytes_give_a_number_missing_or_invalid(cells: list[bytes | None]) -> None:
    for dtype, kind in (("int64", int), ("float32", float)):
        values, invalid = cast(pa.array(cells, pa.binary()), dtype)
        assert len(values) == len(invalid) == len(cells)
        assert values.null_count == 0
        for cell, value, bad in zip(cells, values.to_pylist(), invalid, strict=True):
            if not cell or bad:
                assert not cell or value == -1 or math.isnan(value)
            elif not math.isnan(value):
                assert value == (np.float32(cell) if kind is float else int(cell))


@given(st.lists(st.none() | st.binary(max_size=6), max_size=8))
def test_lists_of_strings_equal_pythons_split_without_empty_parts(cells: list[bytes | None]) -> None:
    values, invalid = cast_lists(pa.array(cells, pa.binary()), "string", "|")
    assert values.to_pylist() == [[part for part in (cell or b"").split(b"|") if part] for cell in cells]
    assert not invalid.any()


def test_lists_of_integers_leave_out_missing_ones_and_name_bad_rows() -> None:
    values, invalid = cast_lists(pa.array([b"1|-1||3", None, b"2|x", b""], pa.binary()), "int64", "|")
    assert values.to_pylist() == [[1, 3], [], [2], []]
    assert invalid.tolist() == [False, False, True, False]
