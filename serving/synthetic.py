"""Raw rows made from the spec alone, for checks where no real ones are at hand."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

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
    raw = {}
    for feature in spec.features:
        lengths = np.ones(rows, np.int64)
        if feature.is_list:
            lengths = rng.integers(0, 4 + (getattr(feature, "max_length", None) or 0), rows)
            lengths[0] = 0
        values = _values(rng, feature.dtype, int(lengths.sum()))
        if feature.is_list:
            raw[feature.name] = tf.RaggedTensor.from_row_lengths(tf.constant(values), lengths)
        else:
            values[::3] = MISSING[feature.dtype]
            raw[feature.name] = tf.constant(values)
    return raw


def _values(rng: np.random.Generator, dtype: str, size: int) -> np.ndarray:
    if dtype == "float32":
        return rng.normal(scale=100, size=size).astype(np.float32)
    integers = rng.integers(0, 1000, size)
    return integers if dtype == "int64" else np.array([b"unseen %d" % i for i in integers], dtype=object)
