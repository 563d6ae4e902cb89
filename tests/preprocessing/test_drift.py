"""Distances between distributions, and when they warn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import jensenshannon

from preprocessing.drift import compare, compare_labels, compare_lengths, distances, jensen_shannon
from preprocessing.sketches import CAPACITY, Numbers
from preprocessing.summaries import Summary

COUNTS = hnp.arrays(np.int64, 7, elements=st.integers(0, 1000)).filter(np.any)


def _numeric(numbers: np.ndarray, missing: int = 0) -> Summary:
    summary = Summary(rows=len(numbers) + missing, missing=missing, numbers=[Numbers()])
    summary.numbers[0].add(numbers.astype(np.float32))
    return summary


def _tokens(ids: np.ndarray, missing: int = 0, oov: int = 0) -> Summary:
    cells = np.bincount(ids, minlength=CAPACITY)
    return Summary(rows=len(ids) + missing + oov, missing=missing, values=len(ids) + oov, oov=oov, cells=cells)


@given(COUNTS, COUNTS)
def test_jensen_shannon_is_that_of_scipy(p: np.ndarray, q: np.ndarray) -> None:
    p, q = p / p.sum(), q / q.sum()
    assert jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q, base=2) ** 2, abs=1e-7)
    assert 0 <= jensen_shannon(p, q) <= 1 + 1e-9


def test_distances_by_hand() -> None:
    drift = distances(np.array([1.0, 0.0]), np.array([0.0, 1.0]), (1000, 1000))
    assert (drift.js, drift.linf) == (1.0, 1.0)
    # Middle (3/4, 1/4): (log2(4/3) + (1/2) log2(2/3) + (1/2) log2(2)) / 2.
    half = distances(np.array([1.0, 0.0]), np.array([0.5, 0.5]), (1000, 1000))
    assert half.js == pytest.approx((np.log2(4 / 3) + 0.5 * np.log2(2 / 3) + 0.5) / 2)
    assert half.linf == 0.5
    # One degree of freedom: (1 + 3 sqrt(2)) / (8 ln 2) times 2/1000; share 3/4 over both.
    assert half.js_noise == pytest.approx((1 + 3 * np.sqrt(2)) / (8 * np.log(2)) * 0.002)
    assert half.linf_noise == pytest.approx(3 * np.sqrt(0.75 * 0.25 * 0.002))
    assert half.exceeds()
    assert not half.exceeds(js=0.4, linf=0.5)


def test_missing_values_and_those_outside_count() -> None:
    train, other = _tokens(np.repeat([1, 2], 500)), _tokens(np.repeat([1, 2], 300), missing=400)
    drift = compare(train, other)
    assert drift is not None
    assert drift.linf == pytest.approx(0.4)
    assert (drift.widest, drift.shares) == ("missing", (0.0, pytest.approx(0.4)))
    outside = compare(train, _tokens(np.repeat([1, 2], 300), oov=400))
    assert outside is not None
    assert (outside.widest, outside.js) == ("outside the vocabulary", pytest.approx(drift.js))
    named = compare(train, _tokens(np.repeat([1, 2], [900, 100])), lambda cell: f"token {cell}")
    assert named is not None
    assert named.widest == "token 1"


def test_numbers_fall_into_tenths_of_the_training_rows() -> None:
    train = _numeric(np.arange(10_000))
    same = compare(train, _numeric(np.arange(0, 10_000, 3)))
    assert same is not None
    assert same.js < 0.001
    upper = compare(train, _numeric(np.arange(9000, 10_000)))
    assert upper is not None
    # All in the last tenth: 1 against 0.1, about as much as the cells are wide.
    assert upper.linf == pytest.approx(0.9, abs=0.01)
    beyond = compare(train, _numeric(np.arange(10_500, 11_000)))
    assert beyond is not None
    assert beyond.js == pytest.approx(1)
    assert beyond.widest.startswith("above all training numbers, up to 11")


def test_few_different_numbers_have_cells_of_their_own() -> None:
    drift = compare(_numeric(np.repeat([0, 1], [700, 300])), _numeric(np.repeat([0, 1], [300, 700])))
    assert drift is not None
    assert drift.linf == pytest.approx(0.4)
    labels = compare_labels(_numeric(np.repeat([0, 1], [700, 300])).numbers[0], _numeric(np.repeat([0, 1], [300, 700])).numbers[0])
    assert labels is not None
    assert labels.means == pytest.approx((0.3, 0.7))


def test_a_small_split_does_not_warn_for_nothing() -> None:
    dice = np.random.default_rng(0)
    weights = 1 / np.arange(1, 2001)
    weights /= weights.sum()
    train_ids = _tokens(dice.choice(2000, 20_000, p=weights) + 1)
    train_numbers = _numeric(dice.normal(size=20_000))
    warned = 0
    for _ in range(300):
        ids = compare(train_ids, _tokens(dice.choice(2000, 50, p=weights) + 1))
        numbers = compare(train_numbers, _numeric(dice.normal(size=50)))
        warned += ids.exceeds() + numbers.exceeds()  # type: ignore[union-attr]
    assert warned == 0
    shifted = compare(train_numbers, _numeric(dice.normal(1.5, 1, size=50)))
    assert shifted is not None
    assert shifted.exceeds()


def test_nothing_to_compare() -> None:
    assert compare(_tokens(np.array([1])), Summary()) is None
    assert compare_labels(Numbers(), Numbers()) is None
    assert compare_lengths(_tokens(np.array([1])), _tokens(np.array([1]))) is None
    empty = compare(Summary(rows=5, missing=5), Summary(rows=5, missing=5))
    assert empty is None or empty.js == 0
    gone = compare(_numeric(np.arange(100)), _numeric(np.zeros(0), missing=100))
    assert gone is not None
    assert gone.js == pytest.approx(1)
