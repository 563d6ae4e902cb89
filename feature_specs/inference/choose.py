"""Chooses a feature for each column of the sample, or says why it has none."""

from __future__ import annotations

import keyword
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from feature_specs.features import RESERVED_NAMES
from feature_specs.inference.leaks import SUSPECT_AUC, Judge, Power
from feature_specs.inference.lists import choose_list
from feature_specs.inference.numbers import names_things, scaled, unix_scale
from feature_specs.inference.profile import Profile

_HASH_FROM = 10_000


@dataclass
class Choice:
    """What becomes of one column.

    Attributes:
        profile: Of the column.
        comment: What it holds and why the choice.
        features: As trees; none where the column cannot be a feature.
        is_leak: Whether it is suspected to hold the answer; then the features are proposed as comments.
    """

    profile: Profile
    comment: str
    features: list[dict[str, Any]] = field(default_factory=list)
    is_leak: bool = False


class Chooser:
    """Chooses features, one column after another; names stay unique.

    Args:
        judge: Knows the label.
        complete: Whether the sample is all there is.
    """

    def __init__(self, judge: Judge, complete: bool) -> None:
        self._judge = judge
        self._complete = complete
        self._taken: set[str] = set()

    def choose(self, profile: Profile, role: str = "") -> Choice:
        """Returns the choice for a column; `role` is the key that it is ("user", "item", "time"), if any."""
        nothing = _without_content(profile)
        if nothing:
            return Choice(profile, f"left out: {nothing}")
        power = self._judge.power(profile)
        what = f"{_kind(profile)}, {profile.distinct:,} different, {_percent(profile.missing_share)} missing"
        if self._judge.can_tell:
            what += f", alone AUC {power.auc:.3f}"
        features, why = self._features(profile, power, role)
        for feature in features:
            feature["name"] = self._name(feature["name"], feature["kind"])
            if feature["name"] != profile.name:
                feature["column"] = profile.name
        if not features:
            return Choice(profile, f"{what}; left out: {why}")
        leak = power.auc > SUSPECT_AUC
        if leak:
            why = (
                f"SUSPECTED LEAK: alone it predicts the label with AUC {power.auc:.4f} ({power.how}). Is it known before the label is? "
                f"Only then take the comment sign away. It would be: {why}"
            )
        return Choice(profile, f"{what}; {why}", [_ordered(feature) for feature in features], leak)

    def _features(self, profile: Profile, power: Power, role: str) -> tuple[list[dict[str, Any]], str]:
        named = {"name": profile.name}
        if scale := unix_scale(profile):
            return _of_time(profile, scale)
        several = choose_list(profile)
        if several is not None:
            tree, why, tokens = several
            if "vector" in why or tree["kind"].startswith("numeric"):
                return [named | tree], why
            encoding, reason = self._encoding(tokens, len(profile.values))
            return [named | tree | {"encoding": encoding}], f"{why}; {reason}"
        if profile.is_row_id and role in ("", "time"):
            return [], "nearly every row has a value of its own, so it names the row and teaches nothing about others"
        if profile.is_date:
            return [], "dates as text. Write them as Unix seconds to get `derive: {type: hour}` and `{type: weekday}`, and a key of time"
        if profile.is_number:
            return self._of_numbers(profile, power, role)
        encoding, why = self._encoding(profile.counts, profile.present)
        if profile.missing_words:
            word, count = max(profile.missing_words.items(), key=lambda item: item[1])
            why += f"; {word!r}, in {_percent(count / profile.rows)} of the rows, is a token like any other"
        return [named | {"kind": "categorical", "encoding": encoding}], why

    def _of_numbers(self, profile: Profile, power: Power, role: str) -> tuple[list[dict[str, Any]], str]:
        tree: dict[str, Any] = {"name": profile.name}
        things, why = names_things(profile, power) if profile.is_integer else (profile.distinct <= 2, "two values")
        if role:
            things, why = True, f"the {role}s' key"
        if things:
            encoding, reason = self._encoding(profile.counts, profile.present)
            plain = profile.is_integer and not profile.odd and "-1" not in profile.counts
            if "-1" in profile.counts:
                reason += "; of dtype string, because the integer -1 means missing"
            return [tree | {"kind": "categorical"} | ({"dtype": "int64"} if plain else {}) | {"encoding": encoding}], f"{why}; {reason}"
        options, range_ = scaled(profile)
        tree |= {"kind": "numeric", **options}
        if not profile.is_integer:
            why = "numbers"
        if profile.odd:
            tree["on_invalid"] = "missing"
            why += f"; {', '.join(repr(text[:20]) for text, _ in profile.odd.most_common(3))} count as missing"
        return [tree], f"{why}, {range_}"

    def _encoding(self, tokens: Counter[str], present: int) -> tuple[dict[str, Any], str]:
        once = sum(count == 1 for count in tokens.values())
        distinct = len(tokens)
        if distinct > _HASH_FROM and once > 0.5 * distinct and not self._complete:
            buckets = 2 ** math.ceil(math.log2(4 * distinct))
            new = f"one row in {max(1, round(present / once))} brings a new one"
            return {"type": "hash", "num_buckets": buckets}, f"{distinct:,} in the rows read, {new}: a hash, whose size stays the same"
        if once > 0.1 * distinct and distinct > 50:
            return {"type": "vocabulary", "min_count": 2}, (
                f"a vocabulary; the {once:,} seen once share the row of unknown ones, which is trained by them"
            )
        return {"type": "vocabulary"}, "few enough for a vocabulary" if distinct <= _HASH_FROM else "they repeat, so a vocabulary"

    def _name(self, wanted: str, kind: str) -> str:
        name = re.sub(r"[^A-Za-z0-9_]+", "_", wanted).strip("_")
        if not re.match(r"[A-Za-z]", name):
            name = f"column_{name}".rstrip("_")
        if keyword.iskeyword(name) or name.lower() in RESERVED_NAMES:
            name += "_"
        name, base, number = name, name, 2
        extra = ["_missing"] if kind == "numeric" else ["_steps"] if kind == "sequence" else []
        while {(name + ending).lower() for ending in ("", *extra)} & self._taken:
            name, number = f"{base}_{number}", number + 1
        self._taken |= {(name + ending).lower() for ending in ("", *extra)}
        return name


def _without_content(profile: Profile) -> str:
    if not profile.counts:
        return "it has no value"
    if profile.is_nested:
        return "nested objects; write what you need of them as columns of their own"
    if profile.distinct == 1 and profile.missing_share < 1e-9:
        shown = next(iter(profile.counts)).replace("\x1f", ", ")[:40]
        return f"every row has the same value, {shown!r}"
    if profile.is_number and not profile.numbers:
        return "it has no number"
    return ""


def _of_time(profile: Profile, scale: int) -> tuple[list[dict[str, Any]], str]:
    if scale != 1:
        return [], f"Unix times in 1/{scale:,} seconds. `derive: {{type: hour}}` and `{{type: weekday}}` take seconds: divide them"
    found = []
    for part, size, values in (
        ("hour", 24, {int(number) % 86_400 // 3_600 for number in profile.numbers.values()}),
        ("weekday", 7, {int(number) // 86_400 % 7 for number in profile.numbers.values()}),
    ):
        if len(values) > 1:
            encoding = {"type": "identity", "num_buckets": size}
            tree: dict[str, Any] = {"kind": "categorical", "dtype": "int64", "derive": {"type": part}, "encoding": encoding}
            found.append({"name": f"{profile.name}_{part}", **tree, **({"on_invalid": "missing"} if profile.odd else {})})
    reason = "Unix times: hour and weekday (UTC) are features, the moment itself never comes again"
    return found, reason if found else "Unix times of one hour of one weekday"


def _kind(profile: Profile) -> str:
    if profile.lists is not None:
        return "list"
    return "integer" if profile.is_integer else "number" if profile.is_number else "text"


def _percent(share: float) -> str:
    return f"{share:.1%}" if share < 0.0005 or share > 0.001 else f"{share:.2%}"


def _ordered(tree: dict[str, Any]) -> dict[str, Any]:
    """Puts kind, name and column first."""
    return {key: tree[key] for key in ("kind", "name", "column") if key in tree} | tree
