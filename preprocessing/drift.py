"""How far the values of a feature in one set of rows are from those in another.

Both are turned into shares of the same few cells: missing, outside of the vocabulary, the most frequent ids and all others; or, for
numbers, missing, ten bins with a tenth of the training rows each, and what is below and above all of those. Two distances are taken:

- the Jensen-Shannon divergence with logarithms to base 2, from 0 (equal) to 1 (nothing in common);
- L-infinity, the largest difference of a share.

Both are above 0 for two samples of the same rows too, the more the smaller the samples. So a distance warns only where it exceeds the
threshold by more than sampling explains, for samples of n and m rows and K cells:

- for the divergence (K - 1 + 3 sqrt(2 (K - 1))) / (8 ln 2) (1/n + 1/m), mean and three deviations of its limit, a chi-squared variable
  with K - 1 degrees of freedom;
- for L-infinity 3 sqrt(r (1 - r) (1/n + 1/m)), three deviations of the difference of the share r that varies most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from preprocessing.sketches import Histogram, Numbers
from preprocessing.summaries import Summary

JS_THRESHOLD = 0.1
LINF_THRESHOLD = 0.1
_DEVIATIONS = 3
_MOST_CELLS = 100
# The usual bound for chi-squared: a cell needs this many rows to count on its own.
_FEWEST_ROWS = 5
_BINS = 10


@dataclass(frozen=True)
class Drift:
    """Two sets of rows compared.

    Attributes:
        js: Jensen-Shannon divergence, base 2.
        linf: Largest difference of a share.
        js_noise: How large `js` may be by chance.
        linf_noise: How large `linf` may be by chance.
        widest: The cell with the largest difference, in words.
        shares: Its shares in the first and the second set.
        means: Of numbers, their means.
    """

    js: float
    linf: float
    js_noise: float
    linf_noise: float
    widest: str
    shares: tuple[float, float]
    means: tuple[float, float] | None = None

    def exceeds(self, js: float = JS_THRESHOLD, linf: float = LINF_THRESHOLD) -> bool:
        """Whether a distance is above its threshold by more than chance explains."""
        return self.js - self.js_noise > js or self.linf - self.linf_noise > linf


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """Returns the Jensen-Shannon divergence, base 2, of two distributions [K]."""
    middle = (p + q) / 2
    parts = [np.sum(x[x > 0] * np.log2(x[x > 0] / middle[x > 0])) for x in (p, q)]
    return float(max(sum(parts) / 2, 0.0))


def distances(p: np.ndarray, q: np.ndarray, rows: tuple[int, int], describe: Callable[[int], str] = str) -> Drift:
    """Compares two distributions [K], each estimated from so many rows."""
    scale = 1 / max(rows[0], 1) + 1 / max(rows[1], 1)
    degrees = max(int(np.count_nonzero(p + q)) - 1, 0)
    # The share of a cell over both sets of rows.
    pooled = (p * rows[0] + q * rows[1]) / max(sum(rows), 1)
    gaps = np.abs(p - q)
    place = int(np.argmax(gaps))
    return Drift(
        js=jensen_shannon(p, q),
        linf=float(gaps[place]),
        js_noise=float((degrees + _DEVIATIONS * np.sqrt(2 * degrees)) / (8 * np.log(2)) * scale),
        linf_noise=float(_DEVIATIONS * np.sqrt((pooled * (1 - pooled)).clip(0).max() * scale)),
        widest=describe(place),
        shares=(float(p[place]), float(q[place])),
    )


def compare(train: Summary, other: Summary, name_of: Callable[[int], str] = str) -> Drift | None:
    """Compares a feature in other rows with the training rows; None where one of them has no rows.

    Args:
        train: Of the training rows.
        other: Of the other rows.
        name_of: Returns the value behind a cell, for words.
    """
    if not train.rows or not other.rows:
        return None
    rows = train.rows, other.rows
    missing = train.missing / train.rows, other.missing / other.rows
    if train.cells.any() or other.cells.any() or train.oov or other.oov:
        return _of_tokens(train, other, rows, missing, name_of)
    # Of a vector, the element that differs most.
    drifts = [_of_numbers(a, b, rows, missing) for a, b in zip(train.numbers, other.numbers, strict=True)]
    return max(drifts, key=lambda drift: (drift.js, drift.linf), default=None)


def compare_labels(train: Numbers, other: Numbers) -> Drift | None:
    """Compares labels, of which none is missing."""
    if not train.count or not other.count:
        return None
    drift = _of_numbers(train, other, (train.count, other.count), (0.0, 0.0))
    return replace(drift, means=(train.mean_and_deviation[0], other.mean_and_deviation[0]))


def compare_lengths(train: Summary, other: Summary) -> Drift | None:
    """Compares the lengths of lists; None where the feature is none."""
    if not train.lengths.count or not other.lengths.count:
        return None
    return _of_numbers(train.lengths, other.lengths, (train.rows, other.rows), (0.0, 0.0))


def _of_tokens(
    train: Summary, other: Summary, rows: tuple[int, int], missing: tuple[float, float], name_of: Callable[[int], str]
) -> Drift:
    totals = [max(int(s.cells.sum()) + s.oov, 1) for s in (train, other)]
    shares = [s.cells / total for s, total in zip((train, other), totals, strict=True)]
    both = (shares[0] + shares[1]) / 2
    order = np.argsort(-both, kind="stable")[:_MOST_CELLS]
    # A list has several values a row; its rows are what was drawn.
    top = order[both[order] * min(rows) >= _FEWEST_ROWS]
    distributions = []
    for summary, share, total, gone in zip((train, other), shares, totals, missing, strict=True):
        kept = np.concatenate([[summary.oov / total], share[top], [max(share.sum() - share[top].sum(), 0.0)]])
        distributions.append(_with_missing(gone, kept))

    def describe(place: int) -> str:
        fixed = {0: "missing", 1: "outside the vocabulary", len(top) + 2: "other values"}
        return fixed.get(place) or name_of(int(top[place - 2]))

    return distances(distributions[0], distributions[1], rows, describe)


def _with_missing(missing: float, shares: np.ndarray) -> np.ndarray:
    """Puts the share of rows without a value before the shares of values, and has all of them add up to 1."""
    total = shares.sum()
    return np.append(missing, shares * ((1 - missing) / total)) if total > 0 else np.append(1.0, np.zeros(len(shares)))


def _of_numbers(train: Numbers, other: Numbers, rows: tuple[int, int], missing: tuple[float, float]) -> Drift:
    cells, counts = _aligned(train.histogram, other.histogram)
    total = max(int(counts[0].sum()), 1)
    # Where the middle of a cell lies among the training rows decides its bin; cells without training rows at the ends have their own.
    middle = (np.cumsum(counts[0]) - counts[0] / 2) / total
    bins = np.minimum((middle * _BINS).astype(np.int64), _BINS - 1) + 1
    known = np.flatnonzero(counts[0])
    if len(known):
        bins[: known[0]], bins[known[-1] + 1 :] = 0, _BINS + 1
    binned = [np.bincount(bins, weights=c, minlength=_BINS + 2) / max(int(c.sum()), 1) for c in counts]

    def describe(place: int) -> str:
        if place == 0:
            return "missing"
        inside = np.flatnonzero(bins == place - 1)
        low, high = _edges(cells, max(train.histogram.shift, other.histogram.shift), inside)
        if place == 1:
            return f"below all training numbers, down to {low:.6g}"
        if place == _BINS + 2:
            return f"above all training numbers, up to {high:.6g}"
        return f"numbers of {low:.6g}" if low == high else f"numbers from {low:.6g} to {high:.6g}"

    return distances(_with_missing(missing[0], binned[0]), _with_missing(missing[1], binned[1]), rows, describe)


def _aligned(train: Histogram, other: Histogram) -> tuple[np.ndarray, list[np.ndarray]]:
    """Returns the cells of both histograms, ascending, and the counts of each in them."""
    shift = max(train.shift, other.shift)
    shifted = [h.cells >> np.uint32(shift - h.shift) for h in (train, other)]
    cells = np.unique(np.concatenate(shifted))
    counts = []
    for histogram, keys in zip((train, other), shifted, strict=True):
        places = np.searchsorted(cells, keys)
        counts.append(np.bincount(places, weights=histogram.counts, minlength=len(cells)).astype(np.int64))
    return cells, counts


def _edges(cells: np.ndarray, shift: int, inside: np.ndarray) -> tuple[float, float]:
    low, high = Histogram(cells=cells[inside], shift=shift).edges()
    return float(low[0]), float(high[-1])
