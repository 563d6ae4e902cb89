"""The times of all rows, counted in bounded memory, and the moments at which a temporal split cuts them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_specs.splits import Fractions

_MAX_CELLS = 1 << 20  # at least 2: cells on both sides of 1970 never fall together


@dataclass(frozen=True)
class Moments:
    """How many rows are in each cell of 2^`shift` seconds.

    The shift is the smallest that leaves at most `_MAX_CELLS` cells that are not empty: 0, and thus exact, up to so many distinct times. It
    depends on the times alone, so the result does not depend on how they were grouped.

    Attributes:
        shift: Binary logarithm of the seconds in a cell.
        cells: Time >> shift, ascending, int64 [C].
        counts: Rows, int64 [C].
    """

    shift: int
    cells: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, times: np.ndarray) -> Moments:
        """Counts int64 times [N]; -1 is a missing one."""
        return cls(0, *np.unique(times[times != -1], return_counts=True))._within_bounds()

    def merged(self, other: Moments) -> Moments:
        """Returns the counts of both."""
        shift = max(self.shift, other.shift)
        cells = np.concatenate([each.cells >> (shift - each.shift) for each in (self, other)])
        return _summed(shift, cells, np.concatenate([self.counts, other.counts]))._within_bounds()

    def boundaries(self, fractions: Fractions) -> tuple[int, int]:
        """Returns the two moments before which the shares of rows are nearest to the cumulated fractions; the earlier of two as near.

        At least one moment is before the first.
        """
        if not len(self.cells):
            return 0, 0
        starts = np.append(self.cells, self.cells[-1] + 1)[1:] << self.shift
        share = np.cumsum(self.counts) / self.counts.sum()
        first, second = (int(starts[np.argmin(np.abs(share - wanted))]) for wanted in np.cumsum(fractions)[:2])
        return first, second

    def _within_bounds(self) -> Moments:
        coarse = self
        while len(coarse.cells) > _MAX_CELLS:
            coarse = _summed(coarse.shift + 1, coarse.cells >> 1, coarse.counts)
        return coarse


def _summed(shift: int, cells: np.ndarray, counts: np.ndarray) -> Moments:
    distinct, place = np.unique(cells, return_inverse=True)
    # Not bincount: its weights are floats.
    totals = np.zeros(len(distinct), np.int64)
    np.add.at(totals, place, counts)
    return Moments(shift, distinct, totals)
