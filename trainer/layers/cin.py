"""Compressed interaction network: vector-wise crosses of fields."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from feature_specs import ColonnadeError


class CIN(keras.layers.Layer):
    """X^k_h = sum_ij W^k_hij (X^{k-1}_i * X^0_j), pooled over the width: `[B, F, D]` to `[B, sum of H_k]`.

    Lian et al., "xDeepFM: Combining Explicit and Implicit Feature Interactions for Recommender Systems", KDD 2018,
    https://arxiv.org/abs/1803.05170, equations 6 and 7. All feature maps of a layer are both pooled and handed on; no activation, as the
    paper found best (section 4.4). A layer is one contraction: the maps' products `[B, D, H F]` times a matrix `[H F, H']`. Of the last
    layer only the sum over the width is wanted, so there the products are summed first, `[B, H F]`: D times fewer operations.

    Args:
        layer_units: Feature maps of each layer, H_k.
        name: Name of the layer.
    """

    def __init__(self, layer_units: Sequence[int], name: str | None = None) -> None:
        super().__init__(name=name)
        if not layer_units:
            raise ColonnadeError("A compressed interaction network has one layer or more. Give cin_units at least one number.")
        self.layer_units = tuple(layer_units)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes one matrix and one bias a layer."""
        fields = maps = int(input_shape[1] or 0)
        self.kernels, self.biases = [], []
        for i, units in enumerate(self.layer_units):
            self.kernels.append(self.add_weight(shape=(maps * fields, units), initializer="glorot_normal", name=f"kernel_{i}"))
            self.biases.append(self.add_weight(shape=(units,), initializer="zeros", name=f"bias_{i}"))
            maps = units
        self.built = True

    def call(self, fields: tf.Tensor) -> tf.Tensor:
        """Returns `[B, sum of H_k]` for `[B, F, D]`."""
        first = tf.transpose(fields, [0, 2, 1])  # [B, D, F]
        width, count = first.shape[1], first.shape[2]
        maps, pooled = first, []
        for kernel, bias in zip(self.kernels[:-1], self.biases[:-1], strict=True):
            products = maps[:, :, :, tf.newaxis] * first[:, :, tf.newaxis, :]  # [B, D, H, F]
            flat = tf.reshape(products, [-1, maps.shape[2] * count])  # [B D, H F], for one product of matrices
            maps = tf.reshape(tf.matmul(flat, kernel.value) + bias.value, [-1, width, kernel.shape[1]])  # [B, D, H']
            pooled.append(tf.reduce_sum(maps, axis=1))
        summed = tf.reshape(tf.matmul(maps, first, transpose_a=True), [-1, maps.shape[2] * count])  # [B, H F]
        pooled.append(tf.matmul(summed, self.kernels[-1].value) + width * self.biases[-1].value)
        return tf.concat(pooled, axis=1)
