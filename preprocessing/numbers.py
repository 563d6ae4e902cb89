"""What the training rows say of numbers, as the transform graph uses it: arrays, one entry a column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from preprocessing.sketches import Histogram, Numbers


class Statistics(NamedTuple):
    """Statistics of N columns; 0 for a column without numbers.

    Attributes:
        mean: Of the numbers that are not missing, float32 [N].
        deviation: Of the population, float32 [N].
        low: The smallest number, float32 [N].
        high: The largest number, float32 [N].
    """

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]


def statistics(sketches: Sequence[Numbers]) -> Statistics:
    """Returns the statistics of some columns."""
    rows = [(*s.mean_and_deviation, s.low, s.high) if s.count else (0.0, 0.0, 0.0, 0.0) for s in sketches]
    return Statistics(*np.array(rows, np.float32).reshape(-1, 4).T)


def quantiles(histogram: Histogram, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns quantiles, interpolated as `np.quantile` does; 0 where there are no numbers.

    They are exact while every number has a cell of its own, for as many distinct numbers as `histogram.limit`; beyond that the numbers of a
    cell count as evenly spread over it.
    """
    running = np.cumsum(histogram.counts)
    if not len(running):
        return np.zeros(len(shares))
    place = shares * (running[-1] - 1)
    # A place that is off a whole one by rounding alone would be between two numbers, and next to a repeated one not equal to it.
    place = np.where(np.abs(place - np.round(place)) < 1e-12 * running[-1], np.round(place), place)
    below = np.floor(place)
    left, right = (_at(histogram, running, np.minimum(i, running[-1] - 1)) for i in (below, below + 1))
    return left + (right - left) * (place - below)


def _at(histogram: Histogram, running: NDArray[np.int64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the numbers at some places of the sorted numbers."""
    cell = np.searchsorted(running, places, side="right")
    low, high = histogram.edges()
    counts = histogram.counts[cell]
    inside: NDArray[np.float64] = (places - (running[cell] - counts) + 0.5) / counts
    return low[cell] + (high[cell] - low[cell]) * inside


class Ranks(NamedTuple):
    """Points of the distributions of N columns: the rank of `points[i, j]` is `ranks[i, j]`.

    Attributes:
        points: Ascending, float32 [N, P]; a column of fewer numbers repeats its last point.
        ranks: From 0 to 1, float64 [N, P].
    """

    points: NDArray[np.float32]
    ranks: NDArray[np.float64]


def ranks(sketches: Sequence[Numbers], num_points: int) -> Ranks:
    """Returns evenly spaced points, as many as there are numbers where these are fewer than `num_points`."""
    points, shares = [], []
    for sketch in sketches:
        share = np.minimum(np.arange(num_points) / max(min(num_points, sketch.count) - 1, 1), 1.0)
        shares.append(share)
        points.append(np.clip(quantiles(sketch.histogram, share), sketch.low, sketch.high) if sketch.count else np.zeros(num_points))
    return Ranks(np.array(points, np.float32), np.array(shares))


def boundaries(sketch: Numbers, num_buckets: int) -> NDArray[np.float32]:
    """Returns the quantiles that cut numbers into buckets of equal counts, float32 [num_buckets - 1]."""
    shares = np.arange(1, num_buckets) / num_buckets
    return (
        np.clip(quantiles(sketch.histogram, shares), sketch.low, sketch.high).astype(np.float32)
        if sketch.count
        else np.zeros(num_buckets - 1, np.float32)
    )
