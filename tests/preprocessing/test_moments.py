"""Where a temporal split cuts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocessing import moments
from preprocessing.moments import Moments
from preprocessing.splits import by_time

TIMES = st.lists(st.integers(-50, 50), max_size=60)


def _of(times: list[int]) -> Moments:
    return Moments.of(np.array(times, np.int64))


def test_cuts_by_hand() -> None:
    assert _of(list(range(100, 110))).boundaries((0.8, 0.1, 0.1)) == (108, 109)
    assert _of(list(range(10))).boundaries((0.5, 0.25, 0.25)) == (5, 7)
    # Ties stay together: 6 of 10 rows are before 3, 9 before 7, all before 8, which is after the end.
    assert _of([1, 1, 1, 1, 1, 1, 3, 3, 3, 7]).boundaries((0.7, 0.2, 0.1)) == (3, 7)
    assert _of([1, 1, 1, 1, 1, 1, 3, 3, 3, 7]).boundaries((0.8, 0.2, 0.0)) == (7, 8)
    # One moment trains at least; missing times count for nothing.
    assert _of([5, 5, -1, -1]).boundaries((0.1, 0.45, 0.45)) == (6, 6)
    assert _of([-1]).boundaries((0.8, 0.1, 0.1)) == (0, 0)
    assert _of([]).boundaries((0.8, 0.1, 0.1)) == (0, 0)


@given(parts=st.lists(TIMES, min_size=1, max_size=5), bound=st.sampled_from([2, 3, 10, 1000]))
def test_counts_do_not_depend_on_how_rows_are_grouped(parts: list[list[int]], bound: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moments, "_MAX_CELLS", bound)
        whole = _of([time for part in parts for time in part])
        for order in (parts, parts[::-1]):
            merged = _of([])
            for part in order:
                merged = merged.merged(_of(part))
            assert merged.shift == whole.shift
            np.testing.assert_array_equal(merged.cells, whole.cells)
            np.testing.assert_array_equal(merged.counts, whole.counts)
        assert len(whole.cells) <= bound


@given(times=st.lists(st.integers(0, 10**6), min_size=1, max_size=200, unique=True))
def test_shares_of_distinct_times_are_within_half_a_row(times: list[int]) -> None:
    splits = by_time(np.array(times), _of(times).boundaries((0.7, 0.2, 0.1)))
    before = np.cumsum(np.bincount(splits, minlength=3))
    assert abs(before[0] - max(0.7 * len(times), 1)) <= 0.5 + 1e-9
    assert abs(before[1] - max(0.9 * len(times), 1)) <= 0.5 + 1e-9
    assert np.all(np.diff(splits[np.argsort(times)]) >= 0)


def test_many_distinct_times_are_bounded() -> None:
    times = np.random.default_rng(0).integers(0, 2**40, 3_000_000)
    counted = Moments.of(times)
    assert len(counted.cells) <= 1 << 20
    splits = by_time(times, counted.boundaries((0.8, 0.1, 0.1)))
    np.testing.assert_allclose(np.bincount(splits) / len(times), [0.8, 0.1, 0.1], atol=1e-5)
