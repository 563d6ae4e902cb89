"""Ranks and their metrics: by hand, by slow loops with ties and NaN, and by scikit-learn without ties."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_reference import metrics_of, ranks_of
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from trainer.matching.ranks import NEVER, list_metrics, merged_lists, ranks, user_metrics

SCORES = st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0, np.inf, np.nan])


def _ranks(positives: list[list[float]], negatives: list[list[float]]) -> np.ndarray:
    """Ranks of rows of several lengths."""
    (wanted, is_positive), (others, is_negative) = _padded(positives), _padded(negatives)
    return ranks(wanted, others, is_positive, is_negative)


def _padded(rows: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Rows as a table, and which of its places they fill; what is beyond them is high enough to be noticed."""
    there = np.arange(max(map(len, rows))) < np.array([len(row) for row in rows])[:, None]
    scores = np.full(there.shape, 7.0)
    scores[there] = [score for row in rows for score in row]
    return scores, there


def test_ties_and_what_is_no_number_count_against_a_positive() -> None:
    nan = np.nan
    found = _ranks(
        [[2.0], [2.0], [2.0], [nan], [nan, 1.0], [1.0, 3.0, 1.0]],
        [[1, 1, 0], [3, 2, 2], [nan, 1, 1], [0, 0, 0], [0, 2, 0], [1, 2, 0]],
    )
    never = NEVER
    # The last: 3 is first; both 1 stand behind the other 1 and the 2, one of them behind the other.
    assert found.tolist() == [[1, never, never], [4, never, never], [2, never, never], [4, never, never], [2, 5, never], [1, 4, 5]]


@given(st.lists(st.tuples(st.lists(SCORES, min_size=1, max_size=4), st.lists(SCORES, max_size=6)), min_size=1, max_size=4))
def test_ranks_and_metrics_are_those_of_slow_loops(rows: list[tuple[list[float], list[float]]]) -> None:
    found = _ranks([row[0] for row in rows], [row[1] for row in rows])
    metrics = user_metrics(found, np.array([len(row[0]) for row in rows]), (1, 3, 20))
    for row, (positives, negatives) in enumerate(rows):
        expected = ranks_of([*positives, *negatives], range(len(positives)), range(len(positives), len(positives) + len(negatives)))
        assert found[row].tolist() == [*expected, *[NEVER] * (found.shape[1] - len(expected))]
        for k in (1, 3, 20):
            for name, value in metrics_of(expected, len(positives), k).items():
                assert metrics[name][row] == pytest.approx(value, abs=1e-12), name


@given(st.lists(SCORES, min_size=1, max_size=5), st.lists(SCORES.filter(lambda s: s == s), max_size=12), st.integers(1, 4))
def test_the_best_k_negatives_are_enough_for_metrics_at_k(positives: list[float], negatives: list[float], k: int) -> None:
    count = np.array([len(positives)])
    every = user_metrics(_ranks([positives], [negatives]), count, (k,))
    best = user_metrics(_ranks([positives], [sorted(negatives, reverse=True)[:k]]), count, (k,))
    assert every == best


def test_constant_scores_give_the_worst_rank() -> None:
    found = _ranks([[0.0], [0.0, 0.0]], [[0.0] * 99, [0.0] * 99])
    assert found.tolist() == [[100, NEVER], [100, 101]]


def test_metrics_by_hand() -> None:
    # Targets at ranks 2, 3 and 9, K = 5: two hits; average precision (1/2 + 2/3) / 3; DCG 1/log2(3) + 1/log2(4) over 1 + the same two.
    metrics = user_metrics(np.array([[2, 3, 9]]), np.array([3]), (5, 2))
    dcg = 0.6309297535714574 + 0.5
    assert {name: float(value[0]) for name, value in metrics.items() if name.endswith("@5")} == pytest.approx(
        {"hit_rate@5": 1, "ndcg@5": dcg / (1 + dcg), "mrr@5": 0.5, "map@5": (1 / 2 + 2 / 3) / 3, "precision@5": 0.4, "recall@5": 2 / 3}
    )
    # K = 2: one hit of two places; the best would be ranks 1 and 2.
    assert metrics["ndcg@2"][0] == pytest.approx(0.6309297535714574 / 1.6309297535714574)
    assert metrics["map@2"][0] == pytest.approx((1 / 2) / 2)
    assert metrics["recall@2"][0] == pytest.approx(1 / 3)


@pytest.mark.parametrize("k", [1, 5, 10, 40])
def test_ndcg_is_that_of_scikit_learn_without_ties(k: int) -> None:
    rng = np.random.default_rng(k)
    scores = rng.permuted(np.tile(np.arange(40.0), (30, 1)), axis=1)
    relevant = rng.random((30, 40)) < rng.uniform(0.03, 0.5, (30, 1))
    relevant[:, 0] = True
    found = ranks(scores, scores, relevant, ~relevant)
    ours = user_metrics(found, relevant.sum(1), (k,))[f"ndcg@{k}"]
    assert ours.mean() == pytest.approx(ndcg_score(relevant, scores, k=k), abs=1e-12)


def test_lists_are_in_order_of_score_then_number() -> None:
    scores, items = np.array([[1.0, 3.0, 3.0, 9.0], [np.inf, 0.0, 0.0, 0.0]]), np.array([[5, 4, 2, 7], [1, 6, 0, 3]])
    there = np.array([[True, True, True, False], [True, True, True, True]])
    assert merged_lists(scores, items, there, 3).tolist() == [[2, 4, 5], [1, 0, 3]]
    assert merged_lists(scores, items, there, 6).tolist() == [[2, 4, 5, -1, -1, -1], [1, 0, 3, 6, -1, -1]]


def test_coverage_and_popularity_by_hand() -> None:
    lists, counts = np.array([[0, 1], [0, 3], [2, -1], [-1, -1]]), np.array([100, 10, 4, 2, 0])
    # First places hold items 0, 0 and 2 of five; the last user has no list at all, the third one item of two.
    assert list_metrics(lists, counts, (1, 2)) == pytest.approx(
        {"coverage@1": 2 / 5, "popularity@1": (100 + 100 + 4) / 3, "coverage@2": 4 / 5, "popularity@2": (55 + 51 + 4) / 3}
    )
