"""Metrics against scikit-learn and against brute force, with ties and constant scores."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from trainer import metrics
from trainer.evaluation import group_codes


def _data(seed: int, rows: int, levels: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, rows).astype(np.float32)
    labels[:2] = 0, 1
    return labels, rng.integers(-levels, levels + 1, rows) / levels * 4.0


@pytest.mark.parametrize(("levels", "threshold"), [(1, 0.5), (3, 0.2), (10_000, 0.7)])
def test_agrees_with_scikit_learn(levels: int, threshold: float) -> None:
    labels, logits = _data(levels, 500, levels)
    ours = metrics.binary_metrics(labels, logits, threshold=threshold)
    probabilities = 1 / (1 + np.exp(-logits))
    assert ours["auc"] == pytest.approx(sk.roc_auc_score(labels, logits), abs=1e-12)
    assert ours["pr_auc"] == pytest.approx(sk.average_precision_score(labels, logits), abs=1e-12)
    assert ours["log_loss"] == pytest.approx(sk.log_loss(labels, probabilities), abs=1e-12)
    assert ours["accuracy"] == pytest.approx(sk.accuracy_score(labels, probabilities >= threshold))
    assert ours["precision"] == pytest.approx(sk.precision_score(labels, probabilities >= threshold))
    assert ours["recall"] == pytest.approx(sk.recall_score(labels, probabilities >= threshold))


@pytest.mark.parametrize("rows", [1, 7, 15, 300])
def test_calibration_bins_are_those_of_array_split(rows: int) -> None:
    rng = np.random.default_rng(rows)
    labels, logits = rng.integers(0, 2, rows).astype(np.float64), rng.normal(size=rows)
    order = np.argsort(logits)
    gaps = labels[order] - 1 / (1 + np.exp(-logits[order]))
    expected = sum(abs(part.sum()) for part in np.array_split(gaps, min(15, rows))) / rows
    assert metrics.binary_metrics(labels, logits)["ece"] == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_calibration_error_equals_the_loop_in_any_order_of_ties(rows: list[tuple[bool, int]], dice: random.Random) -> None:
    labels, scores = (np.array(column, np.float64) for column in zip(*sorted(rows, key=lambda row: row[1]), strict=True))
    means = [labels[scores == score].mean() for score in scores]
    probabilities = 1 / (1 + np.exp(-scores))
    count, expected = min(15, len(rows)), 0.0
    for number in range(count):
        places = range(number * len(rows) // count, (number + 1) * len(rows) // count)
        assert len(rows) // count <= len(places) <= len(rows) // count + 1
        expected += abs(sum(means[place] - probabilities[place] for place in places)) / len(rows)
    dice.shuffle(rows)
    labels, scores = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    assert metrics.binary_metrics(labels, scores)["ece"] == pytest.approx(expected, abs=1e-12)


def test_constant_scores_are_worth_nothing() -> None:
    labels = np.array([0, 1, 1, 0], np.float32)
    assert metrics.auc(labels, np.zeros(4)) == 0.5
    assert metrics.average_precision(labels, np.zeros(4)) == 0.5


def test_extreme_logits_stay_finite() -> None:
    ours = metrics.binary_metrics(np.array([0.0, 1.0]), np.array([1e4, 1e4]))
    assert ours["log_loss"] == pytest.approx(5000.0)  # (10000 + 0) / 2
    assert np.isfinite(ours["ece"])


def test_one_class_has_no_auc() -> None:
    ours = metrics.binary_metrics(np.ones(3), np.arange(3.0), np.zeros(3, np.int32))
    assert np.isnan(ours["auc"])
    assert np.isnan(ours["gauc"])
    assert np.isnan(ours["normalized_entropy"])
    nothing = metrics.binary_metrics(np.zeros(3), np.arange(3.0))
    assert np.isnan(nothing["recall"])
    assert np.isnan(nothing["pr_auc"])


def test_numbers_worked_by_hand() -> None:
    # Two groups: in the first the positive is above one of two negatives (AUC 1/2, 3 rows), in the second above its one (1, 2 rows).
    labels, scores = np.array([1, 0, 0, 1, 0.0]), np.array([0.2, 0.1, 0.3, 0.9, 0.1])
    assert metrics.grouped_auc(labels, scores, np.array([7, 7, 7, 9, 9])) == pytest.approx((3 * 0.5 + 2 * 1.0) / 5)
    # Mean label 1/2, so the entropy of the base rate is ln 2; logits of zero have a log loss of ln 2.
    flat = metrics.binary_metrics(np.array([0, 1.0]), np.zeros(2))
    assert flat["normalized_entropy"] == pytest.approx(1.0)
    assert flat["calibration_ratio"] == pytest.approx(1.0)  # (1/2 + 1/2) / 1
    # Two bins of one row each: |0.25 - 0| / 2 + |0.75 - 1| / 2.
    assert metrics.expected_calibration_error(np.array([1.0, 0.0]), np.array([0.75, 0.25]), bins=2) == pytest.approx(0.25)
    assert metrics.regression_metrics(np.array([1.0, 2.0]), np.array([1.0, 4.0])) == pytest.approx({"rmse": 2**0.5, "mae": 1.0})


def test_rows_of_no_group_are_left_out_of_the_groups_metric_alone() -> None:
    # The rows without a group are ranked wrong: as a group of their own their AUC would be 0.
    labels, scores = np.array([1, 0, 1, 0.0]), np.array([2, 1, 1, 2.0])
    groups = group_codes(pa.chunked_array([["a", "a", None, None]]))
    assert metrics.grouped_auc(labels, scores, groups) == 1.0
    assert metrics.grouped_auc(labels, scores, groups.filled(-1)) == 0.5
    ours = metrics.binary_metrics(labels, scores, groups)
    assert (ours["gauc"], ours["auc"]) == (1.0, metrics.auc(labels, scores))
    assert np.isnan(metrics.grouped_auc(labels, scores, group_codes(pa.chunked_array([[None, None], [None, None]], pa.string()))))
    assert metrics.grouped_auc(labels, scores, group_codes(pa.chunked_array([[7, 7, 9, 9]]))) == 0.5


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(-2, 2)), min_size=1, max_size=40))
def test_grouped_auc_equals_the_double_loop(rows: list[tuple[int, bool, int]]) -> None:
    groups, labels, scores = (np.array(column) for column in zip(*rows, strict=True))
    total = weight = 0.0
    for group in set(groups.tolist()):
        mine = groups == group
        pairs = [(p > n) + 0.5 * (p == n) for p in scores[mine & labels] for n in scores[mine & ~labels]]
        if pairs:
            total += mine.sum() * np.mean(pairs)
            weight += mine.sum()
    ours = metrics.grouped_auc(labels.astype(float), scores.astype(float), groups)
    assert np.isnan(ours) if weight == 0 else ours == pytest.approx(total / weight)


@pytest.mark.parametrize("groups", [["a", "a", "b", "b"], [-1, -1, 0, 0], [-(2**62), -(2**62), 2**62, 2**62], [0.5, 0.5, 2.5, 2.5]])
def test_group_numbers_of_any_type(groups: list) -> None:
    labels, scores = np.array([1, 0, 1, 0.0]), np.array([2, 1, 1, 2.0])
    for kind in (np.float64, np.float32, np.int8):
        assert metrics.grouped_auc(labels, scores.astype(kind), np.array(groups)) == 0.5


_SCORES = st.one_of(st.sampled_from([-0.0, 0.0, -1e-45, 1e-45, 1e30, -1e30, 0.1]), st.floats(-(2.0**60), 2.0**60, width=32))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), _SCORES, st.integers(1, 3)), min_size=2, max_size=40), st.sampled_from([np.float32, np.float64]))
def test_ties_count_one_half_as_in_scikit_learn(rows: list[tuple[bool, float, int]], kind: type) -> None:
    """Scores of both signs, both zeros and numbers that are next to none, some of them several times."""
    labels, scores, times = (np.array(column) for column in zip(*rows, strict=True))
    labels, scores = np.repeat(labels, times), np.repeat(scores, times).astype(kind)
    ours = metrics.auc(labels.astype(np.float32), scores)
    if labels.all() or not labels.any():
        assert np.isnan(ours)
        return
    assert ours == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)
    assert metrics.average_precision(labels, scores) == pytest.approx(sk.average_precision_score(labels, scores), abs=1e-12)
    assert metrics.grouped_auc(labels, scores, np.zeros(len(labels))) == pytest.approx(ours, abs=1e-15)


def test_the_auc_of_many_rows_is_a_ratio_of_whole_numbers() -> None:
    # 3 million positives score 1, 3 million negatives 0 but for one that scores 1: (P N - P / 2) / (P N).
    count = 3_000_000
    labels, scores = np.repeat([1.0, 0.0], count), np.repeat(np.array([1, 0], np.float32), count)
    scores[-1] = 1
    assert metrics.auc(labels, scores) == 1 - 0.5 / count


def test_scores_that_are_no_numbers_have_no_auc() -> None:
    labels, scores = np.array([1, 0, 1, 0.0]), np.array([2, np.nan, 1, np.nan])
    with np.errstate(invalid="ignore"):
        ours = metrics.binary_metrics(labels, scores, np.zeros(4, np.int32))
    assert all(np.isnan(ours[name]) for name in ("auc", "pr_auc", "log_loss", "ece", "gauc"))
    assert ours["recall"] == 1.0
