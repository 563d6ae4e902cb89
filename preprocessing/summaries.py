"""The summary of one feature in one split: sketches of its values, mergeable, of bounded size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from feature_specs.features import (
    AnyEncoding,
    AnyFeature,
    BucketizedFeature,
    Feature,
    Hash,
    NumericFeature,
    NumericSequenceFeature,
    SequenceFeature,
    TokenFeature,
    Vocabulary,
)
from preprocessing.sketches import CAPACITY, Distinct, Frequent, Histogram, Numbers


@dataclass
class Summary:
    """One feature in one split.

    Attributes:
        rows: How many.
        missing: Rows without a value; of a vector, rows with an element missing.
        values: Values that have an id, over all rows.
        oov: Those outside the vocabulary or range.
        cut: Rows of which `max_length` took values away.
        numbers: Of a number, or of each element of a vector.
        lengths: Of lists, as the model sees them, in steps.
        weights: Of the values.
        distinct: The values themselves, those outside of the vocabulary too.
        cells: Values by id, int64 [<= CAPACITY], see `cells_of`; those outside of the vocabulary or range are left out.
        frequent: The most frequent values, where cells do not tell.
        outside: The most frequent values outside of the vocabulary or range, where asked for.
    """

    rows: int = 0
    missing: int = 0
    values: int = 0
    oov: int = 0
    cut: int = 0
    numbers: list[Numbers] = field(default_factory=list)
    lengths: Numbers = field(default_factory=Numbers)
    weights: Numbers = field(default_factory=Numbers)
    distinct: Distinct = field(default_factory=Distinct)
    cells: np.ndarray = field(default_factory=lambda: np.zeros(CAPACITY, np.int64))
    frequent: Frequent = field(default_factory=Frequent)
    outside: Frequent = field(default_factory=Frequent)

    def merge(self, other: Summary) -> None:
        """Adds everything that `other` holds."""
        for name in ("rows", "missing", "values", "oov", "cut"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for mine, theirs in zip(self.numbers, other.numbers, strict=True):
            mine.merge(theirs)
        self.lengths.merge(other.lengths)
        self.weights.merge(other.weights)
        self.distinct.merge(other.distinct)
        self.cells = self.cells + other.cells
        self.frequent.merge(other.frequent)
        self.outside.merge(other.outside)


def empty(feature: AnyFeature) -> Summary:
    """Returns the summary of a feature in no rows."""
    if not isinstance(feature, NumericFeature | NumericSequenceFeature | BucketizedFeature):
        return Summary()
    size = getattr(feature, "size", 1)
    # A long vector's elements share the memory.
    return Summary(numbers=[Numbers(Histogram(limit=max(CAPACITY // size, 256))) for _ in range(size)])


def cells_of(ids: np.ndarray, encoding: AnyEncoding | None) -> np.ndarray:
    """Returns the cell of each id; 0 is missing.

    Where there are more ids than cells, those of a counted vocabulary, which come in order of frequency, keep their number and the rare
    ones share the last cell; others are dealt out to all cells.
    """
    if isinstance(encoding, Vocabulary) and not encoding.is_given:
        return np.minimum(ids, CAPACITY - 1)
    return np.where(ids < CAPACITY, ids, 1 + (ids - 1) % (CAPACITY - 1))


def has_own_cells(encoding: AnyEncoding | None, rows: int) -> bool:
    """Whether the cells alone tell the most frequent ids of a table of so many rows."""
    return rows <= CAPACITY or (isinstance(encoding, Vocabulary) and not encoding.is_given)


def is_by_token(tables: Mapping[str, AnyEncoding], feature: Feature) -> bool:
    """Whether the frequent values of a feature are counted as raw tokens, because its ids do not tell them apart."""
    if not isinstance(feature, TokenFeature):
        return False
    is_history = isinstance(feature, SequenceFeature) and feature.is_history
    return feature.only_crossed or (isinstance(tables.get(feature.table_name), Hash) and not is_history)
