"""What the sketches of a data set say, as `statistics.json` shows it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from feature_specs import FeatureSpec, Vocabulary
from feature_specs.features import AnyEncoding, BucketizedFeature, CrossedFeature, Feature, Hash, Identity, TableFeature
from preprocessing.drift import Drift, compare, compare_labels
from preprocessing.examples import SPLITS
from preprocessing.measuring import LABEL, SplitSummary
from preprocessing.sketches import CAPACITY, Numbers
from preprocessing.staging import read_batches
from preprocessing.summaries import Summary, has_own_cells, is_by_token

TOP_VALUES = 20
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_SHOWN_CHARACTERS = 60
# Deeper than that, a value of statistics.json stands on one line.
_JSON_LEVELS = 3

# A file of each split in the data directory, for comparing other rows with.
SKETCHES = "sketches-{}.arrow"

Tokens = Callable[[str, int], list[bytes]]


def text_of(value: bytes | int) -> str:
    """Returns a raw value as text; what is no UTF-8, and control characters, as escapes."""
    text = value.decode("utf-8", errors="backslashreplace") if isinstance(value, bytes) else str(value)
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


class Names:
    """What the ids of features stand for.

    Args:
        spec: The data set.
        table_rows: Rows of each embedding table.
        tokens: Returns the first tokens, so many, of a table's vocabulary.
        train: The training rows; the quantiles of a bucketized feature come from there.
    """

    def __init__(self, spec: FeatureSpec, table_rows: Mapping[str, int], tokens: Tokens, train: SplitSummary | None) -> None:
        self._encodings = spec.tables
        self._counted = Counter(f.table_name for f in spec.token_features if f not in spec.histories)
        self._rows = table_rows
        self._read = tokens
        self._train = train
        self._tokens: dict[str, list[bytes]] = {}

    def vocabulary_of(self, feature: Feature) -> int:
        """Returns the size of a vocabulary that holds all training values of this feature and nothing else; 0 where there is none."""
        table = getattr(feature, "table_name", "")
        encoding = self._encodings.get(table)
        if not isinstance(encoding, Vocabulary) or encoding.is_given or encoding.min_count > 1 or encoding.max_size is not None:
            return 0
        is_history = getattr(feature, "is_history", False)
        return self._rows.get(table, 0) - encoding.num_rows(0) if self._counted[table] == 1 and not is_history else 0

    def of_cell(self, feature: Feature, cell: int) -> str:
        """Returns the value behind a cell of a summary."""
        if not isinstance(feature, TableFeature) or feature.only_crossed or not has_own_cells(*self._table(feature)):
            return "a group of values"
        return "rare values" if self._is_shared(feature, cell) else self.of(feature, cell)

    def top(self, feature: Feature, summary: Summary) -> list[tuple[str, int]]:
        """Returns the most frequent values, as text, and how often each occurs."""
        if is_by_token(self._encodings, feature):
            return [(text_of(value), count) for value, count in summary.frequent.top(TOP_VALUES)]
        if counted := summary.frequent.top(TOP_VALUES):
            return [(self.of(feature, int(number)), count) for number, count in counted]
        order = [int(cell) for cell in np.argsort(-summary.cells, kind="stable")[: TOP_VALUES + 1] if summary.cells[cell]]
        return [(self.of(feature, c), int(summary.cells[c])) for c in order if not self._is_shared(feature, c)][:TOP_VALUES]

    def of(self, feature: Feature, number: int) -> str:
        """Returns the value behind an id from 1 on."""
        if isinstance(feature, BucketizedFeature):
            return self._range(feature, number - 1)
        encoding = self._encodings.get(getattr(feature, "table_name", ""))
        if isinstance(encoding, Vocabulary):
            table = getattr(feature, "table_name", "")
            if table not in self._tokens:
                self._tokens[table] = self._read(table, CAPACITY)
            tokens = self._tokens[table]
            return text_of(tokens[number - 1]) if number <= len(tokens) else f"token {number - 1}"
        return str(number - 1) if isinstance(encoding, Identity) else f"bucket {number - 1}"

    def _table(self, feature: TableFeature) -> tuple[AnyEncoding | None, int]:
        return self._encodings.get(feature.table_name), self._rows.get(feature.table_name, 0)

    def _is_shared(self, feature: Feature, cell: int) -> bool:
        """Whether the rare tokens of a large vocabulary share the cell."""
        return cell == CAPACITY - 1 and self._rows.get(getattr(feature, "table_name", ""), 0) > CAPACITY

    def _range(self, feature: BucketizedFeature, bucket: int) -> str:
        boundaries: list[float] = list(feature.boundaries or ())
        if feature.quantiles and self._train is not None:
            shares = np.arange(1, feature.quantiles) / feature.quantiles
            boundaries = self._train.features[feature.name].numbers[0].quantiles(shares.tolist())
        low = f"{boundaries[bucket - 1]:.6g}" if bucket else "-inf"
        high = f"{boundaries[bucket]:.6g}" if bucket < len(boundaries) else "inf"
        return f"[{low}, {high})"


def collected(spec: FeatureSpec, table_rows: Mapping[str, int], records: Sequence[Mapping[str, Any]]) -> dict[str, SplitSummary]:
    """Merges the sketches of all shards, by split; the splits that have rows, "train" first.

    Args:
        spec: The data set.
        table_rows: Rows of each embedding table.
        records: Where those of each file are (`sketches`), and its `split`.
    """
    splits: dict[str, SplitSummary] = {}
    for record in records:
        part = read_sketches(spec, table_rows, record["sketches"])
        if record["split"] in splits:
            splits[record["split"]].merge(part)
        else:
            splits[record["split"]] = part
    return {split: splits[split] for split in SPLITS if split in splits}


def read_sketches(spec: FeatureSpec, table_rows: Mapping[str, int], path: str) -> SplitSummary:
    """Reads what `SplitSummary.to_table` gave."""
    summary = SplitSummary(spec, table_rows)
    summary.take(pa.Table.from_batches(read_batches(path)))
    return summary


def describe(spec: FeatureSpec, splits: Mapping[str, SplitSummary], table_rows: Mapping[str, int], tokens: Tokens) -> dict[str, Any]:
    """Returns the parts `label`, `labels`, `features`, `drift` and `warnings` of `statistics.json`.

    Args:
        spec: The data set.
        splits: The splits that have rows, "train" first.
        table_rows: Rows of each embedding table.
        tokens: Returns the first tokens, so many, of a table's vocabulary.
    """
    train = splits.get("train")
    names = Names(spec, table_rows, tokens, train)
    known = train.features if train else {}
    tables = spec.tables
    hashed = [f for f in spec.features if isinstance(f, TableFeature) and isinstance(tables.get(f.table_name), Hash)]
    drifts = {split: drift_of(spec, train, summary, names) for split, summary in splits.items() if train and split != "train"}
    found = {name: {split: d[name] for split, d in drifts.items() if name in d} for name in [LABEL, *(f.name for f in spec.features)]}
    return {
        "label": {split: summary.label.mean_and_deviation[0] for split, summary in splits.items()},
        "labels": {split: of_numbers(summary.label) for split, summary in splits.items()},
        "features": {
            feature.name: {
                split: _of_feature(feature, summary.features[feature.name], known.get(feature.name), names, feature in hashed)
                for split, summary in splits.items()
            }
            for feature in spec.features
        },
        "drift": {
            name: {split: {"js": drift.js, "linf": drift.linf, "warning": drift.exceeds()} for split, drift in by_split.items()}
            for name, by_split in found.items()
        },
        "warnings": [
            *(in_words(name, d, split) for name, by_split in found.items() for split, d in by_split.items() if d.exceeds()),
            *_constant_label(spec, train),
            *(f"{feature.name}: {said}" for feature in spec.features if (said := _empty_or_constant(known.get(feature.name)))),
        ],
    }


def _constant_label(spec: FeatureSpec, train: SplitSummary | None) -> list[str]:
    if train is None or spec.label.implicit or spec.is_matching or not train.label.count or train.label.low != train.label.high:
        return []
    return [f"label: it is {train.label.low:g} in every row of train, so that there is nothing to learn"]


def _empty_or_constant(train: Summary | None) -> str:
    if train is None:
        return ""
    if train.missing == train.rows:
        return "no row of train has a value"
    return "every row of train has the same value" if train.distinct.estimate == 1 and not train.missing else ""


def drift_of(spec: FeatureSpec, train: SplitSummary, other: SplitSummary, names: Names) -> dict[str, Drift]:
    """Compares the label and every feature with the training rows."""
    found = {LABEL: compare_labels(train.label, other.label)}
    for feature in spec.features:
        if spec.is_matching and feature.raw_column == spec.keys.user:
            # How many rows a user has in a split, the split says.
            continue
        found[feature.name] = compare(train.features[feature.name], other.features[feature.name], partial(names.of_cell, feature))
    return {name: drift for name, drift in found.items() if drift is not None}


def in_words(name: str, drift: Drift, other: str) -> str:
    """Returns a line about a feature that differs from the training rows."""
    before, after = drift.shares
    if name == LABEL and drift.means:
        return f"label: {drift.means[1]:.4g} on average in {other}, {drift.means[0]:.4g} in train"
    return (
        f"{name}: {other} differs from train, Jensen-Shannon {drift.js:.3f}, L-infinity {drift.linf:.3f}; "
        f"most in {drift.widest}: {before:.1%} in train, {after:.1%} in {other}"
    )


def of_numbers(numbers: Numbers) -> dict[str, Any]:
    """Returns extremes, moments and quantiles; None where there are no numbers."""
    if not numbers.count:
        return {"min": None, "max": None, "mean": None, "std": None}
    mean, deviation = numbers.mean_and_deviation
    shown = {"min": numbers.low, "max": numbers.high, "mean": mean, "std": deviation, "quantiles": _quantiles(numbers)}
    if numbers.histogram.shift:
        shown["quantile_error"] = numbers.histogram.error
    else:
        shown["distinct"] = len(numbers.histogram.cells)
    return shown


def _quantiles(numbers: Numbers) -> dict[str, float]:
    return dict(zip(map(str, QUANTILES), numbers.quantiles(QUANTILES), strict=True))


def _of_feature(feature: Feature, summary: Summary, train: Summary | None, names: Names, is_hashed: bool) -> dict[str, Any]:
    rows, values = max(summary.rows, 1), max(summary.values, 1)
    shown: dict[str, Any] = {"rows": summary.rows, "missing_share": summary.missing / rows}
    if summary.lengths.count:
        mean, _ = summary.lengths.mean_and_deviation
        shown.update(length_mean=mean, length_max=int(summary.lengths.high), length_quantiles=_quantiles(summary.lengths))
        if not isinstance(feature, CrossedFeature):
            shown["cut_share"] = summary.cut / rows
    if isinstance(feature, TableFeature) and not isinstance(feature, BucketizedFeature):
        shown["values"] = summary.values
        if not (is_hashed or feature.only_crossed or isinstance(feature, CrossedFeature)):
            shown["oov_share"] = summary.oov / values
        if train is not None and train is not summary:
            shown["new_share"] = new_share(summary, train)
    if len(summary.numbers) == 1:
        shown.update(of_numbers(summary.numbers[0]))
    elif summary.numbers:
        shown["elements"] = [of_numbers(element) for element in summary.numbers]
    if train is summary and (size := names.vocabulary_of(feature)) and not summary.oov:
        shown["distinct"] = size
    elif len(summary.numbers) < 2:
        shown["distinct"] = summary.distinct.estimate
        if summary.distinct.is_full:
            shown["distinct_error"] = summary.distinct.error
    if summary.weights.count:
        shown["weights"] = of_numbers(summary.weights)
    if isinstance(feature, TableFeature):
        shown["top"] = [list(pair) for pair in names.top(feature, summary)]
        if summary.frequent.lost:
            shown["top_error"] = summary.frequent.lost
    return shown


def new_share(summary: Summary, train: Summary) -> float:
    """Returns the share of values that no training row has; exact while there are few enough of them, else an estimate."""
    return min(summary.distinct.unseen(train.distinct) / max(summary.values, 1), 1.0)


def to_json(statistics: Mapping[str, Any], levels: int = _JSON_LEVELS) -> str:
    """Returns JSON that a person can read: a feature's split stands on one line."""
    return _json(_rounded(statistics), levels, "") + "\n"


def _rounded(value: Any) -> Any:  # noqa: ANN401 (any JSON)
    """Rounds to nine digits, all that a float32 has."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, Mapping):
        return {key: _rounded(part) for key, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list) else value


def _json(value: Any, levels: int, indent: str) -> str:  # noqa: ANN401 (any JSON)
    if not isinstance(value, Mapping) or not levels or not value:
        return json.dumps(value, ensure_ascii=False)
    lines = [f"{indent}  {json.dumps(key, ensure_ascii=False)}: {_json(v, levels - 1, indent + '  ')}" for key, v in value.items()]
    return "{\n" + ",\n".join(lines) + "\n" + indent + "}"
