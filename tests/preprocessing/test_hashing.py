"""A hash of a row depends on the row's own bytes and the seed, on nothing else, and never changes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocessing import hashing
from preprocessing.hashing import hash_rows

CELLS = st.lists(st.binary(max_size=12), min_size=1, max_size=30)


def _column(values: list[bytes | None]) -> pa.Array:
    return pa.array(values, pa.binary())


def test_hashes_never_change() -> None:
    # Golden: data sets that people have split must stay split the same way.
    hashes = hash_rows([_column([b"", b"a", b"user 1", None]), _column([b"b", b"", b"\xff\x00", b"b"])], seed=3)
    assert hashes.tolist() == [4719148981967273861, 7805575838961335688, 1791776589323337471, 4719148981967273861]


@given(cells=CELLS, begin=st.integers(0, 5))
def test_a_hash_depends_on_its_own_row_only(cells: list[bytes], begin: int) -> None:
    column = _column(cells)
    alone = [int(hash_rows([_column([cell])])[0]) for cell in cells]
    assert hash_rows([column]).tolist() == alone
    assert hash_rows([column.slice(begin)]).tolist() == alone[begin:] if begin < len(cells) else True


def test_batches_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    column = _column([b"%d" % (i * i) for i in range(100)])
    expected = hash_rows([column])
    monkeypatch.setattr(hashing, "_ROWS_AT_ONCE", 7)
    np.testing.assert_array_equal(hash_rows([column]), expected)


def test_order_length_and_column_matter() -> None:
    cells = [b"ab", b"ba", b"a", b"a\x00", b"\x00a", b"", b"\x00", b"b"]
    assert len(set(hash_rows([_column(cells)]).tolist())) == len(cells)
    left, right = _column([b"x", b"y", b"", b"xy"]), _column([b"y", b"x", b"xy", b""])
    assert len(set(hash_rows([left, right]).tolist())) == 4


def test_no_collisions_and_even_bits_over_consecutive_numbers() -> None:
    hashes = hash_rows([_column([b"%d" % i for i in range(200_000)])])
    assert len(np.unique(hashes)) == 200_000
    ones = [(hashes >> np.uint64(bit) & np.uint64(1)).mean() for bit in range(64)]
    # Standard error of a fair coin: .5 / sqrt(200000) = .0011.
    np.testing.assert_allclose(ones, 0.5, atol=0.006)


def test_lists_hash_by_their_values_in_order() -> None:
    lists = [[b"a", b"b"], [b"b", b"a"], [b"ab"], [b"a", b"b", b""], [b""], [], None, [b"a", b"b"]]
    hashes = hash_rows([pa.array(lists, pa.list_(pa.binary()))]).tolist()
    assert hashes[0] == hashes[7]
    assert hashes[5] == hashes[6]
    assert len(set(hashes)) == 6
    sliced = pa.array([[b"x"], *lists], pa.list_(pa.binary())).slice(1)
    assert hash_rows([sliced]).tolist() == hashes
    nested = pa.array([[[b"a"], [b"b"]], [[b"a", b"b"]], [[b"a"], [b"b"]]], pa.list_(pa.list_(pa.binary())))
    first, second, third = hash_rows([nested]).tolist()
    assert first == third != second
