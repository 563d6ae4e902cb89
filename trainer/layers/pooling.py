"""From the vectors of a list to one vector, and from the values of a step to one step."""

from __future__ import annotations

import keras
import tensorflow as tf


def pool(vectors: tf.Tensor, present: tf.Tensor, combiner: str, weights: tf.Tensor | None = None) -> tf.Tensor:
    """Returns the sum, mean or sum / sqrt(n) of each row's vectors, `[B, T, D]` to `[B, D]`; zero for a row without values.

    With weights it is sum w e, sum w e / sum w, or sum w e / sqrt(sum w^2), as in `tf.feature_column`: the last two leave out values
    whose weight is not positive.

    Args:
        vectors: `[B, T, D]`, zero where there is no value.
        present: `[B, T]`, where there are values.
        combiner: "sum", "mean" or "sqrtn".
        weights: `[B, T]`, of any number where there is no value.
    """
    if weights is None:
        total = tf.reduce_sum(vectors, axis=1)
        if combiner == "sum":
            return total
        count = tf.maximum(tf.reduce_sum(tf.cast(present, tf.float32), axis=1, keepdims=True), 1)
        return total / (count if combiner == "mean" else tf.sqrt(count))
    if combiner != "sum":
        weights = tf.maximum(weights, 0)
    weights = tf.where(present, weights, 0)
    total = tf.reduce_sum(vectors * weights[:, :, tf.newaxis], axis=1)
    if combiner == "sum":
        return total
    powers = weights if combiner == "mean" else tf.square(weights)
    divisor = tf.reduce_sum(powers, axis=1, keepdims=True)
    return tf.math.divide_no_nan(total, divisor if combiner == "mean" else tf.sqrt(divisor))


def by_step(vectors: tf.Tensor, present: tf.Tensor, steps: tf.Tensor, count: tf.Tensor, combiner: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Pools the values of each step: `[B, V, D]` to `[B, T, D]`, and which of the steps have any value, `[B, T]`.

    Args:
        vectors: Of the values, zero where there is none.
        present: `[B, V]`.
        steps: The step of each value, `[B, V]`; negative for padding.
        count: How many steps there are, T.
        combiner: "sum", "mean" or "sqrtn".
    """
    batch, width = tf.shape(vectors)[0], vectors.shape[-1]
    first = tf.range(batch, dtype=steps.dtype)[:, tf.newaxis] * tf.cast(count, steps.dtype)
    # A negative segment is left out.
    segments = tf.reshape(tf.where(present & (steps >= 0), first + steps, -1), [-1])
    totals = tf.math.unsorted_segment_sum(tf.reshape(vectors, [-1, width]), segments, batch * count)
    numbers = tf.math.unsorted_segment_sum(tf.reshape(tf.cast(present, tf.float32), [-1]), segments, batch * count)[:, tf.newaxis]
    if combiner != "sum":
        totals /= tf.maximum(numbers if combiner == "mean" else tf.sqrt(numbers), 1)
    return tf.reshape(totals, [batch, count, width]), tf.reshape(numbers > 0, [batch, count])


class AttentionPooling(keras.layers.Layer):
    """Pools a list by learned additive attention; `[B, T, D]` to `[B, D]`.

    u_t = tanh(W e_t + b), a_t = exp(u_t . u) / sum_t exp(u_t . u), s = sum_t a_t e_t: Yang et al., "Hierarchical Attention Networks for
    Document Classification", NAACL 2016, https://aclanthology.org/N16-1174, equations 5 to 7. Padding has no share; a row without values
    is zero. It computes in float32.

    Args:
        dim: Width of the vectors, D.
        name: Name of the layer.
    """

    def __init__(self, dim: int, *, name: str | None = None) -> None:
        super().__init__(name=name, dtype="float32", autocast=False)
        self.kernel = self.add_weight(shape=(dim, dim), initializer="glorot_uniform", autocast=False, name="kernel")
        self.bias = self.add_weight(shape=(dim,), initializer="zeros", autocast=False, name="bias")
        self.context = self.add_weight(shape=(dim, 1), initializer="glorot_uniform", autocast=False, name="context")
        self.built = True

    def call(self, vectors: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """Returns `[B, D]` for vectors `[B, T, D]`, of which those count that are `present`, `[B, T]`."""
        hidden = tf.tanh(tf.einsum("btd,dh->bth", vectors, self.kernel.value) + self.bias.value)
        scores = tf.where(present, tf.einsum("bth,ho->bt", hidden, self.context.value), tf.float32.min)
        shifted = scores - tf.stop_gradient(tf.reduce_max(scores, axis=1, keepdims=True))
        shares = tf.where(present, tf.exp(shifted), 0)
        shares = tf.math.divide_no_nan(shares, tf.reduce_sum(shares, axis=1, keepdims=True))
        return tf.reduce_sum(vectors * shares[:, :, tf.newaxis], axis=1)
