"""Columns of numbers: quantities, names of things that are written as numbers, and times."""

from __future__ import annotations

from typing import Any

from feature_specs.inference.leaks import Power
from feature_specs.inference.profile import Profile
from feature_specs.inference.words import MEASURING, NAMING, THINGS, TIMES

_FEW = 20
_SECONDS = (500_000_000, 2_600_000_000)  # 1985 to 2052
_EVIDENCE = 0.02


def unix_scale(profile: Profile) -> int:
    """Returns how many units make a second, where the numbers are Unix times (1, 1,000 ...), and 0 where they are none."""
    if not profile.is_integer or (profile.words and profile.words[-1] in NAMING):
        return 0
    low, high = profile.sorted_numbers[0][0], profile.sorted_numbers[-1][0]
    # Without a name that says so, only a range of at most 40 years is a time.
    named = bool(TIMES & set(profile.words)) or (profile.words and profile.words[-1].endswith(("time", "stamp")))
    for scale in (1, 1000, 1_000_000):
        if _SECONDS[0] * scale <= low and high <= _SECONDS[1] * scale and (named or (profile.distinct > 20 and high - low < 1.3e9 * scale)):
            return scale
    return 0


def names_things(profile: Profile, power: Power) -> tuple[bool, str]:
    """Decides whether integers name things rather than measure, and says why."""
    words = profile.words
    if profile.distinct <= 2:
        return True, "two values"
    if words and words[-1] in NAMING:
        return True, f"integers that name things, as {words[-1]!r} says"
    if MEASURING & set(words):
        return False, "a quantity by its name"
    if THINGS & set(words):
        return True, "integers that name things, by the column's name"
    if profile.distinct <= _FEW:
        return True, "few integers"
    gain = power.by_value - max(power.by_range, power.auc if power.how.startswith("by the order") else 0.5)
    if profile.present >= 3 * profile.distinct and gain > _EVIDENCE:
        return True, (
            f"its exact values predict the label better than their ranges (AUC {power.by_value:.3f} against {power.by_range:.3f}), so "
            "they name things"
        )
    return False, "integers whose order tells as much as their exact values"


def scaled(profile: Profile) -> tuple[dict[str, Any], str]:
    """Returns the scaling of a numeric feature and how its missing values are marked, with the reason."""
    low, middle, high = profile.sorted_numbers[0][0], profile.quantile(0.5), profile.sorted_numbers[-1][0]
    upper, lower = profile.quantile(0.99), profile.quantile(0.01)
    spread = profile.quantile(0.75) - profile.quantile(0.25)
    what = f"{low:g} to {high:g}, median {middle:g}"
    tree: dict[str, Any] = {}
    # The 99th percentile, or a largest value far from it, is many times the middle half away from the median.
    tail = upper - middle > 8 * max(spread, 1e-9) or high - middle > 30 * max(spread, 1e-9)
    if tail and low >= 0 and high >= 10:
        tree["scaling"] = "log1p"
        what += ": a long tail, so log1p"
    elif tail or middle - lower > 8 * max(spread, 1e-9):
        tree["scaling"] = "quantile_normal"
        what += ": long tails, so by rank"
    if profile.missing_share >= 0.01:
        tree["missing_indicator"] = True
        what += "; missing ones are the mean and have a field that says so"
    return tree, what
