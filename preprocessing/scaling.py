"""The part of the transform graph that scales and cuts numbers, all of one way together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from feature_specs import BucketizedFeature, FeatureSpec, NumericFeature, NumericSequenceFeature
from preprocessing.numbers import boundaries, ranks, statistics
from preprocessing.sketches import Numbers

Values = Any  # a tf.Tensor [B] or [B, size] or, for lists, a tf.RaggedTensor [B, None]

# As scikit-learn's QuantileTransformer: so many points of the distribution, and ends cut at its normal quantiles of 1e-7 and 1 - 1e-7.
_POINTS = 1000
_END = 1e-7 - np.spacing(1)


def transformed_numbers(spec: FeatureSpec, inputs: Mapping[str, Values], known: Mapping[str, Sequence[Numbers]]) -> dict[str, Values]:
    """Returns the outputs of all features that are read from numbers.

    Args:
        spec: The data set.
        inputs: Raw examples.
        known: What the training rows say of each feature's numbers.
    """
    outputs: dict[str, Values] = {}
    for scaling in dict.fromkeys(f.scaling for f in spec.numeric_features):
        # Single numbers first: their columns are stacked at once.
        members = sorted((f for f in spec.numeric_features if f.scaling == scaling), key=lambda f: f.size > 1)
        outputs.update(_numeric(members, inputs, [sketch for f in members for sketch in known[f.name]]))
    for feature in spec.features:
        if isinstance(feature, NumericSequenceFeature):
            values = _cut(feature, inputs[feature.name])
            scaled = _scaled(values.flat_values[:, tf.newaxis], feature.scaling, known[feature.name])
            outputs[feature.name] = values.with_flat_values(scaled[:, 0])
        elif isinstance(feature, BucketizedFeature):
            cuts = feature.boundaries or boundaries(known[feature.name][0], feature.num_buckets)
            outputs[feature.name] = _bucketized(feature, _finite(inputs[feature.name]), tf.constant(cuts, tf.float32))
    return outputs


def _finite(numbers: tf.Tensor) -> tf.Tensor:
    """Infinity would make every mean infinite; it counts as missing, here as in serving."""
    return tf.where(tf.math.is_finite(numbers), numbers, tf.constant(float("nan"), tf.float32))


def _numeric(features: Sequence[NumericFeature], inputs: Mapping[str, Values], known: Sequence[Numbers]) -> dict[str, tf.Tensor]:
    """Returns the outputs of features of one scaling, single numbers before vectors."""
    singles = [inputs[f.name] for f in features if f.size == 1]
    vectors = [inputs[f.name] for f in features if f.size > 1]
    columns = _finite(tf.concat([*([tf.stack(singles, axis=1)] if singles else []), *vectors], axis=1))
    missing = tf.math.is_nan(columns)
    constants = np.array([np.nan if f.default is None else f.default for f in features for _ in range(f.size)], np.float32)
    defaults = np.where(np.isnan(constants), statistics(known).mean, constants)
    scaled = _split(features, _scaled(tf.where(missing, defaults, columns), features[0].scaling, known))
    outputs = {f.name: numbers for f, numbers in zip(features, scaled, strict=True)}
    for feature, mask in zip(features, _split(features, missing), strict=True):
        if feature.missing_indicator:
            outputs[feature.indicator_name] = tf.cast(mask if feature.size == 1 else tf.reduce_any(mask, axis=1), tf.float32)
    return outputs


def _split(features: Sequence[NumericFeature], columns: tf.Tensor) -> list[tf.Tensor]:
    """Returns the columns of each feature, [B] or [B, size]."""
    singles = sum(f.size == 1 for f in features)
    sizes = [f.size for f in features[singles:]]
    return [
        *(tf.unstack(columns[:, :singles], num=singles, axis=1) if singles else []),
        *(tf.split(columns[:, singles:], sizes, axis=1) if sizes else []),
    ]


def _scaled(columns: tf.Tensor, scaling: str, known: Sequence[Numbers]) -> tf.Tensor:
    """Scales numbers [B, N]; a column whose training numbers are all the same, or none, is not divided by its spread of 0."""
    mean, deviation, low, high = statistics(known)
    match scaling:
        case "z_score":
            return (columns - mean) / np.where(deviation > 0, deviation, np.float32(1))
        case "min_max":
            span = high - low
            return tf.clip_by_value((columns - low) / np.where(span > 0, span, np.float32(np.inf)), 0.0, 1.0)
        case "log1p":
            return tf.math.log1p(tf.maximum(columns, 0.0))
        case "quantile_normal":
            return _quantile_normal(columns, known)
    return columns


def _quantile_normal(columns: tf.Tensor, known: Sequence[Numbers]) -> tf.Tensor:
    """Returns the normal quantile of each number's rank among the points of its column; equal points have the middle of their ranks."""
    grid, shares = ranks(known, _POINTS)
    _, _, low, high = (array[:, np.newaxis] for array in statistics(known))
    values = tf.transpose(columns)  # [N, B]: searchsorted goes row by row
    first, last = (tf.searchsorted(tf.constant(grid), values, side=side, out_type=tf.int32) for side in ("left", "right"))

    def at(table: np.ndarray, place: tf.Tensor) -> tf.Tensor:
        # float64: a float cannot tell ranks near 1 apart.
        return tf.gather(table.astype(np.float64), tf.clip_by_value(place, 0, _POINTS - 1), batch_dims=1)

    left, right = at(grid, last - 1), at(grid, last)
    share = (tf.cast(values, tf.float64) - left) / tf.where(right > left, right - left, 1.0)
    between = at(shares, last - 1) + share * (at(shares, last) - at(shares, last - 1))
    rank = tf.where(first < last, (at(shares, first) + at(shares, last - 1)) / 2, between)
    rank = tf.where(values <= low, tf.zeros_like(rank), tf.where(values >= high, tf.ones_like(rank), rank))
    normal = tf.math.ndtri(tf.clip_by_value(rank, _END, 1 - _END))
    return tf.cast(tf.transpose(tf.where(high > low, normal, tf.zeros_like(normal))), tf.float32)


def _cut(feature: NumericSequenceFeature, values: tf.RaggedTensor) -> tf.RaggedTensor:
    values = tf.ragged.boolean_mask(values, values.with_flat_values(tf.math.is_finite(values.flat_values)))
    return values[:, : feature.max_length] if feature.keep == "first" else values[:, -feature.max_length :]


def _bucketized(feature: BucketizedFeature, numbers: tf.Tensor, cuts: tf.Tensor) -> tf.Tensor:
    """Returns 0 where missing, else 1 + the number of boundaries not above; equal boundaries leave the buckets between them empty."""
    if feature.default is not None:
        numbers = tf.where(tf.math.is_nan(numbers), tf.constant(feature.default, tf.float32), numbers)
    ids = 1 + tf.searchsorted(cuts, numbers, side="right", out_type=tf.int64)
    return tf.where(tf.math.is_nan(numbers), tf.zeros_like(ids), ids)
