"""How well one column alone predicts the label, measured so that many distinct values do not fake it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import NamedTuple

from feature_specs.inference.profile import Profile

SUSPECT_AUC = 0.98
_FEWEST = 10  # rows of each class, below which an AUC says nothing
_BINS = 20


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
        self._known = [label is not None for label in labels]
        self._labels = [bool(label) for label in labels if label is not None]
        dice = random.Random(0)
        first = [dice.random() < 0.5 for _ in self._labels]
        self._halves = (first, [not half for half in first])
        self.positives = sum(self._labels)
        self.can_tell = min(self.positives, len(self._labels) - self.positives) >= _FEWEST

    def power(self, profile: Profile) -> Power:
        """Returns how well the column predicts the label; .5 is not at all."""
        if not self.can_tell:
            return Power(0.5, "", 0.5, 0.5)
        values = list(compress(profile.values, self._known))
        by_value = self._out_of_fold(values)
        if not profile.is_number:
            return Power(by_value, "by the mean label of each value, out of fold", by_value, 0.5)
        by_order, by_range = self._by_order(values, profile), self._out_of_fold(self._ranges(values, profile))
        if by_order >= by_value:
            return Power(by_order, "by the order of its numbers", by_value, by_range)
        return Power(by_value, "by the mean label of each value, out of fold", by_value, by_range)

    def _by_order(self, values: Sequence[str], profile: Profile) -> float:
        counts, positives = Counter(values), Counter(compress(values, self._labels))
        best = 0.5
        # A missing number may stand for the smallest or the largest.
        for missing in (float("-inf"), float("inf")):
            points = [(profile.numbers.get(v, missing), positives[v], count - positives[v]) for v, count in counts.items()]
            auc = _auc(points)
            best = max(best, auc, 1 - auc)
        return best

    def _out_of_fold(self, values: Sequence[str]) -> float:
        """Returns the AUC of a value's mean label, taken from the other half of the rows: a value seen once tells nothing."""
        halves = [
            (Counter(compress(values, half)), Counter(compress(values, [a and b for a, b in zip(half, self._labels, strict=True)])))
            for half in self._halves
        ]
        prior = self.positives / len(self._labels)
        total = 0.0
        for (counts, positives), (others, other_positives) in (halves, halves[::-1]):
            points = [((other_positives[v] + prior) / (others[v] + 1), positives[v], n - positives[v]) for v, n in counts.items()]
            total += _auc(points) / 2
        return total

    def _ranges(self, values: Sequence[str], profile: Profile) -> list[str]:
        """Returns, for each value, which of 20 ranges with equally many rows holds it."""
        size = sum(count for _, count in profile.sorted_numbers) / _BINS
        bins: dict[float, str] = {}
        seen = 0.0
        for number, count in profile.sorted_numbers:
            bins[number] = str(int((seen + count / 2) / size))
            seen += count
        by_text = {text: bins[number] for text, number in profile.numbers.items()}
        return [by_text.get(value, "") for value in values]


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
