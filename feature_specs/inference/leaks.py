"""How well one column alone predicts the label, measured so that many distinct values do not fake it."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import NamedTuple

from feature_specs.inference.profile import Profile

SUSPECT_AUC = 0.98
_FEWEST = 10  # rows of each class, below which an AUC says nothing
_BINS = 20
_BY_ORDER, _BY_VALUE = "by the order of its numbers", "by the mean label of each value, out of fold"
_Table = defaultdict[str, list[int]]  # by value: rows of the first half, negative and positive, then those of the second


class Power(NamedTuple):
    """What a column alone does: the better AUC of the two, by the order of its numbers or by the mean label of each value."""

    auc: float
    how: str
    by_value: float
    by_range: float


class Judge:
    """Measures columns against the label of the same rows.

    Args:
        labels: Whether each row is positive; None where it has no label.
    """

    def __init__(self, labels: Sequence[bool | None]) -> None:
        dice = random.Random(0)
        half = [dice.random() < 0.5 for _ in labels]
        # The rows of each half and class: every row with a label is in one of the four.
        self._cells = [
            [label is which and side is first for label, side in zip(labels, half, strict=True)]
            for first in (True, False)
            for which in (False, True)
        ]
        sizes = [sum(cell) for cell in self._cells]
        self._prior = (sizes[1] + sizes[3]) / max(1, sum(sizes))
        self.can_tell = min(sizes[0] + sizes[2], sizes[1] + sizes[3]) >= _FEWEST

    def power(self, profile: Profile) -> Power:
        """Returns how well the column predicts the label; .5 is not at all."""
        if not self.can_tell:
            return Power(0.5, "", 0.5, 0.5)
        table = _Table(lambda: [0, 0, 0, 0])
        for place, cell in enumerate(self._cells):
            for value, count in Counter(compress(profile.values, cell)).items():
                table[value][place] = count
        by_value = self._out_of_fold(table)
        if not profile.is_number:
            return Power(by_value, _BY_VALUE, by_value, 0.5)
        by_order, by_range = _by_order(table, profile), self._out_of_fold(_ranges(table, profile))
        if by_order >= by_value:
            return Power(by_order, _BY_ORDER, by_value, by_range)
        return Power(by_value, _BY_VALUE, by_value, by_range)

    def _out_of_fold(self, table: _Table) -> float:
        """Returns the AUC of a value's mean label, taken from the other half of the rows: a value seen once tells nothing."""
        prior, cells = self._prior, table.values()
        # One pseudo-row with the mean label of all, for values that the other half does not have.
        first = _auc((((p2 + prior) / (n2 + p2 + 1), p1, n1) for n1, p1, n2, p2 in cells))
        second = _auc((((p1 + prior) / (n1 + p1 + 1), p2, n2) for n1, p1, n2, p2 in cells))
        return (first + second) / 2


def _by_order(table: _Table, profile: Profile) -> float:
    best = 0.5
    # A missing number may stand for the smallest or the largest.
    for missing in (float("-inf"), float("inf")):
        auc = _auc((profile.numbers.get(value, missing), p1 + p2, n1 + n2) for value, (n1, p1, n2, p2) in table.items())
        best = max(best, auc, 1 - auc)
    return best


def _ranges(table: _Table, profile: Profile) -> _Table:
    """Merges the values that are in one of 20 ranges with equally many rows."""
    size = sum(count for _, count in profile.sorted_numbers) / _BINS
    bins: dict[float, str] = {}
    seen = 0.0
    for number, count in profile.sorted_numbers:
        bins[number] = str(int((seen + count / 2) / size))
        seen += count
    merged = _Table(lambda: [0, 0, 0, 0])
    for value, counts in table.items():
        cell = merged[bins[profile.numbers[value]] if value in profile.numbers else ""]
        cell[:] = [have + count for have, count in zip(cell, counts, strict=True)]
    return merged


def _auc(points: Iterable[tuple[float, int, int]]) -> float:
    """Returns the AUC of (score, positives, negatives); equal scores count half."""
    merged: dict[float, list[int]] = {}
    for score, positive, negative in points:
        pair = merged.setdefault(score, [0, 0])
        pair[0] += positive
        pair[1] += negative
    below = won = positives = 0.0
    for score in sorted(merged):
        positive, negative = merged[score]
        won += positive * (below + negative / 2)
        below += negative
        positives += positive
    return won / (positives * below) if positives and below else 0.5
