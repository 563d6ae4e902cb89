"""Made-up data with every kind of feature, for the checks in `trainer.testing`: transformed rows, and a transform graph for raw ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs.base import Column
from feature_specs.spec import FeatureSpec

SPEC = FeatureSpec.from_yaml("""
name: conformance
features:
- {kind: categorical, name: user, dtype: int64, encoding: {type: identity, num_buckets: 64}}
- {kind: categorical, name: item, dtype: int64, encoding: {type: identity, num_buckets: 20}}
- {kind: categorical, name: city, encoding: {type: hash, num_buckets: 7}}
- {kind: numeric, name: age, missing_indicator: true}
- {kind: numeric, name: profile, size: 3}
- {kind: bucketized, name: income, boundaries: [1, 2, 3]}
- {kind: multi_valued, name: tags, dtype: int64, encoding: {type: identity, num_buckets: 9}}
- {kind: multi_valued, name: words, encoding: {type: hash, num_buckets: 8}, weights: counts}
- {kind: sequence, name: history, dtype: int64, table: item, combiner: attention}
- {kind: sequence, name: baskets, encoding: {type: hash, num_buckets: 6}, value_delimiter: ",", padding: left, combiner: sqrtn}
- {kind: numeric_sequence, name: gaps, padding: left}
- {kind: crossed, name: city_by_tags, inputs: [city, tags], num_buckets: 11}
label: {column: clicked}
""")
PADDING = SPEC.paddings
# Out of vocabulary, where there is such a thing.
LARGEST_ID = {feature.name: SPEC.tables[feature.table_name].num_rows(0) - 1 for feature in SPEC.table_features}

Batch = tuple[dict[str, NDArray], NDArray]


def random_batch(rows: int, longest: int = 5, seed: int = 0) -> Batch:
    """Returns transformed features and labels `[B]`; lists are `[B, longest]` with 0 to `longest` values, users are all different."""
    rng = np.random.default_rng([seed, rows])
    features: dict[str, NDArray] = {}
    for feature in SPEC.features:
        # The columns of one feature have their values at the same places.
        present = np.arange(longest) < rng.permutation(np.arange(rows) % (longest + 1))[:, None]
        for column in feature.outputs:
            shape = {"single": (rows,), "vector": (rows, column.size), "list": (rows, longest)}[column.layout]
            if column.name in LARGEST_ID:
                values: NDArray = rng.integers(1, LARGEST_ID[column.name] + 1, shape)
            elif column.dtype == "int64":  # steps
                values = np.cumsum(rng.integers(0, 2, shape), axis=1)
            elif column.name.endswith(("_missing", "_weights")):
                values = rng.integers(0, 3, shape) / 2
            else:
                values = rng.normal(size=shape)
            padded = np.where(present, values, PADDING[column.name]) if column.layout == "list" else values
            features[column.name] = padded.astype(column.dtype)
    features["user"] = rng.permutation(np.arange(1, rows + 1))
    return features, rng.permutation(np.arange(rows) % 2).astype(np.float32)


def padded(column: str, values: NDArray, more: int) -> NDArray:
    """Returns a list `[B, T]` with `more` padding."""
    return np.pad(values, [(0, 0), (0, more)], constant_values=PADDING[column])


def save_transform(folder: Path, spec: FeatureSpec = SPEC, largest: Mapping[str, int] = LARGEST_ID) -> None:
    """Writes a graph from raw examples to transformed ones, as the preprocessing job does; its ids and scales are made up.

    Args:
        folder: Where the graph goes.
        spec: Of the examples.
        largest: The largest id of each column of ids.
    """
    raw = {
        column.name: tf.RaggedTensorSpec([None, None], column.dtype, row_splits_dtype=tf.int64)
        if column.layout == "list"
        else tf.TensorSpec([None] if column.layout == "single" else [None, column.size], column.dtype)
        for column in spec.raw_inputs
    }
    module = tf.Module()
    module.transform_fn = tf.function(lambda raw: _transformed(raw, spec, largest), input_signature=[raw])
    tf.saved_model.save(module, str(folder))


def _transformed(raw: dict[str, Any], spec: FeatureSpec, largest: Mapping[str, int]) -> dict[str, Any]:
    found = {}
    for feature in spec.features:
        # Crosses are of `tags`, and a missing number is told from the number.
        source = feature.name if feature.name in raw else "tags"
        for column in feature.outputs:
            values = raw[column.name if column.name in raw else source]
            kept = values[:, -feature.max_length :] if feature in spec.histories else values
            found[column.name] = _map(kept, _of(column, largest))
    return found


def _map(values: Any, function: Callable[[tf.Tensor], tf.Tensor]) -> Any:  # noqa: ANN401 (dense or ragged)
    return values.with_flat_values(function(values.flat_values)) if isinstance(values, tf.RaggedTensor) else function(values)


def _of(column: Column, largest: Mapping[str, int]) -> Callable[[tf.Tensor], tf.Tensor]:
    if column.name in largest:
        return lambda values: _ids(values, largest[column.name])
    if column.name.endswith("_missing"):
        return lambda values: tf.cast(tf.math.is_nan(values), tf.float32)
    if column.dtype == "int64" or column.name.endswith("_weights"):
        return tf.identity
    return lambda values: tf.where(tf.math.is_nan(values), 0.0, values / 100)


def _ids(values: tf.Tensor, largest: int) -> tf.Tensor:
    """Returns ids from 1 to `largest`, 0 for missing values."""
    zero = tf.constant(0, tf.int64)
    if values.dtype == tf.string:
        return tf.where(values == "", zero, 1 + tf.strings.to_hash_bucket_fast(values, largest))
    missing = tf.math.is_nan(values) if values.dtype.is_floating else values < 0
    whole = tf.cast(tf.where(missing, tf.zeros_like(values), values), tf.int64)
    return tf.where(missing, zero, 1 + tf.math.floormod(whole, largest))


def hashable(hyper_parameters: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Returns hyper-parameters as what a cache can be asked for."""
    return tuple(sorted((key, tuple(value) if isinstance(value, list) else value) for key, value in hyper_parameters.items()))


def close(scores: NDArray, expected: NDArray) -> bool:
    """Whether scores are equal but for rounding."""
    return np.allclose(scores, expected, rtol=1e-5, atol=1e-5)


def expect(holds: bool, message: str) -> None:
    """Raises an AssertionError with this message where something does not hold."""
    if not holds:
        raise AssertionError(message)
