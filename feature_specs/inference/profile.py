"""What a column of the sample holds: how much is missing, how many values differ, and which of them are numbers."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from feature_specs.inference.delimited import NUMBER

_INTEGER = re.compile(r"\s*[-+]?(0|[1-9]\d{0,17})\s*", re.ASCII)
_DATE = re.compile(r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})([ T]\d{1,2}:\d{2}.*)?", re.ASCII)
_MISSING_WORDS = frozenset({"na", "n/a", "nan", "null", "none", "nil", "?", "-", "--", "\\n", "#n/a", "missing"})
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def words_of(name: str) -> tuple[str, ...]:
    """Returns the words of a name: `userId`, `user_id` and `User ID` have the same."""
    return tuple(word.lower() for word in _WORDS.findall(name))


@dataclass
class Profile:
    """One column of the sample.

    Attributes:
        name: Of the raw column.
        values: A text a row, "" where missing; lists and mappings as their text.
        lists: The values as they are, where the column has lists.
        is_nested: Whether it has mappings, or lists of mappings, which no feature can read.
        counts: How often each text occurs; missing ones left out.
    """

    name: str
    values: list[str]
    lists: list[list[Any]] | None = None
    is_nested: bool = False
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, name: str, raw: list[Any]) -> Profile:
        """Profiles a column as it was read."""
        if set(map(type, raw)) == {str}:
            counts = Counter(raw)
            counts.pop("", None)
            return cls(name, raw, counts=counts)
        lists = [value if isinstance(value, list) else [value] if value != "" else [] for value in raw]
        nested = any(isinstance(part, dict) for value in lists for part in _flat(value))
        texts = ["\x1f".join(map(str, _flat(value))) for value in lists]
        counts = Counter(texts)
        counts.pop("", None)
        only_lists = any(isinstance(value, list) for value in raw)
        return cls(name, texts, lists if only_lists else None, nested, counts)

    @property
    def rows(self) -> int:
        """Rows of the sample."""
        return len(self.values)

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.counts.total()

    @property
    def missing_share(self) -> float:
        """Share of the rows without a value, words such as NA counted too where the column is of numbers."""
        return 1 - (self.present - (sum(self.odd.values()) if self.is_number else 0)) / self.rows

    @property
    def distinct(self) -> int:
        """How many values differ."""
        return len(self.counts)

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the name."""
        return words_of(self.name)

    @cached_property
    def numbers(self) -> dict[str, float]:
        """The values that are finite numbers."""
        found = {text: float(text) for text in self.counts if NUMBER.fullmatch(text)}
        return {text: number for text, number in found.items() if math.isfinite(number)}

    @cached_property
    def odd(self) -> Counter[str]:
        """The values that are no numbers."""
        return Counter({text: count for text, count in self.counts.items() if text not in self.numbers})

    @cached_property
    def is_number(self) -> bool:
        """Whether the values are numbers: all but words for missing, or but for a few."""
        if self.lists is not None or not self.numbers or self.is_code:
            return False
        wrong = sum(count for text, count in self.odd.items() if text.strip().lower() not in _MISSING_WORDS)
        return wrong <= 0.002 * self.present

    @cached_property
    def is_integer(self) -> bool:
        """Whether the numbers are integers, written as such."""
        return self.is_number and all(_INTEGER.fullmatch(text) for text in self.numbers)

    @cached_property
    def is_code(self) -> bool:
        """Whether digits are written as in codes, not quantities: with zeros before them, or more than a float can tell apart."""
        return any((text[0] == "0" and len(text) > 1) or len(text) > 15 for text in self.counts if text.lstrip("-").isdigit())

    @cached_property
    def sorted_numbers(self) -> list[tuple[float, int]]:
        """Number and rows, ascending."""
        merged: Counter[float] = Counter()
        for text, number in self.numbers.items():
            merged[number] += self.counts[text]
        return sorted(merged.items())

    def quantile(self, share: float) -> float:
        """Returns the number below which this share of the rows lies."""
        left = share * sum(count for _, count in self.sorted_numbers)
        for number, count in self.sorted_numbers:
            left -= count
            if left <= 0:
                return number
        return self.sorted_numbers[-1][0]

    @cached_property
    def is_row_id(self) -> bool:
        """Whether nearly every row has a value of its own, as row numbers and keys have; measured numbers differ too."""
        if self.rows < 20 or self.distinct < 0.95 * self.present or self.present < 0.5 * self.rows:
            return False
        if not self.is_number:
            return True
        span = self.sorted_numbers[-1][0] - self.sorted_numbers[0][0] + 1
        named = self.words[-1:] in (("id",), ("uuid",), ("key",), ("index",), ("idx",), ("no",), ("row",))
        return self.is_integer and (named or span <= 1.05 * self.distinct)

    @cached_property
    def is_date(self) -> bool:
        """Whether the values are dates or times written as text."""
        return bool(self.counts) and all(_DATE.fullmatch(text.strip()) for text in self.counts)

    @property
    def once(self) -> int:
        """How many values occur once."""
        return sum(count == 1 for count in self.counts.values())

    @property
    def missing_words(self) -> dict[str, int]:
        """The values that people write for missing ones, and their rows."""
        return {text: count for text, count in self.counts.items() if text.strip().lower() in _MISSING_WORDS}


def _flat(value: Any) -> Iterable[Any]:  # noqa: ANN401 (lists of anything)
    return [part for element in value for part in _flat(element)] if isinstance(value, list) else [value]
