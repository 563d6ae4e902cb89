"""Crossed features, inside the transform graph: the buckets of `tf.feature_column.crossed_column`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from feature_specs import CrossedFeature
from feature_specs.tokens import DEFAULT_HASH_KEY
from preprocessing.token_values import is_missing

Values = Any  # a tf.Tensor [B] or, for lists, a tf.RaggedTensor [B, None]


def crossed(feature: CrossedFeature, tokens: Mapping[str, Values], ids: Mapping[str, Values]) -> Values:
    """Returns 1 + the bucket of every combination of the inputs' values, 0 (in a list nothing) where one of them is missing.

    Args:
        feature: What is crossed, in this order.
        tokens: By feature, tokens as strings or integers; "" and -1 are missing.
        ids: By feature, ids; 0 is missing. Features that have no tokens, and those that cross by id, enter by id - 1.
    """
    inputs = [ids[name] - 1 if name in feature.by_id or name not in tokens else tokens[name] for name in feature.inputs]
    if not feature.is_list:
        # One value each makes one combination each: no row has to be found in a list.
        buckets = _hashed(feature, [values[:, tf.newaxis] for values in inputs]).values + 1
        missing = tf.reduce_any(tf.stack([is_missing(values) for values in inputs]), axis=0)
        return tf.where(missing, tf.zeros_like(buckets), buckets)
    lists = [_as_list(values) for values in inputs]
    return _hashed(feature, lists) + 1


def _as_list(values: Values) -> tf.RaggedTensor:
    if not isinstance(values, tf.RaggedTensor):
        values = tf.RaggedTensor.from_tensor(values[:, tf.newaxis])
    return tf.ragged.boolean_mask(values, values.with_flat_values(~is_missing(values.flat_values)))


def _hashed(feature: CrossedFeature, inputs: list[Values]) -> tf.RaggedTensor:
    # TensorFlow's column takes a key of 0 for none.
    return tf.ragged.cross_hashed(inputs, feature.num_buckets, hash_key=feature.hash_key or DEFAULT_HASH_KEY)
