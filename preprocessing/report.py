"""Statistics as a table that a person can read: a line a feature, at most 140 columns wide."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from feature_specs import FeatureSpec
from feature_specs.features import AnyFeature

WIDTH = 140
FILE = "statistics.txt"
SCREEN_FEATURES = 40
SCREEN_WARNINGS = 10
_MOST_NAME = 24
_MOST_TOKEN = 18
# Columns of the table.
_DISTINCT, _VALUES = 4, 5
_KINDS = {"numeric_sequence": "numbers"}
_EXPLANATION = (
    "missing  rows without a value, in percent",
    "new      values outside of the vocabulary or range, in percent (of train: too rare for it); of hashed ones, values in no training row",
    "values   of train: of numbers the smallest | quartiles | largest, mean and deviation; of tokens the most frequent, in percent",
    "drift    Jensen-Shannon divergence from train, base 2, from 0 (equal) to 1; * marks a warning",
)


def number(value: float | None) -> str:
    """Returns a number in at most seven characters or so."""
    if value is None:
        return "-"
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if limit <= abs(value) < limit * 1e3:
            return f"{value / limit:.4g}{unit}"
    if abs(value) >= 1e15 or (value and abs(value) < 1e-3):
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.3g}"


def percent(share: float | None) -> str:
    """Returns a share in percent, without the sign; "<.1" and ">99.9" tell almost none and almost all from none and all."""
    if share is None:
        return "-"
    if share in (0, 1):
        return str(round(100 * share))
    return "<.1" if share < 0.0005 else ">99.9" if share > 0.9995 else f"{100 * share:.1f}"


def width(text: str) -> int:
    """Returns how many columns a terminal needs for `text`."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def shortened(text: str, most: int) -> str:
    """Returns `text` in at most so many columns."""
    if width(text) <= most:
        return text
    kept = ""
    for character in text:
        if width(kept + character) > most - 2:
            break
        kept += character
    return kept + ".."


def everything(spec: FeatureSpec, statistics: Mapping[str, Any]) -> str:
    """Returns all features, in the order of the spec, and all warnings: `statistics.txt`."""
    lines = [*_overview(statistics), "", *_table(spec.features, statistics), "", *_EXPLANATION]
    warnings = statistics.get("warnings", [])
    return "\n".join([*lines, *(["", "Warnings", *warnings] if warnings else [])]) + "\n"


def screen(spec: FeatureSpec, statistics: Mapping[str, Any], folder: str = "") -> str:
    """Returns what fits a screen.

    Of many features those with a warning come first, then those that drift most. `folder` is the data directory, where the rest is.
    """
    where = f"{folder}/{FILE}" if folder else FILE
    features = list(spec.features)
    if len(features) > SCREEN_FEATURES:
        drifts = statistics.get("drift", {})

        def urgency(feature: AnyFeature) -> tuple[bool, float]:
            by_split = drifts.get(feature.name, {}).values()
            return not any(d["warning"] for d in by_split), -max((d["js"] for d in by_split), default=0.0)

        features = sorted(features, key=urgency)[:SCREEN_FEATURES]
    lines = [*_overview(statistics, folder), "", *_table(features, statistics)]
    if len(features) < len(spec.features):
        lines.append(f"... and {len(spec.features) - len(features)} more features: {where}")
    lines.append(f"(what the columns say: {where})")
    warnings = statistics.get("warnings", [])
    if warnings:
        lines += ["", *(f"warning: {shortened(text, WIDTH - 9)}" for text in warnings[:SCREEN_WARNINGS])]
    if len(warnings) > SCREEN_WARNINGS:
        lines.append(f"... and {len(warnings) - SCREEN_WARNINGS} more warnings: {where}")
    return "\n".join(lines)


def _overview(statistics: Mapping[str, Any], folder: str = "") -> list[str]:
    rows, splits, tables = statistics["rows"], statistics["splits"], statistics["tables"]
    counts = [f"{rows[name]:,} {name}" for name in ("in", "out", "rejected")]
    if rows["rejected"]:
        counts[2] += f" (why: {folder and folder + '/'}rejected-*.jsonl)"
    if rows.get("left_out"):
        counts.append(f"{rows['left_out']:,} left out by the label")
    if rows.get("negatives"):
        counts.append(f"{rows['negatives']:,} sampled negatives")
    by_split = ", ".join(f"{name} {count:,}" for name, count in splits.items())
    lines = ["rows      " + ", ".join(counts), f"splits    {by_split}"]
    if "users" in statistics:
        lines[1] += " interactions"
        lines += _of_users(statistics)
    else:
        lines.append("labels    " + ", ".join(f"{name} {mean:.4f}" for name, mean in statistics["label"].items() if splits[name]))
    if tables:
        largest = sorted(tables, key=lambda name: -tables[name])
        shown = ", ".join(f"{shortened(name, _MOST_NAME)} {tables[name]:,}" for name in largest[:6])
        total = f"{len(tables)} tables, {sum(tables.values()):,} rows: " if len(tables) > 1 else ""
        lines.append(shortened(f"tables    {total}{shown}{', ...' if len(tables) > 6 else ''}", WIDTH))
    return lines


def _of_users(statistics: Mapping[str, Any]) -> list[str]:
    """Returns how many users and items there are, where one row a user was written."""
    users, new = statistics["user_rows"], statistics["users_without_history"]
    unknown = ", ".join(f"{name} {count:,}" for name, count in new.items() if count)
    return [
        f"users     {statistics['users']:,}: " + ", ".join(f"{name} {count:,}" for name, count in users.items()),
        *([f"          of whom nothing is known from earlier splits: {unknown}"] if unknown else []),
        f"items     {statistics['items']:,}",
    ]


def _table(features: Sequence[AnyFeature], statistics: Mapping[str, Any]) -> list[str]:
    splits = [name for name, count in statistics["splits"].items() if count]
    others = [name for name in splits if name != "train"]
    head = [
        ["", "", "missing %", "new %", "", "", "drift" if others else ""],
        ["feature", "kind", _group(splits), _group(splits), "distinct", "values", _group(others, 6)],
    ]
    drifts = statistics.get("drift", {})
    body = []
    for feature in features:
        by_split = statistics["features"][feature.name]
        train = by_split.get("train", {})
        drift = [drifts.get(feature.name, {}).get(split) for split in others]
        body.append(
            [
                shortened(feature.name, _MOST_NAME),
                _kind(feature),
                _group([percent(by_split.get(split, {}).get("missing_share")) for split in splits]),
                _group([percent(_new_share(by_split.get(split, {}), split)) for split in splits]),
                _distinct(train),
                _values(train),
                _group(["- " if d is None else f"{d['js']:.3f}{'*' if d['warning'] else ' '}" for d in drift], 6),
            ]
        )
    return _aligned([*head, *body])


def _group(cells: Sequence[str], wide: int = 5) -> str:
    return " ".join(f"{cell:>{wide}}" for cell in cells)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligns columns; the last but one, with the values, takes what is left of the width."""
    widths = [max(width(row[i]) for row in rows) for i in range(len(rows[0]))]
    widths[_VALUES] = min(widths[_VALUES], max(WIDTH - sum(wide + 2 for i, wide in enumerate(widths) if i != _VALUES), 20))
    lines = []
    for row in rows:
        cells = []
        for i, (cell, wide) in enumerate(zip(row, widths, strict=True)):
            text = _fitted(cell, wide) if i == _VALUES else cell
            gap = " " * (wide - width(text))
            cells.append(gap + text if i == _DISTINCT else text + gap)
        lines.append("  ".join(cells).rstrip())
    return lines


def _fitted(text: str, most: int) -> str:
    """Leaves out the last parts, between commas, of a text that is too long."""
    if width(text) <= most:
        return text
    parts = text.split(", ")
    while len(parts) > 1 and width(", ".join(parts)) > most - 4:
        parts.pop()
    return shortened(", ".join(parts) + ", ..", most)


def _kind(feature: AnyFeature) -> str:
    size = getattr(feature, "size", 1)
    return f"vector [{size}]" if size > 1 else _KINDS.get(feature.kind, feature.kind)


def _new_share(shown: Mapping[str, Any], split: str) -> float | None:
    return shown.get("oov_share", None if split == "train" else shown.get("new_share"))


def _distinct(shown: Mapping[str, Any]) -> str:
    if "distinct" not in shown:
        return "-"
    return ("~" if "distinct_error" in shown else "") + number(shown["distinct"])


def _values(shown: Mapping[str, Any]) -> str:
    parts = []
    if "length_mean" in shown:
        parts.append(f"length {shown['length_mean']:.3g}, at most {number(shown['length_max'])}")
    if "elements" in shown:
        known = [e for e in shown["elements"] if e["mean"] is not None]
        if known:
            low, high = min(e["min"] for e in known), max(e["max"] for e in known)
            means = [e["mean"] for e in known]
            parts.append(f"{number(low)} to {number(high)}, means {number(min(means))} to {number(max(means))}")
    elif shown.get("mean") is not None:
        quartiles = " ".join(number(shown["quantiles"][share]) for share in ("0.25", "0.5", "0.75")) if "quantiles" in shown else "..."
        ends, moments = ([number(shown[key]) for key in keys] for keys in (("min", "max"), ("mean", "std")))
        parts.append(f"{ends[0]} | {quartiles} | {ends[1]}, mean {moments[0]} dev {moments[1]}")
    elif shown.get("top"):
        total = max(shown["values"], 1) if "values" in shown else sum(count for _, count in shown["top"])
        parts.append(", ".join(f"{shortened(value, _MOST_TOKEN)} {percent(count / total)}%" for value, count in shown["top"][:8]))
    return "; ".join(parts)
