"""Exact metrics, from all scores of a split at once: nothing is binned or averaged over batches.

All take NumPy arrays of one length N. A metric that is not defined on the data (AUC with one class) is NaN, never a made-up number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
_ECE_BINS = 15


def binary_metrics(labels: Floats, logits: Floats, groups: NDArray | None = None, threshold: float = 0.5) -> dict[str, float]:
    """Returns every metric of a binary task.

    Args:
        labels: `[N]`, 0 or 1.
        logits: `[N]`, before the sigmoid.
        groups: `[N]` group of each row, for GAUC; left out where not given.
        threshold: Probability from which a row counts as predicted positive (accuracy, precision, recall).

    Returns:
        auc, pr_auc (average precision), log_loss, normalized_entropy (log loss over that of the mean label; He et al., "Practical
        Lessons from Predicting Clicks on Ads at Facebook", ADKDD 2014), accuracy, precision, recall, ece (equal-mass bins),
        calibration_ratio (sum of probabilities over sum of labels), and gauc.
    """
    labels, logits = np.asarray(labels, np.float64), np.asarray(logits, np.float64)
    probabilities = sigmoid(logits)
    predicted = probabilities >= threshold
    hits = float(labels[predicted].sum())
    loss, base = log_loss(labels, logits), _entropy(float(labels.mean()))
    order = np.argsort(-logits, kind="stable")
    metrics = {
        "auc": auc(labels, logits),
        "pr_auc": average_precision(labels[order], logits[order]),
        "log_loss": loss,
        "normalized_entropy": loss / base if base > 0 else float("nan"),
        "accuracy": float((predicted == (labels > 0.5)).mean()),
        "precision": hits / float(predicted.sum()) if predicted.any() else float("nan"),
        "recall": hits / float(labels.sum()) if labels.any() else float("nan"),
        "ece": expected_calibration_error(labels[order], probabilities[order]),
        "calibration_ratio": float(probabilities.sum() / labels.sum()) if labels.any() else float("nan"),
    }
    if groups is not None:
        metrics["gauc"] = grouped_auc(labels, logits, groups)
    return metrics


def regression_metrics(labels: Floats, predictions: Floats) -> dict[str, float]:
    """Returns the root mean squared and the mean absolute error, in the label's unit."""
    errors = np.asarray(predictions, np.float64) - np.asarray(labels, np.float64)
    return {"rmse": float(np.sqrt(np.mean(errors**2))), "mae": float(np.mean(np.abs(errors)))}


def sigmoid(logits: Floats) -> Floats:
    """Returns 1 / (1 + exp(-logits)) without overflow."""
    return np.exp(-np.logaddexp(0.0, -logits))


def log_loss(labels: Floats, logits: Floats) -> float:
    """Returns the mean negative log likelihood, in nats, computed from logits: no clipping is needed."""
    return float(np.mean(np.logaddexp(0.0, logits) - labels * logits))


def auc(labels: Floats, scores: Floats) -> float:
    """Returns the area under the ROC curve: the share of (positive, negative) pairs ranked right, a tie counting one half."""
    return grouped_auc(labels, scores, np.zeros(len(labels), np.int8))


def grouped_auc(labels: Floats, scores: Floats, groups: NDArray) -> float:
    """Returns the mean of the AUC within each group, weighted by the group's rows; groups with one class are left out.

    Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, section 6.1.
    """
    if len(labels) == 0:
        return float("nan")
    group_of = np.unique(groups, return_inverse=True)[1] if groups.dtype != np.int8 else groups.astype(np.int64)
    order = np.lexsort((scores, group_of))
    group, score, positive = group_of[order], scores[order], labels[order] > 0.5
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    # Ranks within the group, from 1; ties share the mean of their ranks.
    tie_starts = np.flatnonzero(np.r_[True, (group[1:] != group[:-1]) | (score[1:] != score[:-1])])
    tie_sizes = np.diff(np.r_[tie_starts, len(score)])
    mean_positions = np.repeat(tie_starts + (tie_sizes + 1) / 2, tie_sizes)
    sizes = np.diff(np.r_[starts, len(group)])
    ranks = mean_positions - np.repeat(starts, sizes)
    positives = np.add.reduceat(positive.astype(np.float64), starts)
    negatives = sizes - positives
    rank_sums = np.add.reduceat(np.where(positive, ranks, 0.0), starts)
    both = (positives > 0) & (negatives > 0)
    if not both.any():
        return float("nan")
    aucs = (rank_sums[both] - positives[both] * (positives[both] + 1) / 2) / (positives[both] * negatives[both])
    return float(np.average(aucs, weights=sizes[both]))


def average_precision(labels: Floats, scores: Floats) -> float:
    """Returns the sum over thresholds of (recall gained) * precision; rows come by falling score, ties form one threshold."""
    if not labels.any():
        return float("nan")
    last_of_tie = np.flatnonzero(np.r_[scores[1:] != scores[:-1], True])
    hits = np.cumsum(labels)[last_of_tie]
    return float(np.sum(np.diff(np.r_[0.0, hits]) * hits / (last_of_tie + 1)) / hits[-1])


def expected_calibration_error(labels: Floats, probabilities: Floats, bins: int = _ECE_BINS) -> float:
    """Returns the mean gap between probability and label over bins of equal mass; rows come sorted by probability.

    Bins differ by one row at most. Rows of one probability have their mean label, so that the order they come in does not matter.
    """
    ties = np.flatnonzero(np.r_[True, probabilities[1:] != probabilities[:-1]])
    sizes = np.diff(np.r_[ties, len(labels)])
    labels = np.repeat(np.add.reduceat(labels, ties) / sizes, sizes)
    count = min(bins, len(labels))
    starts = np.arange(count) * len(labels) // count
    return float(np.abs(np.add.reduceat(probabilities - labels, starts)).sum() / len(labels))


def _entropy(rate: float) -> float:
    return float(-sum(p * np.log(p) for p in (rate, 1 - rate) if p > 0))
