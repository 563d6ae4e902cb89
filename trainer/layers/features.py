"""Reads transformed features out of the dictionary that a model receives, whatever kind of tensor holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from feature_specs import ColonnadeError
from feature_specs.errors import did_you_mean
from feature_specs.features import NumericFeature, TokenFeature


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


def dense_ids(features: Mapping[str, Any], feature: TokenFeature) -> tf.Tensor:
    """Returns the ids of a feature, int64: `[B]`, or `[B, T]` padded with 0 for a list."""
    value = _ids(features, feature)
    if isinstance(value, tf.RaggedTensor):
        value = value.to_tensor()
    elif isinstance(value, tf.SparseTensor):
        value = tf.sparse.to_dense(value)
    return value if feature.is_list else tf.reshape(value, [-1])


def flat_ids(features: Mapping[str, Any], feature: TokenFeature) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns what pooling a list needs: its ids `[n]`, int64, the row `[n]` of each, and the lengths `[B]` of the rows."""
    value = _ids(features, feature)
    if isinstance(value, tf.RaggedTensor):
        return value.values, value.value_rowids(), value.row_lengths()
    ids = tf.sparse.to_dense(value) if isinstance(value, tf.SparseTensor) else value
    rows, columns = tf.unstack(tf.shape(ids))
    return tf.reshape(ids, [-1]), tf.repeat(tf.range(rows), columns), sequence_lengths(ids)


def sequence_lengths(ids: tf.Tensor) -> tf.Tensor:
    """Returns how many positions of `[B, T]` there are up to the last that is not padding, `[B]` int32."""
    positions = tf.range(1, tf.shape(ids)[1] + 1)
    return tf.reduce_max(tf.pad(tf.where(ids > 0, positions, 0), [[0, 0], [0, 1]]), axis=1)  # padded: T may be 0


def dense_numbers(features: Mapping[str, Any], numerics: Sequence[NumericFeature]) -> tf.Tensor:
    """Returns the numeric features side by side, `[B, N]` float32."""
    return tf.stack([tf.reshape(tf.cast(received(features, f.name), tf.float32), [-1]) for f in numerics], axis=1)


def _ids(features: Mapping[str, Any], feature: TokenFeature) -> Any:  # noqa: ANN401
    value = received(features, feature.name)
    if not isinstance(value, tf.RaggedTensor | tf.SparseTensor):
        value = tf.convert_to_tensor(value)
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
    return tf.cast(value, tf.int64)
