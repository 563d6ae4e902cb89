"""Raw rows made from the spec alone, for checks where no real ones are at hand."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from feature_specs.base import Column
from feature_specs.spec import FeatureSpec
from serving.signatures import MISSING


def synthetic_rows(spec: FeatureSpec, rows: int = 64, seed: int = 0) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    """Returns raw examples of mostly unseen values: every third value is missing, lists have any length from none to overlong.

    Args:
        spec: Declares the features.
        rows: How many; in the first one everything is missing.
        seed: Other seeds give other rows.
    """
    rng = np.random.default_rng(seed)
    raw: dict[str, tf.Tensor | tf.RaggedTensor] = {}
    for feature in spec.features:
        for column in feature.raw_inputs[:1]:
            if column.layout != "list":
                raw[column.name] = tf.constant(_single(rng, column, rows))
                continue
            lengths = rng.integers(0, 4 + (getattr(feature, "max_length", None) or 0), rows)
            lengths[0] = 0
            lists = tf.RaggedTensor.from_row_lengths(tf.constant(_values(rng, column.dtype, int(lengths.sum()))), lengths)
            raw[column.name] = lists
            for beside in feature.raw_inputs[1:]:
                # Weights are any positive numbers; a step has one value or a few.
                flat = rng.uniform(0.1, 2, lengths.sum()).astype(np.float32) if beside.dtype == "float32" else _steps(rng, lengths)
                raw[beside.name] = lists.with_flat_values(tf.constant(flat))
    return raw


def _single(rng: np.random.Generator, column: Column, rows: int) -> np.ndarray:
    values = _values(rng, column.dtype, rows * column.size)
    if column.layout == "vector":
        # Some miss a number only.
        values[5::7] = MISSING[column.dtype]
        values = values.reshape(rows, column.size)
    values[::3] = MISSING[column.dtype]
    return values


def _values(rng: np.random.Generator, dtype: str, size: int) -> np.ndarray:
    if dtype == "float32":
        return rng.normal(scale=100, size=size).astype(np.float32)
    integers = rng.integers(0, 1000, size)
    return integers if dtype == "int64" else np.array([b"unseen %d" % i for i in integers], dtype=object)


def _steps(rng: np.random.Generator, lengths: np.ndarray) -> np.ndarray:
    begins = rng.integers(0, 2, lengths.sum())
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    total = np.cumsum(begins)
    return total - total[starts] if len(total) else total
