"""Explicit interactions between fields."""

from __future__ import annotations

from collections.abc import Callable

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
    return tf.cast(_pairs(tf.cast(fields, tf.float32)), fields.dtype)


def pair_sum(fields: tf.Tensor) -> tf.Tensor:
    """Returns the sum of the inner products of all pairs of fields, `[B, F, D]` to `[B]`, in float32: it is a term of the logits."""
    return tf.reduce_sum(bi_interaction(tf.cast(fields, tf.float32)), axis=1)


@tf.custom_gradient
def _pairs(vectors: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    total = tf.reduce_sum(vectors, axis=1)

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        # What automatic differentiation arrives at by twice as many passes over `[B, F, D]`.
        return (total[:, tf.newaxis] - vectors) * upstream[:, tf.newaxis]

    return 0.5 * (tf.square(total) - tf.reduce_sum(tf.square(vectors), axis=1)), gradient
