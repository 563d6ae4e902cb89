"""Summaries of values that take bounded memory and merge.

`Distinct`, `Histogram` and `Numbers` come out the same, bit by bit, in whatever order parts are added and merged; `Frequent` too while it
holds every value, and within its stated bound beyond that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

CAPACITY = 4096
_ALL = float(2**64)
_EMPTY_HASHES = np.zeros(0, np.uint64)
_EMPTY_COUNTS = np.zeros(0, np.int64)


def merged_moments(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Merges two [3, N] arrays of count, mean and sum of squared deviations (Chan et al. 1979)."""
    count = left[0] + right[0]
    share = right[0] / np.maximum(count, 1)
    gap = right[1] - left[1]
    return np.stack([count, left[1] + gap * share, left[2] + right[2] + np.square(gap) * left[0] * share])


def _summed(keys: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct keys, ascending, and the sum of the counts of each."""
    if not len(keys):
        return keys, counts
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    return keys[first], np.add.reduceat(counts, first)


def _counted(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct keys, ascending, and how often each occurs; faster than `np.unique` with counts."""
    keys = np.sort(keys)
    first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.zeros(0, np.int64)
    return keys[first], np.diff(first, append=len(keys))


@dataclass
class Distinct:
    """Number of distinct values, from the k smallest hashes of them (Bar-Yossef et al., RANDOM 2002), each with its exact count.

    Exact for up to `CAPACITY` values; beyond that the standard error is 1 / sqrt(CAPACITY - 2), 1.6 %.

    Attributes:
        hashes: The smallest hashes, ascending, uint64 [<= CAPACITY].
        counts: How often each occurred, int64.
        is_full: Whether there were more than CAPACITY values.
    """

    hashes: np.ndarray = field(default_factory=lambda: _EMPTY_HASHES)
    counts: np.ndarray = field(default_factory=lambda: _EMPTY_COUNTS)
    is_full: bool = False

    def add(self, hashes: np.ndarray, counts: np.ndarray | None = None) -> None:
        """Adds values by their hashes, uint64 [N]; `counts` where a hash stands for several."""
        if self.is_full:
            small = hashes <= self.hashes[-1]
            hashes, counts = hashes[small], None if counts is None else counts[small]
        hashes, counts = _counted(hashes) if counts is None else _summed(hashes, counts)
        hashes, counts = _summed(np.concatenate([self.hashes, hashes]), np.concatenate([self.counts, counts]))
        self.is_full |= len(hashes) > CAPACITY
        self.hashes, self.counts = hashes[:CAPACITY], counts[:CAPACITY]

    def merge(self, other: Distinct) -> None:
        """Adds everything that `other` holds."""
        self.add(other.hashes, other.counts)
        if other.is_full and not self.is_full:
            # Only equal hashes met: the values beyond the other's last are still unknown.
            self.is_full = True

    @property
    def estimate(self) -> int:
        """Number of distinct values."""
        return round((CAPACITY - 1) / self._covered) if self.is_full else len(self.hashes)

    @property
    def error(self) -> float:
        """Relative standard error of the estimate; 0 where it is exact."""
        return (CAPACITY - 2) ** -0.5 if self.is_full else 0.0

    def unseen(self, known: Distinct) -> float:
        """Estimates how many values, repetitions counted, are none of `known`; exact where neither is full."""
        limits = [float(d.hashes[-1]) for d in (self, known) if d.is_full]
        share = (min(limits) + 1) / _ALL if limits else 1.0
        # Below the smaller of both limits, each side knows every value.
        mine = self.hashes <= np.uint64(min(limits)) if limits else np.ones(len(self.hashes), bool)
        new = mine & ~np.isin(self.hashes, known.hashes, assume_unique=True)
        return float(self.counts[new].sum()) / share

    @property
    def _covered(self) -> float:
        return (float(self.hashes[-1]) + 1) / _ALL


@dataclass
class Histogram:
    """Counts of float32 numbers by cells that are as narrow as memory allows.

    Every number has its own cell until there are more than `limit` of them; then the last bits of all numbers are dropped, one by one,
    until the cells fit. With `shift` bits dropped, a cell holds 2^shift float32 numbers that follow each other, so that its middle is off
    by at most a share of 2^(shift - 24) (of numbers above 1e-38).

    Attributes:
        limit: Most cells; 0 keeps none.
        cells: The cells that are not empty, ascending, uint32.
        counts: Numbers in each, int64.
        shift: Bits dropped.
    """

    limit: int = CAPACITY
    cells: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint32))
    counts: np.ndarray = field(default_factory=lambda: _EMPTY_COUNTS)
    shift: int = 0

    def add(self, numbers: np.ndarray) -> None:
        """Adds float32 numbers [N], none of them NaN."""
        if not self.limit:
            return
        bits = (numbers.astype(np.float32, copy=False) + np.float32(0)).view(np.uint32)  # + 0: there is one zero
        # The order of the bits is that of the numbers, once negative ones are turned around.
        ordered = bits ^ np.where(bits >> np.uint32(31), np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
        self._take(*_counted(ordered >> np.uint32(self.shift)))

    def merge(self, other: Histogram) -> None:
        """Adds everything that `other` holds."""
        if not self.limit:
            return
        self.coarsen(other.shift)
        coarse = other.cells >> np.uint32(max(self.shift - other.shift, 0))
        self._take(coarse, other.counts)

    def coarsen(self, shift: int) -> None:
        """Drops bits until `shift` are dropped."""
        if shift > self.shift:
            self.cells, self.counts = _summed(self.cells >> np.uint32(shift - self.shift), self.counts)
            self.shift = shift

    def _take(self, cells: np.ndarray, counts: np.ndarray) -> None:
        self.cells, self.counts = _summed(np.concatenate([self.cells, cells]), np.concatenate([self.counts, counts]))
        while len(self.cells) > self.limit:
            self.coarsen(self.shift + 1)

    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the smallest and the largest number that each cell can hold, float64 [cells]."""
        low = self.cells.astype(np.uint64) << np.uint64(self.shift)
        high = low + np.uint64((1 << self.shift) - 1)
        return _number(low.astype(np.uint32)), _number(high.astype(np.uint32))

    @property
    def error(self) -> float:
        """Largest relative error of a quantile; 0 where it is exact."""
        return min(2.0 ** (self.shift - 24), 1.0) if self.shift else 0.0

    def quantile(self, shares: Sequence[float]) -> np.ndarray:
        """Returns, for each share, the smallest number that at least this share of all numbers is not above, float64 [shares]."""
        if not len(self.cells):
            return np.full(len(shares), np.nan)
        running = np.cumsum(self.counts)
        place = np.searchsorted(running, np.ceil(np.array(shares) * running[-1]).clip(1), side="left")
        low, high = self.edges()
        # The ends of the number range have no middle: NaN and infinity follow the largest number.
        high = np.where(np.isfinite(high), high, low)
        return ((low + high) / 2)[place]


def _number(ordered: np.ndarray) -> np.ndarray:
    bits = ordered ^ np.where(ordered >> np.uint32(31), np.uint32(0x80000000), np.uint32(0xFFFFFFFF))
    return bits.view(np.float32).astype(np.float64)


@dataclass
class Numbers:
    """Count, extremes, moments and quantiles of numbers.

    Attributes:
        histogram: The numbers by cells.
        parts: Count, mean and sum of squared deviations of each part that was added, float64 [3, parts]; joined only when asked for, in an
            order of their own, for sums of floats depend on the order.
        low: The smallest number.
        high: The largest number.
    """

    histogram: Histogram = field(default_factory=Histogram)
    parts: np.ndarray = field(default_factory=lambda: np.zeros((3, 0)))
    low: float = np.inf
    high: float = -np.inf

    def add(self, numbers: np.ndarray) -> None:
        """Adds numbers [N], none of them NaN."""
        if not len(numbers):
            return
        wide = numbers.astype(np.float64)
        mean = float(wide.mean())
        part = [float(len(wide)), mean, float(np.square(wide - mean).sum())]
        self.parts = np.concatenate([self.parts, np.array(part)[:, None]], axis=1)
        self.low, self.high = min(self.low, float(wide.min())), max(self.high, float(wide.max()))
        self.histogram.add(numbers)

    def merge(self, other: Numbers) -> None:
        """Adds everything that `other` holds."""
        self.parts = np.concatenate([self.parts, other.parts], axis=1)
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.histogram.merge(other.histogram)

    @property
    def count(self) -> int:
        """How many numbers."""
        return int(self.parts[0].sum())

    @property
    def mean_and_deviation(self) -> tuple[float, float]:
        """Mean and standard deviation (of the population)."""
        total = np.zeros((3, 1))
        for place in np.lexsort(self.parts):
            total = merged_moments(total, self.parts[:, place : place + 1])
        count, mean, squares = total[:, 0].tolist()
        return mean, float(np.sqrt(squares / max(count, 1.0)))

    def quantiles(self, shares: Sequence[float]) -> list[float]:
        """Returns quantiles, see Histogram, inside the extremes."""
        return self.histogram.quantile(shares).clip(self.low, self.high).tolist()


def summed(values: pa.Array, counts: np.ndarray) -> tuple[pa.Array, np.ndarray]:
    """Returns the different values, in the order of their first place, and the sum of the counts of each."""
    # Threads would put them in any order.
    groups = pa.table({"v": values, "n": counts}).group_by("v", use_threads=False).aggregate([("n", "sum")])
    return groups["v"].combine_chunks(), groups["n_sum"].to_numpy()


@dataclass
class Frequent:
    """The most frequent values with their counts (Agarwal et al., "Mergeable summaries", PODS 2012).

    Exact while there are at most `CAPACITY` different values. Beyond that a count is too low by at most `lost`, which is never more than
    1 / (CAPACITY + 1) of all values; so every value with a larger share than that is here.

    Attributes:
        values: binary or int64 [<= CAPACITY], in no order.
        counts: int64.
        lost: By how much a count may be too low.
    """

    values: pa.Array | None = None
    counts: np.ndarray = field(default_factory=lambda: _EMPTY_COUNTS)
    lost: int = 0

    def add(self, values: pa.Array, counts: np.ndarray) -> None:
        """Adds distinct values [N] with their counts [N]."""
        if not len(values):
            return
        if self.values is not None:
            values, counts = summed(pa.concat_arrays([self.values, values]), np.concatenate([self.counts, counts]))
        if len(values) > CAPACITY:
            cut = int(np.partition(counts, len(counts) - CAPACITY - 1)[len(counts) - CAPACITY - 1])
            values, counts = values.filter(pa.array(counts > cut)), counts[counts > cut] - cut
            self.lost += cut
        self.values, self.counts = values, counts

    def merge(self, other: Frequent) -> None:
        """Adds everything that `other` holds."""
        self.lost += other.lost
        if other.values is not None:
            self.add(other.values, other.counts)

    def top(self, number: int) -> list[tuple[bytes | int, int]]:
        """Returns the most frequent values with their counts; equal counts in the order of the values."""
        if self.values is None:
            return []
        table = pa.table({"v": self.values, "n": self.counts})
        order = pc.sort_indices(table, sort_keys=[("n", "descending"), ("v", "ascending")])[:number]
        chosen = table.take(order)
        return list(zip(chosen["v"].to_pylist(), chosen["n"].to_pylist(), strict=True))
