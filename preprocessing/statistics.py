"""Counts and moments of the features, a shard at a time, mergeable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from feature_specs import FeatureSpec, Identity, NumericFeature, Vocabulary
from feature_specs.features import Encoding
from preprocessing.sources.casting import is_missing

Sums = dict[str, Any]


def merged_moments(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Merges two [3, N] arrays of count, mean and sum of squared deviations (Chan et al. 1979)."""
    count = left[0] + right[0]
    share = right[0] / np.maximum(count, 1)
    gap = right[1] - left[1]
    return np.stack([count, left[1] + gap * share, left[2] + right[2] + np.square(gap) * left[0] * share])


def table_rows(encoding: Encoding, vocabulary_size: int) -> int:
    """Returns the number of rows of an embedding table: padding, ids, and what is outside of them."""
    if isinstance(encoding, Vocabulary):
        return 1 + vocabulary_size + encoding.num_oov_buckets
    return 1 + encoding.num_buckets + isinstance(encoding, Identity)


def measure(spec: FeatureSpec, raw: pa.RecordBatch, transformed: pa.RecordBatch, first_oov: Mapping[str, int]) -> dict[str, Sums]:
    """Returns, by feature, what can be summed over batches, as plain numbers.

    Args:
        spec: The data set.
        raw: Raw examples [B].
        transformed: The same rows, transformed.
        first_oov: First id outside the vocabulary, by table; a hashed table has none.
    """
    measured: dict[str, Sums] = {}
    for feature in spec.features:
        column = transformed.column(feature.name)
        if isinstance(feature, NumericFeature):
            measured[feature.name] = _of_numbers(raw.column(feature.name))
            continue
        ids = (column.flatten() if feature.is_list else column).to_numpy()
        sums: Sums = {"rows": len(column), "values": int(np.count_nonzero(ids))}
        if feature.table_name in first_oov:
            sums["oov"] = int(np.count_nonzero(ids >= first_oov[feature.table_name]))
        if feature.is_list:
            lengths = np.diff(column.offsets.to_numpy())
            sums.update(missing=int(np.count_nonzero(lengths == 0)), length_max=int(lengths.max(initial=0)))
        else:
            sums["missing"] = int(np.count_nonzero(is_missing(raw.column(feature.name))))
        measured[feature.name] = sums
    return measured


def _of_numbers(column: pa.Array) -> Sums:
    numbers = column.to_numpy().astype(np.float64)
    present = numbers[~np.isnan(numbers)]
    mean = float(present.mean()) if len(present) else 0.0
    return {
        "rows": len(numbers),
        "missing": len(numbers) - len(present),
        "min": float(present.min(initial=np.inf)),
        "max": float(present.max(initial=-np.inf)),
        "moments": [float(len(present)), mean, float(np.square(present - mean).sum())],
    }


_MERGE = {"min": min, "max": max, "length_max": max}


def merge(parts: Sequence[Mapping[str, Sums]]) -> dict[str, Sums]:
    """Merges what `measure` returned for several batches, in the order given."""
    total: dict[str, Sums] = {}
    for part in parts:
        for name, sums in part.items():
            into = total.setdefault(name, {})
            for key, value in sums.items():
                if key not in into:
                    into[key] = value
                elif key == "moments":
                    into[key] = merged_moments(np.array(into[key])[:, None], np.array(value)[:, None])[:, 0].tolist()
                else:
                    into[key] = _MERGE.get(key, lambda a, b: a + b)(into[key], value)
    return total


def readable(sums: Sums) -> dict[str, float | int | None]:
    """Turns sums into what `statistics.json` shows: shares, means and deviations."""
    rows = max(sums["rows"], 1)
    shown: dict[str, float | int | None] = {"rows": sums["rows"], "missing_share": sums["missing"] / rows}
    if "moments" in sums:
        count, mean, squares = sums["moments"]
        known = count > 0
        shown.update(
            min=sums["min"] if known else None,
            max=sums["max"] if known else None,
            mean=mean if known else None,
            std=float(np.sqrt(squares / count)) if known else None,
        )
        return shown
    if "oov" in sums:
        shown["oov_share"] = sums["oov"] / max(sums["values"], 1)
    if "length_max" in sums:
        shown.update(length_mean=sums["values"] / rows, length_max=sums["length_max"])
    return shown
