"""Columns with several values a row: lists of the source, or texts with a delimiter inside."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any

from feature_specs.inference.delimited import NUMBER
from feature_specs.inference.profile import Profile

Choice = tuple[dict[str, Any], str, Counter[str]]
_ORDERED = frozenset({"history", "hist", "seq", "sequence", "last", "recent", "previous", "prev", "past", "session", "trail"})
_LONGEST = 50
# Delimiters, and how much fewer parts than texts should differ: a blank or a comma often belongs to one value.
_DELIMITERS = {"|": 1.0, ";": 1.0, ",": 0.5, " ": 0.3, "/": 0.3}


def choose_list(profile: Profile) -> Choice | None:
    """Returns the kind of feature (without name and encoding), the reason and the tokens; None where rows have one value each."""
    if profile.lists is not None:
        return _of_lists(profile, profile.lists)
    found = _delimiter(profile)
    if found is None:
        return None
    delimiter, parts = found
    longest = max(text.count(delimiter) + 1 for text in profile.counts)
    widths = {text.count(delimiter) + 1 for text in profile.counts}
    fractions = any("." in part for part in parts)
    if fractions and all(NUMBER.fullmatch(part) for part in parts):
        return _of_numbers(widths, longest, {"delimiter": delimiter}, f"numbers separated by {delimiter!r}")
    how = f"up to {longest} values a row, separated by {delimiter!r}, {len(parts):,} different ones"
    return (*_of_tokens(profile, {"delimiter": delimiter}, longest, how), parts)


def _of_lists(profile: Profile, lists: list[list[Any]]) -> Choice:
    deep = any(isinstance(part, list) for value in lists for part in value)
    parts = Counter(str(part) for value in lists for part in (chain.from_iterable(_wrapped(value)) if deep else value) if part != "")
    longest = max(map(len, lists), default=0)
    if deep:
        return (
            {"kind": "sequence", "value_delimiter": " ", "max_length": min(max(longest, 1), _LONGEST)},
            f"lists of lists, up to {longest} steps a row: a sequence with several values a step, the last one the most recent",
            parts,
        )
    fractions = any("." in part or "e" in part for part in parts)
    if fractions and all(NUMBER.fullmatch(part) for part in parts):
        return _of_numbers({len(value) for value in lists if value}, longest, {}, "lists of numbers")
    how = f"lists of up to {longest} values, {len(parts):,} different ones"
    tree, reason = _of_tokens(profile, {}, longest, how)
    if parts and all(part.lstrip("-").isdigit() for part in parts):
        tree["dtype"] = "int64"
    return tree, reason, parts


def _wrapped(value: list[Any]) -> list[list[Any]]:
    return [part if isinstance(part, list) else [part] for part in value]


def _of_numbers(widths: set[int], longest: int, options: dict[str, Any], how: str) -> Choice:
    if len(widths) == 1:
        return {"kind": "numeric", "size": longest, **options}, f"{how}, {longest} in every row: a vector", Counter()
    reason = f"{how}, {min(widths)} to {longest} a row: a sequence, the last one the most recent"
    return {"kind": "numeric_sequence", **options, "max_length": min(longest, _LONGEST)}, reason, Counter()


def _of_tokens(profile: Profile, options: dict[str, Any], longest: int, how: str) -> tuple[dict[str, Any], str]:
    if _ORDERED & set(profile.words):
        tree = {"kind": "sequence", **options, "max_length": min(max(longest, 1), _LONGEST)}
        return tree, f"{how}; by its name in order of time, the last one the most recent"
    tree = {"kind": "multi_valued", **options}
    if longest > _LONGEST:
        tree["max_length"] = _LONGEST
        how += f"; the first {_LONGEST} are kept"
    return tree, how


def _delimiter(profile: Profile) -> tuple[str, Counter[str]] | None:
    """Returns the delimiter inside the texts, and their parts; None where cutting them gives nothing that repeats."""
    if profile.is_number or profile.is_date or profile.distinct < 3:
        return None
    for delimiter, fewer in _DELIMITERS.items():
        several = {text: count for text, count in profile.counts.items() if delimiter in text}
        if sum(several.values()) < 0.05 * profile.present:
            continue
        parts: Counter[str] = Counter()
        for text, count in profile.counts.items():
            for part in text.split(delimiter):
                parts[part] += count
        parts.pop("", None)
        numbers = all(NUMBER.fullmatch(part) for part in parts)
        repeats = len(parts) <= fewer * profile.distinct and sum(parts.values()) >= 3 * len(parts)
        # A text of few values, such as "New York", is one value.
        if (repeats and (profile.distinct >= 30 or fewer == 1.0)) or (numbers and len(several) > 0.5 * profile.distinct):
            return delimiter, parts
    return None
