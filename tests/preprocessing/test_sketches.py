"""Sketches: exact while there is little, within their bounds beyond, and the same in any order."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocessing import sketches
from preprocessing.hashing import mixed
from preprocessing.packing import pack, unpack
from preprocessing.sketches import Distinct, Frequent, Histogram, Numbers

PARTS = st.lists(st.lists(st.integers(-50, 50), max_size=30), min_size=1, max_size=6)
FLOATS = st.lists(st.lists(st.floats(-1048576.0, 1048576.0, width=32), max_size=30), min_size=1, max_size=6)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """Room for eight values, so that few of them overflow."""
    monkeypatch.setattr(sketches, "CAPACITY", 8)
    return 8


def _distinct(values: list[int]) -> Distinct:
    sketch = Distinct()
    sketch.add(mixed(np.array(values, np.int64).view(np.uint64)))
    return sketch


def _numbers(values: list[float], limit: int = 8) -> Numbers:
    sketch = Numbers(Histogram(limit=limit))
    sketch.add(np.array(values, np.float32))
    return sketch


def _frequent(values: list[int]) -> Frequent:
    sketch = Frequent()
    counts = Counter(values)
    sketch.add(pa.array(list(counts), pa.int64()), np.array(list(counts.values()), np.int64))
    return sketch


def _merged(parts: list) -> Any:
    total = copy.deepcopy(parts[0])
    for part in parts[1:]:
        total.merge(part)
    return total


def _content(sketch: object) -> dict[str, bytes]:
    return dict(zip(*(pack(sketch)[name].to_pylist() for name in ("path", "content")), strict=True))


@given(PARTS)
def test_distinct_values_are_exact_while_there_is_room(parts: list[list[int]]) -> None:
    everything = [value for part in parts for value in part]
    total = _merged([_distinct(part) for part in parts])
    assert total.estimate == len(set(everything))
    assert total.error == 0
    assert sorted(total.counts) == sorted(Counter(everything).values())


@given(PARTS, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_sketches_do_not_depend_on_the_order_of_the_parts(parts: list[list[int]], dice: object) -> None:
    shuffled = parts[:]
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    capacity, sketches.CAPACITY = sketches.CAPACITY, 8
    try:
        one, other = (_merged([_numbers(part) for part in order]) for order in (parts, shuffled))
        assert _content(one.histogram) == _content(other.histogram)
        assert (one.mean_and_deviation, one.low, one.high) == (other.mean_and_deviation, other.low, other.high)
        # However they are dealt out; of numbers the last bits of the moments depend on that.
        one, other, whole = (_merged([_distinct(part) for part in order]) for order in (parts, shuffled, [sum(parts, [])]))
        assert _content(one) == _content(other) == _content(whole)
    finally:
        sketches.CAPACITY = capacity


def test_distinct_values_are_estimated_beyond_that() -> None:
    sketch = Distinct()
    for begin in range(0, 200_000, 10_000):
        sketch.add(mixed(np.arange(begin, begin + 20_000, dtype=np.uint64)))
    assert sketch.is_full
    assert sketch.error == pytest.approx(4094**-0.5)
    # 210,000 distinct values; four standard errors.
    assert sketch.estimate == pytest.approx(210_000, rel=4 * sketch.error)


@given(st.lists(st.integers(0, 30)), st.lists(st.integers(0, 30)))
def test_values_that_others_lack(mine: list[int], others: list[int]) -> None:
    assert _distinct(mine).unseen(_distinct(others)) == sum(value not in others for value in mine)


def test_values_that_others_lack_are_estimated_beyond_that() -> None:
    mine, others = _distinct(list(range(100_000))), _distinct(list(range(30_000, 130_000)))
    assert mine.unseen(others) == pytest.approx(30_000, rel=0.1)


@given(FLOATS)
def test_quantiles_are_exact_while_there_is_room(parts: list[list[float]]) -> None:
    everything = np.array([value for part in parts for value in part], np.float32)
    total = _merged([_numbers(part, limit=4096) for part in parts])
    shares = [0.0, 0.01, 0.25, 0.5, 0.9, 1.0]
    if len(everything):
        assert total.quantiles(shares) == np.quantile(everything, shares, method="inverted_cdf").astype(np.float64).tolist()
        assert (total.low, total.high) == (everything.min(), everything.max())
    assert total.histogram.error == 0
    assert total.count == len(everything)


def test_quantiles_are_within_their_error_beyond_that() -> None:
    numbers = np.random.default_rng(0).lognormal(3, 2, 100_000).astype(np.float32) * np.float32(-1)
    sketch = Numbers()
    for part in np.array_split(numbers, 7):
        sketch.add(part)
    shares = [0.01, 0.1, 0.5, 0.9, 0.99]
    exact = np.quantile(numbers.astype(np.float64), shares, method="inverted_cdf")
    assert 0 < sketch.histogram.error < 0.005
    np.testing.assert_allclose(sketch.quantiles(shares), exact, rtol=sketch.histogram.error * 1.01)
    mean, deviation = sketch.mean_and_deviation
    assert mean == pytest.approx(numbers.astype(np.float64).mean())
    assert deviation == pytest.approx(numbers.astype(np.float64).std())
    assert len(sketch.histogram.cells) <= 4096


def test_cells_by_hand() -> None:
    # 1.5 is 0x3FC00000; ordered, its first bit is set. Half the range of a cell of 2^20 numbers is 1/16 at 1.
    histogram = Histogram(limit=2)
    histogram.add(np.array([1.0, 1.01, 1.5, -0.0, 0.0], np.float32))
    assert histogram.counts.sum() == 5
    assert len(histogram.cells) == 2
    low, high = histogram.edges()
    assert low[0] <= 0 <= high[0] < low[1] <= 1 < 1.5 <= high[1]
    zeros = Histogram()
    zeros.add(np.array([0.0, -0.0], np.float32))
    assert zeros.counts.tolist() == [2]


def test_no_numbers() -> None:
    assert np.isnan(Numbers().quantiles([0.5])).all()
    assert Numbers().count == 0
    nothing = Histogram(limit=0)
    nothing.add(np.ones(3, np.float32))
    nothing.merge(Histogram(cells=np.ones(1, np.uint32), counts=np.ones(1, np.int64)))
    assert not len(nothing.cells)


@given(st.lists(st.lists(st.integers(0, 15), max_size=40), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_frequent_values_are_within_their_bound(parts: list[list[int]], dice: object) -> None:
    dice.shuffle(parts)  # type: ignore[attr-defined]
    capacity, sketches.CAPACITY = sketches.CAPACITY, 8
    try:
        total = _merged([_frequent(part) for part in parts])
    finally:
        sketches.CAPACITY = capacity
    true = Counter(value for part in parts for value in part)
    assert total.lost <= sum(true.values()) / 9
    found = dict(total.top(100))
    assert len(found) <= 8
    assert all(0 <= true[value] - count <= total.lost for value, count in found.items())
    assert all(value in found for value, count in true.items() if count > total.lost)
    if len(true) <= 8:
        assert found == true


def test_the_most_frequent_values_in_order() -> None:
    sketch = Frequent()
    sketch.add(pa.array([b"b", b"a", b"\xff", b""], pa.binary()), np.array([2, 2, 5, 1]))
    sketch.add(pa.array([b"", b"c"], pa.binary()), np.array([3, 1]))
    assert sketch.top(4) == [(b"\xff", 5), (b"", 4), (b"a", 2), (b"b", 2)]
    assert Frequent().top(3) == []


def test_packed_and_unpacked() -> None:
    tokens = Frequent()
    tokens.add(pa.array([b"a\x00", b"", b"\xff"], pa.binary()), np.array([3, 2, 1]))
    tree = {"d": _distinct([1, 2, 2]), "n": [_numbers([1.5, -2]), Numbers()], "f": tokens, "i": _frequent([7, 7, -1])}
    again = {"d": Distinct(), "n": [Numbers(), Numbers()], "f": Frequent(), "i": Frequent()}
    unpack(pack(tree), again)
    assert pack(again).equals(pack(tree))
    assert again["f"].top(9) == [(b"a\x00", 3), (b"", 2), (b"\xff", 1)]
    assert again["i"].top(9) == [(7, 2), (-1, 1)]
    assert again["n"][0].histogram.limit == 8
