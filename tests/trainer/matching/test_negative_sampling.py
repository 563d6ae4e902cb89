"""Negatives: their distribution, whose items they leave out, and that a seed repeats them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from trainer.matching.sampling import ItemDistribution, NegativeSampling, seen_in_batch

COUNTS = np.array([40, 20, 10, 5, 4, 1, 0])


def _flat(users: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.cumsum([0, *map(len, users)]), np.array(sum(users, []), np.int32)


def _draw(distribution: ItemDistribution, users: list[list[int]], rows: list[int], number: int, seed: int = 0) -> np.ndarray:
    seen = {name: tf.constant(values) for name, values in distribution.seen_items(*_flat(users)).items()}
    return distribution.draw(tf.constant(rows, tf.int64), number, tf.constant([seed, 7], tf.int64), seen).numpy()


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("max_users", [3, 1 << 24])
def test_each_user_gets_the_others_items_in_their_proportions(alpha: float, max_users: int) -> None:
    # In any order, and one item twice.
    users = [[3, 0, 3], [], [6, 5, 4, 1]]
    distribution = ItemDistribution(COUNTS, alpha, max_users)
    drawn = _draw(distribution, users, [0, 1, 2], 60_000)
    assert drawn.dtype == np.int32
    for row, own in enumerate(users):
        weights = np.array(
            [0.0 if item in own else (float(count) ** alpha if count or not alpha else 0.0) for item, count in enumerate(COUNTS)]
        )
        found = np.bincount(drawn[row], minlength=len(COUNTS))
        possible = weights > 0
        assert not found[~possible].any(), "neither an item of the user's nor, by popularity, one without interactions"
        assert chisquare(found[possible], 60_000 * weights[possible] / weights.sum()).pvalue > 0.001


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 8), max_size=12), min_size=1, max_size=6),
    st.sampled_from([0.0, 0.75]),
    st.integers(0, 1000),
)
def test_never_an_item_of_the_users_own(users: list[list[int]], alpha: float, seed: int) -> None:
    counts = 1 + np.bincount(sum(users, []), minlength=9)
    drawn = _draw(ItemDistribution(counts, alpha, len(users)), users, [*range(len(users))] * 2, 20, seed)
    assert drawn.shape == (2 * len(users), 20)
    assert drawn.min() >= 0
    assert drawn.max() < 9
    for row, items in enumerate(drawn):
        own = set(users[row % len(users)])
        assert len(own) == 9 or not own & set(items.tolist())


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_who_has_every_item_gets_draws_from_all(alpha: float) -> None:
    counts = np.array([6, 3, 1])
    users = [[0, 1, 2], [1], [2, 1, 0, 0]]
    drawn = _draw(ItemDistribution(counts, alpha, 3), users, [0, 1, 2], 30_000)
    weights = counts**alpha / (counts**alpha).sum()
    for row in (0, 2):
        assert chisquare(np.bincount(drawn[row]), 30_000 * weights).pvalue > 0.001
    assert 1 not in drawn[1]
    # Nobody has anything left.
    assert set(_draw(ItemDistribution(counts, alpha, 1), [[0, 1, 2]], [0], 1000).flat) == {0, 1, 2}


def test_one_item_left_is_always_drawn() -> None:
    users = [[0, 1, 2, 4, 5, 6], [1, 2, 3, 4, 5, 6]]
    for alpha in (0.0, 0.3, 2.0):
        drawn = _draw(ItemDistribution(COUNTS, alpha, 2), users, [0, 1], 50)
        assert set(drawn[0]) == {3}
        assert set(drawn[1]) == {0}


def test_without_users_any_item_is_drawn() -> None:
    seed = tf.constant([1, 2], tf.int64)
    uniform = ItemDistribution(COUNTS)
    assert chisquare(np.bincount(uniform.draw(tf.constant([5, 5], tf.int64), 35_000, seed).numpy().ravel())).pvalue > 0.001
    popular = ItemDistribution(COUNTS, 1.0)
    found = np.bincount(popular.draw_shared(80_000, seed), minlength=7)
    assert found[6] == 0
    assert chisquare(found[:6], 80_000 * COUNTS[:6] / 80).pvalue > 0.001


def test_a_seed_repeats_and_another_does_not() -> None:
    distribution = ItemDistribution(COUNTS, 0.5)
    first, again, other = (_draw(distribution, [[0]], [0], 100, seed).tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_log_q_is_the_log_of_the_chance_of_a_draw() -> None:
    np.testing.assert_allclose(ItemDistribution(COUNTS).log_q, np.full(7, -np.log(7)), rtol=1e-6)
    np.testing.assert_allclose(ItemDistribution(COUNTS, 1.0).log_q[:6], np.log(COUNTS[:6] / 80), rtol=1e-6)
    roots = np.sqrt(COUNTS)
    np.testing.assert_allclose(ItemDistribution(COUNTS, 0.5).log_q[:6], np.log(roots[:6] / roots.sum()), rtol=1e-6)
    assert np.isfinite(ItemDistribution(COUNTS, 1.0).log_q).all()


def test_a_large_catalogue_keeps_its_rarest_items() -> None:
    counts = np.ones(1_000_000, np.int64)
    counts[0] = 10**9
    distribution = ItemDistribution(counts, 1.0, 1 << 24)
    np.testing.assert_allclose(np.exp(distribution.log_q[[0, -1]]), np.array([10**9, 1]) / counts.sum(), rtol=5e-3)
    assert (1 << 24) * (distribution.total + 1) < 2**63


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 8), max_size=12), min_size=1, max_size=6), st.data())
def test_which_candidates_a_user_has(users: list[list[int]], data: Any) -> None:
    rows = data.draw(st.lists(st.integers(0, len(users) - 1), min_size=1, max_size=7))
    candidates = data.draw(st.lists(st.integers(0, 8), min_size=1, max_size=7))
    starts, items = (tf.constant(values) for values in _flat(users))
    found = seen_in_batch(starts, tf.cast(items, tf.int32), tf.constant(rows, tf.int64), tf.constant(candidates, tf.int32), 9)
    assert found.numpy().tolist() == [[item in users[row] for item in candidates] for row in rows]


def test_numbers_below_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="should be 0 or more"):
        NegativeSampling(per_positive=-1)


def test_a_large_power_of_large_counts_is_no_infinity() -> None:
    distribution = ItemDistribution(np.array([1_000_000, 900_000, 3]), 150.0)
    assert distribution.weights[0] > 1_000_000 * distribution.weights[1] > 0
    np.testing.assert_allclose(distribution.log_q[:2], [0, 150 * np.log(0.9)], atol=1e-4)
