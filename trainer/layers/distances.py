"""Scores by distance, for models of metric learning."""

from __future__ import annotations

import tensorflow as tf


def clipped(vectors: tf.Tensor, max_norm: float = 1.0) -> tf.Tensor:
    """Returns vectors `[..., D]`, those longer than `max_norm` scaled down to it.

    Hsieh et al., "Collaborative Metric Learning", WWW 2017, section 3.4, equation 8.
    """
    squares = tf.reduce_sum(tf.square(vectors), axis=-1, keepdims=True)
    is_over = squares > max_norm**2
    return vectors * tf.where(is_over, max_norm * tf.math.rsqrt(tf.where(is_over, squares, 1.0)), 1.0)


def negative_squared_distance(query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    """Returns -|q - c|^2 of queries `[..., D]` to candidates `[C, D]`, or to their own, `[..., C, D]`: `[..., C]`.

    To shared candidates by one product of matrices, with |q|^2 + |c|^2 - 2 q c in float32.
    """
    if candidates.shape.rank != 2:
        return -tf.reduce_sum(tf.math.squared_difference(candidates, query[..., tf.newaxis, :]), axis=-1)
    query, candidates = tf.cast(query, tf.float32), tf.cast(candidates, tf.float32)
    squares = tf.reduce_sum(tf.square(query), axis=-1, keepdims=True) + tf.reduce_sum(tf.square(candidates), axis=-1)
    return tf.minimum(2 * tf.tensordot(query, candidates, [[-1], [-1]]) - squares, 0.0)
