"""What to make of the label's column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from feature_specs.errors import ColonnadeError
from feature_specs.inference.profile import Profile
from feature_specs.inference.words import POSITIVE

_MOST_GRADES = 50


@dataclass
class LabelChoice:
    """The spec's label, why, and which rows it makes positive (None: no label; for a regression: above the median)."""

    tree: dict[str, Any]
    reason: str
    positive: list[bool | None]
    missing_share: float = 0.0


def choose_label(profile: Profile, positive: tuple[str, ...]) -> LabelChoice:
    """Decides how the column becomes a label.

    Args:
        profile: The label's column.
        positive: Values that the user calls positive.

    Raises:
        ColonnadeError: It has one value, none, or several texts of which nobody knows which are positive.
    """
    name, column = profile.name, {"column": profile.name}
    if not profile.counts:
        raise ColonnadeError(f"Label column {name!r} has no value in the rows read. Name another one with --label.")
    if positive:
        unknown = [value for value in positive if value not in profile.counts]
        if unknown or len(positive) >= profile.distinct:
            raise ColonnadeError(f"--positive should be some values of {name!r}. Received: {', '.join(positive)}; it has: {_few(profile)}.")
        return _by_text(profile, positive, "as --positive says")
    if profile.distinct == 1:
        raise ColonnadeError(
            f"Label column {name!r} is {next(iter(profile.counts))!r} in all {profile.present:,} rows read: nothing to learn. Read more "
            "with --rows 0, name another --label, or say --implicit where every row is a positive, as in a log of clicks."
        )
    if profile.is_number:
        return _by_number(profile, column)
    texts = {value: count for value, count in profile.counts.items() if value not in profile.missing_words} or profile.counts
    if len(texts) != 2:
        raise ColonnadeError(
            f"Label column {name!r} has {profile.distinct:,} different texts ({_few(profile)}). A label is 0 or 1, or a number: say which "
            "values are positive with --positive VALUE ..."
        )
    known = [value for value in texts if value.strip().lower() in POSITIVE]
    chosen = known[0] if len(known) == 1 else min(sorted(texts), key=lambda value: texts[value])
    why = "a word for yes" if len(known) == 1 else "the rarer of the two; if it is the other one, exchange them"
    return _by_text(profile, (chosen,), why)


def _by_text(profile: Profile, positive: tuple[str, ...], why: str) -> LabelChoice:
    tree: dict[str, Any] = {"column": profile.name, "positive": list(positive)}
    rest = sorted(set(profile.counts) - set(positive) - set(profile.missing_words))
    if len(rest) == 1:
        tree["negative"] = rest
    labelled = {*positive, *rest}
    share = sum(profile.counts[value] for value in positive) / sum(profile.counts[value] for value in labelled)
    reason = f"{_listed(positive)} {'is' if len(positive) == 1 else 'are'} positive ({why}): {share:.1%} of the rows"
    return LabelChoice(tree, reason, [v in positive if v in labelled else None for v in profile.values])


def _by_number(profile: Profile, column: dict[str, Any]) -> LabelChoice:
    numbers = [number for number, _ in profile.sorted_numbers]
    values = [profile.numbers.get(value) for value in profile.values]
    if numbers == [0.0, 1.0]:
        share = sum(count for number, count in profile.sorted_numbers if number == 1) / sum(count for _, count in profile.sorted_numbers)
        return LabelChoice(column, f"0 or 1, {share:.1%} are 1", [None if v is None else v == 1 for v in values])
    grades = len(numbers) <= _MOST_GRADES and (profile.is_integer or len(numbers) <= 20)
    if not grades:
        middle = profile.quantile(0.5)
        reason = (
            f"{len(numbers):,} different numbers from {numbers[0]:g} to {numbers[-1]:g}: learnt as they are. For clicks and the like write "
            f"`threshold: {middle:g}` instead of the task: 1 where the number is at least that"
        )
        return LabelChoice(column | {"task": "regression"}, reason, [None if v is None else v > middle for v in values])
    total = sum(count for _, count in profile.sorted_numbers)
    shares = {n: sum(count for number, count in profile.sorted_numbers if number >= n) / total for n in numbers[1:]}
    threshold = min(shares, key=lambda n: (abs(shares[n] - 0.5), n))
    threshold = int(threshold) if threshold == int(threshold) else threshold
    reason = f"{len(numbers)} different numbers from {numbers[0]:g} to {numbers[-1]:g}: at least {threshold} is positive, "
    reason += f"{shares[threshold]:.1%} of the rows"
    if len(numbers) > 2:
        reason += ", the nearest to one half. `task: regression` in place of the threshold learns the number itself"
    return LabelChoice(column | {"threshold": threshold}, reason, [None if v is None else v >= threshold for v in values])


def _few(profile: Profile) -> str:
    return _listed(tuple(value for value, _ in profile.counts.most_common(6))) + (", ..." if profile.distinct > 6 else "")


def _listed(values: tuple[str, ...]) -> str:
    return ", ".join(repr(value[:40]) for value in values)
