"""Casts against Python's own, and that no bytes whatever break them."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.sources.casting import cast, cast_lists, cast_vectors

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
    found = cast_lists(pa.array(cells, pa.binary()), "string", "|")
    assert found.values.to_pylist() == [[part for part in (cell or b"").split(b"|") if part] for cell in cells]
    assert not found.invalid.any()


def test_lists_of_integers_leave_out_missing_ones_and_name_bad_rows() -> None:
    found = cast_lists(pa.array([b"1|-1||3", None, b"2|x", b""], pa.binary()), "int64", "|")
    assert found.values.to_pylist() == [[1, 3], [], [2], []]
    assert found.invalid.tolist() == [False, False, True, False]


LISTS = pa.list_(pa.binary())


def test_lists_that_are_lists_already_need_no_delimiter() -> None:
    found = cast_lists(pa.array([[b"a|b", None, b"", b"c"], [], None], LISTS), "string", "|")
    assert found.values.to_pylist() == [[b"a|b", b"c"], [], []]
    nested = cast_lists(pa.array([[[b"a"]], [], None], pa.list_(LISTS)), "string", "|")
    assert (nested.values.to_pylist(), nested.invalid.tolist()) == ([[], [], []], [True, False, False])


def test_a_list_of_one_is_a_value() -> None:
    values, invalid = cast(pa.array([[b"1"], [b"2", b"3"], [], None, [None]], LISTS), "int64")
    assert (values.to_pylist(), invalid.tolist()) == ([1, -1, -1, -1, -1], [False, True, False, False, False])


@pytest.mark.parametrize(
    ("cell", "weights", "kept", "bad"),
    [
        (b"a|b", b"2|0.5", [2.0, 0.5], False),
        # A missing value takes its weight along; a missing weight is 1.
        (b"a||b", b"2|3|", [2.0, 1.0], False),
        (b"a|b", b"nan|3", [1.0, 3.0], False),
        (b"a|b", b"", [1.0, 1.0], False),
        (b"", b"5", [], False),
        (b"a|b", b"5", [1.0, 1.0], True),
        (b"a", b"5|6", [1.0], True),
        (b"a|b", b"5|x", [5.0, 1.0], True),
        (b"a|b", b"inf|1", [1.0, 1.0], True),
    ],
)
def test_weights_stay_beside_their_values(cell: bytes, weights: bytes, kept: list[float], bad: bool) -> None:
    # Company on both sides: rows do not run into each other.
    cells, given = pa.array([b"x", cell, b"y|z"]), pa.array([b"7", weights, b"8|9"])
    found = cast_lists(cells, "string", "|", weights=given)
    assert found.weights.to_pylist() == [[7.0], kept, [8.0, 9.0]]
    assert found.invalid.tolist() == [False, bad, False]
    lists = cast_lists(pc.split_pattern(cells, "|"), "string", "?", weights=pc.split_pattern(given, "|"))
    assert lists.values.to_pylist() == found.values.to_pylist()
    assert cell == b"" or lists.weights.to_pylist() == found.weights.to_pylist()


def test_steps_of_several_values() -> None:
    cells = pa.array([b"a b|c||d  e", b"", None, b"x"])
    found = cast_lists(cells, "string", "|", " ")
    assert found.values.to_pylist() == [[b"a", b"b", b"c", b"d", b"e"], [], [], [b"x"]]
    # A step without values is none.
    assert found.steps.to_pylist() == [[0, 0, 1, 2, 2], [], [], [0]]
    nested = cast_lists(pa.array([[[b"a", b"b"], [], [b"c"]], None, [[None], [b"d"]]], pa.list_(LISTS)), "string", "|", " ")
    assert nested.values.to_pylist() == [[b"a", b"b", b"c"], [], [b"d"]]
    assert nested.steps.to_pylist() == [[0, 0, 1], [], [0]]


def test_vectors_have_one_size() -> None:
    cells = [b"1|2", b"", None, b"1|x", b"1", b"1|2|3", b"|3"]
    vectors, invalid = cast_vectors(pa.array(cells), 2, "|")
    nan = math.nan
    expected = [[1.0, 2.0], [nan, nan], [nan, nan], [1.0, nan], [nan, nan], [nan, nan], [nan, 3.0]]
    np.testing.assert_equal(vectors.to_pylist(), expected)
    assert invalid.tolist() == [False, False, False, True, True, True, False]
    lists, bad = cast_vectors(pc.split_pattern(pa.array([b"1,2", None, b"3"]), ","), 2, "|")
    np.testing.assert_equal(lists.to_pylist(), [[1.0, 2.0], [nan, nan], [nan, nan]])
    assert bad.tolist() == [False, False, True]
