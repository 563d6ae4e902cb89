"""Explicit interactions between fields."""

from __future__ import annotations

import tensorflow as tf


def side_by_side(fields: tf.Tensor, *values: tf.Tensor) -> tf.Tensor:
    """Returns the fields' vectors, `[B, F, D]` or one vector `[B, D]`, and `values`, `[B, N]` each, side by side: `[B, F D + sum of N]`."""
    flat = tf.reshape(fields, [-1, fields.shape[1] * fields.shape[2]]) if fields.shape.rank == 3 else fields
    return tf.concat([flat, *values], axis=1) if values else flat


def bi_interaction(fields: tf.Tensor) -> tf.Tensor:
    """Returns the sum over all pairs of fields of their elementwise products, `[B, F, D]` to `[B, D]`.

    sum_{i<j} v_i * v_j = ((sum_i v_i)^2 - sum_i v_i^2) / 2: He and Chua, "Neural Factorization Machines for Sparse Predictive
    Analytics", SIGIR 2017, equations 3 and 4. The difference of two large sums is taken in float32.
    """
    vectors = tf.cast(fields, tf.float32)
    pairs = 0.5 * (tf.square(tf.reduce_sum(vectors, axis=1)) - tf.reduce_sum(tf.square(vectors), axis=1))
    return tf.cast(pairs, fields.dtype)
