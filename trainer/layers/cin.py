"""Compressed interaction network: vector-wise crosses of fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from feature_specs import ColonnadeError
from trainer.layers.checks import check_sizes

# Of the products that are held at a time: few enough to stay in the processor's cache.
_PRODUCTS_AT_ONCE = 1 << 20


class CIN(keras.layers.Layer):
    """X^k_h = sum_ij W^k_hij (X^{k-1}_i * X^0_j), pooled over the width: `[B, F, D]` to `[B, sum of H_k]`.

    Lian et al., "xDeepFM: Combining Explicit and Implicit Feature Interactions for Recommender Systems", KDD 2018,
    https://arxiv.org/abs/1803.05170, equations 6 and 7. All feature maps of a layer are both pooled and handed on; no activation, as the
    paper found best (section 4.4). A layer is one contraction: the maps' products `[B D, H F]` times a matrix `[H F, H']`, a million
    products at a time, made again for the gradient, so that memory does not follow the batch. Of the last layer only the sum over the
    width is wanted, so there the products are summed first, `[B, H F]`: D times fewer operations.

    Args:
        layer_units: Feature maps of each layer, H_k.
        name: Name of the layer.
    """

    def __init__(self, layer_units: Sequence[int], name: str | None = None) -> None:
        super().__init__(name=name)
        if not layer_units:
            raise ColonnadeError("A compressed interaction network has one layer or more. Give cin_units at least one number.")
        check_sizes(cin_units=min(layer_units))
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
            flat = (tf.reshape(vectors, [-1, vectors.shape[2]]) for vectors in (maps, first))
            maps = tf.reshape(_contracted(*flat, tf.identity(kernel.value)) + bias.value, [-1, width, kernel.shape[1]])  # [B, D, H']
            pooled.append(tf.reduce_sum(maps, axis=1))
        summed = tf.reshape(tf.matmul(maps, first, transpose_a=True), [-1, maps.shape[2] * count])  # [B, H F]
        pooled.append(tf.matmul(summed, self.kernels[-1].value) + width * self.biases[-1].value)
        return tf.concat(pooled, axis=1)


@tf.custom_gradient
def _contracted(maps: tf.Tensor, first: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, ...]]]:
    """Returns sum_ij W_ij m_i f_j, `[N, H']`, for `[N, H]`, `[N, F]` and `[H F, H']`."""
    size = max(1, _PRODUCTS_AT_ONCE // int(kernel.shape[0]))
    pieces = tf.maximum(1, -(-tf.shape(maps)[0] // size))

    def piece(values: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        return values[number * size : (number + 1) * size]

    def products(number: tf.Tensor) -> tf.Tensor:
        left, right = piece(maps, number), piece(first, number)
        return tf.reshape(left[:, :, tf.newaxis] * right[:, tf.newaxis, :], [-1, kernel.shape[0]])

    def pieces_of(width: int) -> tf.TensorArray:
        return tf.TensorArray(maps.dtype, pieces, element_shape=[None, width], infer_shape=False)

    def forward(number: tf.Tensor, found: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        return number + 1, found.write(number, tf.matmul(products(number), kernel))

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
        def backward(number: tf.Tensor, to_maps: tf.TensorArray, to_first: tf.TensorArray, to_kernel: tf.Tensor) -> tuple[Any, ...]:
            above = piece(upstream, number)
            pairs = tf.reshape(tf.matmul(above, kernel, transpose_b=True), [-1, maps.shape[1], first.shape[1]])
            to_maps = to_maps.write(number, tf.reduce_sum(pairs * piece(first, number)[:, tf.newaxis, :], axis=2))
            to_first = to_first.write(number, tf.reduce_sum(pairs * piece(maps, number)[:, :, tf.newaxis], axis=1))
            return number + 1, to_maps, to_first, to_kernel + tf.cast(tf.matmul(products(number), above, transpose_a=True), tf.float32)

        start = [0, pieces_of(maps.shape[1]), pieces_of(first.shape[1]), tf.zeros(kernel.shape)]  # summed in float32
        _, to_maps, to_first, to_kernel = tf.while_loop(lambda number, *_: number < pieces, backward, start, parallel_iterations=1)
        return to_maps.concat(), to_first.concat(), tf.cast(to_kernel, kernel.dtype)

    _, found = tf.while_loop(lambda number, _: number < pieces, forward, [0, pieces_of(kernel.shape[1])], parallel_iterations=1)
    return found.concat(), gradient
