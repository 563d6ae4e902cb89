"""Dropout that draws fewer random numbers."""

from __future__ import annotations

import keras
import tensorflow as tf

from trainer.layers.checks import check_rates

_LEVELS = 1 << 16


class Dropout(keras.layers.Dropout):
    """Keras' dropout, with two decisions of each random number: on large tensors these cost as much as the product behind them.

    The rate is rounded to a multiple of 1 / 65536. As Keras' it draws from a seed state that is a variable of the layer.

    Args:
        rate: In [0, 1).
        name: Name of the layer.
        dtype: Keras' policy, or type of the numbers.
    """

    def __init__(self, rate: float, *, name: str | None = None, dtype: str | keras.DTypePolicy | None = None) -> None:
        check_rates(dropout=rate)
        super().__init__(rate, name=name, dtype=dtype)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns `inputs`; in training a share `rate` of them is 0, and the others are divided by the rest."""
        if not training or self.rate <= 0:
            return inputs
        count = tf.size(inputs)
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        drawn = tf.random.stateless_uniform([(count + 1) // 2], seed, minval=None, maxval=None, dtype=tf.int32)
        halves = tf.reshape(tf.reshape(tf.bitcast(drawn, tf.uint16), [-1])[:count], tf.shape(inputs))
        is_kept = halves >= round(self.rate * _LEVELS)
        return inputs * (tf.cast(is_kept, inputs.dtype) * (1 / (1 - self.rate)))
