"""Which columns say whose row it is, of what, and when."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from feature_specs.errors import ColonnadeError, did_you_mean
from feature_specs.inference.numbers import unix_scale
from feature_specs.inference.profile import Profile
from feature_specs.inference.words import ITEMS, USERS

_WHOLE = re.compile(r"\s*[-+]?\d+(\.0*)?\s*", re.ASCII)
_NAMES = {"user": USERS, "item": ITEMS}


def choose_keys(profiles: Mapping[str, Profile], given: Mapping[str, str | None]) -> tuple[dict[str, str], str]:
    """Returns the keys, those that are given and those that names and values suggest, with the reason.

    Raises:
        ColonnadeError: A given column is not there, or cannot be what it is given for.
    """
    keys: dict[str, str] = {}
    guessed: list[str] = []
    for role in ("user", "item", "time"):
        column = given.get(role)
        if column is not None:
            if column not in profiles:
                hint = did_you_mean(column, profiles)
                raise ColonnadeError(f"--{role} names no column: {column!r}.{hint} There are: {', '.join(profiles)}.")
            _check_given(role, profiles[column], keys)
            keys[role] = column
            continue
        free = [p for name, p in profiles.items() if name not in given.values() and p.lists is None and not p.is_nested]
        if role == "time":
            found = [profile.name for profile in free if unix_scale(profile)]
        else:
            found = [profile.name for profile in free if "".join(profile.words) in _NAMES[role] and profile.distinct > 1]
        if len(found) == 1 or (found and role == "time"):
            keys[role] = found[0]
            guessed.append(role)
    if not keys:
        return {}, "none seems to be there; --user, --item and --time name them. They make histories, GAUC and temporal splits possible"
    reason = f"{_joined(guessed)} guessed from name and values" if guessed else "as given"
    return keys, f"{reason}; they are carried along, and users and items are features too"


def _check_given(role: str, profile: Profile, keys: Mapping[str, str]) -> None:
    """Raises ColonnadeError where a column cannot be the key that the user says it is."""
    for other, column in keys.items():
        if column == profile.name:
            raise ColonnadeError(f"--{other} and --{role} name the same column, {column!r}. Give each its own, or leave one out.")
    if profile.lists is not None or profile.is_nested:
        raise ColonnadeError(f"--{role} {profile.name!r} has lists or objects. A key is one value a row.")
    if role == "time" and profile.present:
        wrong = Counter({text: count for text, count in profile.counts.items() if not _WHOLE.fullmatch(text)})
        if 2 * wrong.total() > profile.present:
            raise ColonnadeError(
                f"--time {profile.name!r} should have whole numbers, such as Unix seconds. Received: {wrong.most_common(1)[0][0][:40]!r}. "
                "Convert them, or leave --time out."
            )


def choose_history(features: Sequence[dict[str, Any]], keys: Mapping[str, str]) -> dict[str, Any] | None:
    """Returns a sequence of the user's earlier items, where user, item and time are known and the item has a table."""
    if not {"user", "item", "time"} <= set(keys):
        return None
    item = next((f for f in features if f["kind"] == "categorical" and f.get("column", f["name"]) == keys["item"]), None)
    if item is None:
        return None
    taken = {feature["name"].lower() for feature in features}
    name = next(name for name in ("history", f"{item['name']}_history", "earlier_items") if name not in taken)
    dtype = {"dtype": item["dtype"]} if "dtype" in item else {}
    return {"kind": "sequence", "name": name, **dtype, "history_of": item["name"], "table": item["name"], "max_length": 50}


def choose_split(files: Sequence[Path], keys: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """Returns the split that the names of the files suggest, or a random one, with the reason."""
    found = {part: [f.name for f in files if part in f.name.lower()] for part in ("train", "valid", "test")}
    found["valid"] = found["valid"] or [f.name for f in files if "dev" in f.name.lower()]
    if len(files) in (2, 3) and all(len(names) <= 1 for names in found.values()) and found["train"] and found["test"]:
        tree: dict[str, Any] = {"type": "files"} | {part: names[0] for part, names in found.items() if names}
        if not found["valid"]:
            tree["valid_fraction"] = 0.1
        return tree, "the files say it by their names"
    others = []
    if "time" in keys:
        others.append("`{type: temporal}` trains on the past and tests on the future, as a model in use has to")
    if {"user", "time"} <= set(keys):
        others.append("`{type: leave_last_out}` tests on each user's last row")
    reason = "by a hash of the row" + (f"; {'; '.join(others)}" if others else "")
    return {"type": "random", "fractions": [0.8, 0.1, 0.1]}, reason


def _joined(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
