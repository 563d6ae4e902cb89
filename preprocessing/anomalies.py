"""What is wrong with new rows, next to those that a data directory was made of; a line for each finding."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa

from feature_specs import FeatureSpec
from feature_specs.features import BucketizedFeature, CrossedFeature, Feature, SequenceFeature, TableFeature
from preprocessing.drift import JS_THRESHOLD, LINF_THRESHOLD, compare, compare_labels, compare_lengths
from preprocessing.measuring import LONGEST_TOKEN, SplitSummary, hashes_of
from preprocessing.rejections import MAX_REJECTED_FRACTION
from preprocessing.report import number
from preprocessing.sketches import Distinct, Frequent, Numbers
from preprocessing.statistics import Names, in_words, new_share, text_of
from preprocessing.summaries import Summary, is_by_token

_INVALID = re.compile(r"column '(?P<column>.*?)': (?P<value>.*) is not (?P<expected>.*)", re.DOTALL)
_EXAMPLES = 3
_CANDIDATES = 1000
_DEVIATIONS = 3


@dataclass(frozen=True)
class Thresholds:
    """From where on something is an anomaly; shares from 0 to 1.

    Attributes:
        max_rejected_fraction: Rows that cannot be read.
        max_invalid: Rows with a value of another type in one column.
        max_new_tokens: Values of a feature in no training row, beyond what rows that were held out of training had.
        max_missing_increase: By how much the share of missing values may grow.
        max_out_of_range: Numbers beyond the training range.
        range_margin: How far they may be, as a share of the width of that range.
        max_label_change: By how much the share of positive labels may change.
        max_js: Jensen-Shannon divergence (base 2) of a feature from the training rows.
        max_linf: Largest change of the share of one value, or of a tenth of the numbers.
    """

    max_rejected_fraction: float = MAX_REJECTED_FRACTION
    max_invalid: float = 0.01
    max_new_tokens: float = 0.05
    max_missing_increase: float = 0.1
    max_out_of_range: float = 0.001
    range_margin: float = 0.1
    max_label_change: float = 0.1
    max_js: float = JS_THRESHOLD
    max_linf: float = LINF_THRESHOLD

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Returns the names of all thresholds."""
        return tuple(field.name for field in fields(cls))


@dataclass(frozen=True)
class Skipped:
    """Features that are not compared.

    Attributes:
        features: Not at all.
        drift: Not by how their values are distributed.
    """

    features: Set[str] = frozenset()
    drift: Set[str] = frozenset()


def of_rejected(files: Sequence[Path], rows: Mapping[str, int], limits: Thresholds) -> Iterator[str]:
    """Yields what is wrong with the rows that were set aside.

    Args:
        files: JSON lines, one a row.
        rows: How many were "in" and "rejected".
        limits: The thresholds.
    """
    invalid: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], str] = {}
    first = ""
    for path in files:
        with path.open(encoding="utf-8") as lines:
            for record in map(json.loads, lines):
                place = f"{record['file']}, line {record['line']}"
                first = first or f"{record['reason']} ({place})"
                if found := _INVALID.match(record["reason"]):
                    kind = found["column"], found["expected"]
                    invalid[kind] += 1
                    examples.setdefault(kind, f"{found['value']} ({place})")
    total = max(rows["in"], 1)
    for (column, expected), count in invalid.most_common():
        if count / total > limits.max_invalid:
            yield f"column {column!r}: {count / total:.1%} of the values are not {expected}, such as {examples[column, expected]}"
    if rows["rejected"] / total > limits.max_rejected_fraction:
        yield f"{rows['rejected']:,} of {rows['in']:,} rows ({rows['rejected'] / total:.1%}) cannot be read, the first because: {first}"


def of_label(train: SplitSummary, new: SplitSummary, is_binary: bool, limits: Thresholds) -> Iterator[str]:
    """Yields how labels differ."""
    before, after = train.label, new.label
    if not before.count or not after.count:
        return
    if is_binary:
        shares = before.mean_and_deviation[0], after.mean_and_deviation[0]
        if abs(shares[0] - shares[1]) > limits.max_label_change + _noise(sum(shares) / 2, after.count):
            yield f"label: {shares[1]:.1%} are positive, {shares[0]:.1%} in training"
    else:
        drift = compare_labels(before, after)
        if drift is not None and drift.exceeds(limits.max_js, limits.max_linf):
            yield in_words("label", drift, "the new data")


def of_features(
    spec: FeatureSpec, names: Names, splits: Mapping[str, SplitSummary], new: SplitSummary, skipped: Skipped, limits: Thresholds
) -> Iterator[str]:
    """Yields how features differ; of one that has missing, new or extreme values, drift is not told besides.

    Args:
        spec: The data set.
        names: Of its ids.
        splits: What the data directory was made of, "train" first.
        new: The new rows.
        skipped: What is not compared.
        limits: The thresholds.
    """
    tables = spec.tables
    for feature in spec.features:
        if feature.name in skipped.features:
            continue
        known = {split: summary.features[feature.name] for split, summary in splits.items()}
        found = list(_of_values(feature, known, new.features[feature.name], is_by_token(tables, feature), limits))
        if found or feature.name in skipped.drift:
            yield from found
        else:
            yield from _of_drift(feature, names, known["train"], new.features[feature.name], limits)


def _of_values(feature: Feature, known: Mapping[str, Summary], new: Summary, by_token: bool, limits: Thresholds) -> Iterator[str]:
    train, name = known["train"], f"feature {feature.name!r}"
    missing = train.missing / max(train.rows, 1), new.missing / max(new.rows, 1)
    if missing[1] - missing[0] > limits.max_missing_increase + _noise(missing[0], new.rows):
        yield f"{name}: {missing[1]:.1%} of the rows have no valid value, {missing[0]:.1%} in training"
    if isinstance(feature, TableFeature) and not isinstance(feature, BucketizedFeature | CrossedFeature) and new.values:
        share, usual = new_share(new, train), _usual_new_share(known)
        if share > usual + limits.max_new_tokens + _noise(usual, new.rows):
            said = f"{name}: {share:.1%} of the values are in no training row ({usual:.1%} would be usual)"
            yield said + _such_as(new.frequent if by_token else new.outside, train)
    for place, (before, after) in enumerate(zip(train.numbers, new.numbers, strict=True)):
        which = f"{name}, element {place}" if len(train.numbers) > 1 else name
        yield from _of_range(which, before, after, limits)


def _such_as(candidates: Frequent, train: Summary) -> str:
    """Returns the most frequent raw values that the training rows do not have, in words."""
    # Giant tokens were cut, and cannot be looked up.
    values = [value for value, _ in candidates.top(_CANDIDATES) if isinstance(value, int) or len(value) < LONGEST_TOKEN]
    if not values:
        return ""
    hashes = hashes_of(pa.array(values))
    known = np.isin(hashes, train.distinct.hashes)
    if train.distinct.is_full:
        known |= hashes > train.distinct.hashes[-1]
    examples = [repr(text_of(value)) for value, is_known in zip(values, known, strict=True) if not is_known][:_EXAMPLES]
    return f", such as {', '.join(examples)}" if examples else ""


def _usual_new_share(known: Mapping[str, Summary]) -> float:
    """Returns the share of values that are new in rows like those of the training split: the largest of several estimates."""
    train = known["train"]
    held_out = [new_share(summary, train) for split, summary in known.items() if split != "train" and summary.values]
    # Good and Turing: the next value is new as often as a value that occurs once occurs.
    return max([*held_out, _once(train.distinct) / max(train.values, 1)])


def _once(distinct: Distinct) -> float:
    return float(np.count_nonzero(distinct.counts == 1)) * distinct.estimate / max(len(distinct.hashes), 1)


def _of_range(name: str, before: Numbers, after: Numbers, limits: Thresholds) -> Iterator[str]:
    if not before.count or not after.count:
        return
    margin = (before.high - before.low) * limits.range_margin
    low, high = before.low - margin, before.high + margin
    cells_low, cells_high = after.histogram.edges()
    below, above = (int(after.histogram.counts[mask].sum()) for mask in (cells_high < low, cells_low > high))
    # A cell may reach over the limit; the extremes are exact.
    outside = max(below, int(after.low < low)) + max(above, int(after.high > high))
    if outside / after.count > limits.max_out_of_range:
        extreme = after.high if after.high > high else after.low
        yield (
            f"{name}: {outside / after.count:.1%} of the numbers are outside of [{number(low)}, {number(high)}], the training range "
            f"and {limits.range_margin:.0%} of its width on either side, such as {extreme:.9g}"
        )


def _of_drift(feature: Feature, names: Names, train: Summary, new: Summary, limits: Thresholds) -> Iterator[str]:
    drift = compare(train, new, lambda cell: names.of_cell(feature, cell))
    if drift is not None and drift.exceeds(limits.max_js, limits.max_linf):
        yield f"feature {in_words(repr(feature.name), drift, 'the new data')}"
        return
    lengths = compare_lengths(train, new)
    if lengths is not None and lengths.exceeds(limits.max_js, limits.max_linf):
        what = "steps" if isinstance(feature, SequenceFeature) else "values"
        means = [summary.lengths.mean_and_deviation[0] for summary in (train, new)]
        yield f"feature {feature.name!r}: rows have {means[1]:.3g} {what} on average, {means[0]:.3g} in training"


def _noise(share: float, rows: int) -> float:
    """Returns by how much a share of so many rows may be larger by chance."""
    return float(_DEVIATIONS * np.sqrt(max(share * (1 - share), 1 / max(rows, 1)) / max(rows, 1)))
