"""Reads transformed features out of the dictionary that a model receives, whatever kind of tensor holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from feature_specs import ColonnadeError
from feature_specs.errors import did_you_mean
from feature_specs.features import TableFeature


def received(features: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401
    """Returns the entry `name`.

    Raises:
        ColonnadeError: There is none.
    """
    try:
        return features[name]
    except KeyError:
        raise ColonnadeError(
            f"Feature {name!r} is missing.{did_you_mean(name, features)} Received: {', '.join(features) or 'no features'}. Add it to "
            "the dictionary of features."
        ) from None


def dense_ids(features: Mapping[str, Any], feature: TableFeature) -> tf.Tensor:
    """Returns the ids of a feature, int64: `[B]`, or `[B, T]` padded with 0 for a list."""
    value = _tensor(features, feature.name)
    if not value.dtype.is_integer:
        raise ColonnadeError(
            f"Feature {feature.name!r} should hold ids, int64. Received: {value.dtype.name}. Pass raw values through the transform graph "
            "first."
        )
    rank = value.shape.rank
    is_column = rank == 2 and value.shape[1] == 1 and not isinstance(value, tf.RaggedTensor)
    if rank != 2 if feature.is_list else rank != 1 and not is_column:
        expected = "a list: ids [B, T]" if feature.is_list else "single-valued: ids [B]"
        raise ColonnadeError(
            f"Feature {feature.name!r} is {expected}. Received: {type(value).__name__} of shape {value.shape}. Pad rows with 0, or give "
            "one row an example."
        )
    value = _dense(tf.cast(value, tf.int64), 0)
    return value if feature.is_list else tf.reshape(value, [-1])


def dense_list(features: Mapping[str, Any], name: str, dtype: tf.DType) -> tf.Tensor:
    """Returns a list of numbers `[B, T]`, padded with NaN (float32) or -1 (int64)."""
    value = _tensor(features, name)
    if value.shape.rank != 2:
        raise ColonnadeError(
            f"Feature {name!r} is a list: numbers [B, T]. Received: {type(value).__name__} of shape {value.shape}. Pad rows with "
            f"{'NaN' if dtype == tf.float32 else -1}, or give a RaggedTensor."
        )
    return _dense(tf.cast(value, dtype), float("nan") if dtype == tf.float32 else -1)


def dense_numbers(features: Mapping[str, Any], name: str, size: int) -> tf.Tensor:
    """Returns the numbers of a feature, float32: `[B]`, or `[B, size]` for a vector."""
    value = tf.cast(received(features, name), tf.float32)
    if size == 1:
        return tf.reshape(value, [-1])
    if value.shape.rank != 2 or value.shape[1] not in (None, size):
        raise ColonnadeError(f"Feature {name!r} is a vector: numbers [B, {size}]. Received: shape {value.shape}.")
    return value


def sequence_lengths(present: tf.Tensor) -> tf.Tensor:
    """Returns how many positions of `[B, T]` there are up to the last that is true, `[B]` int32."""
    positions = tf.range(1, tf.shape(present)[1] + 1)
    return tf.reduce_max(tf.pad(tf.where(present, positions, 0), [[0, 0], [0, 1]]), axis=1)  # padded: T may be 0


def padded_left(values: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Returns `[B, T]`, padded on the right, with the padding on the left."""
    return tf.reverse(tf.reverse_sequence(values, lengths, seq_axis=1, batch_axis=0), [1])


def _tensor(features: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401
    value = received(features, name)
    return value if isinstance(value, tf.RaggedTensor | tf.SparseTensor) else tf.convert_to_tensor(value)


def _dense(value: Any, padding: float) -> tf.Tensor:  # noqa: ANN401
    if isinstance(value, tf.RaggedTensor):
        return value.to_tensor(padding)
    return tf.sparse.to_dense(value, padding) if isinstance(value, tf.SparseTensor) else value
