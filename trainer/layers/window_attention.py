"""Self-attention over a short window of items, pooled to one vector."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from trainer.layers.dropout import Dropout

_HIDDEN = -1e9


class WindowAttention(keras.layers.Layer):
    """The mean of what the items of a window attend to, `[N, L, D]` to `[N, D]`: a user's interest of the moment.

    With signals of time P added to the items X before the projection, which query and key share, and not to the values,

        Q = K = relu((X + P) W),    m = mean over rows of softmax(Q K^T / sqrt(D)) X.

    An item does not attend to itself, unless it is alone; padding is neither seen nor in the mean, and a window of padding alone gives 0.

    Zhang et al., "Next Item Recommendation with Self-Attention", 2018, https://arxiv.org/abs/1808.06414, equations 1 to 7.

    Args:
        dropout: Rate on queries and keys.
        name: Name of the layer.
    """

    def __init__(self, dropout: float = 0.0, name: str | None = None) -> None:
        super().__init__(name=name)
        self.dropout = Dropout(dropout, name="dropout")

    def build(self, items_shape: tuple[int | None, ...], present_shape: tuple[int | None, ...]) -> None:
        """Makes the projection."""
        del present_shape
        width = items_shape[-1]
        self.projection = keras.layers.Dense(width, activation="relu", use_bias=False, name="projection")
        self.projection.build((None, width))
        self.built = True

    def call(self, items: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """Returns `[N, D]`.

        Args:
            items: `[N, L, D]`, zero in their padding.
            present: Which of them are no padding, `[N, L]`.
        """
        length, width = items.shape[1:]
        signal = tf.constant(time_signal(length, width), items.dtype)
        projected = self.dropout(self.projection(tf.reshape(items + signal, [-1, width])))
        projected = tf.reshape(projected, [-1, length, width])
        scores = tf.cast(tf.matmul(projected, projected, transpose_b=True), tf.float32) * width**-0.5
        count = tf.reduce_sum(tf.cast(present, tf.float32), axis=1, keepdims=True)
        sees_itself = (count <= 1)[:, tf.newaxis]
        visible = present[:, tf.newaxis] & (sees_itself | ~tf.eye(length, dtype=tf.bool))
        shares = tf.nn.softmax(tf.where(visible, scores, _HIDDEN))
        # The mean over rows can come before the product with the values.
        mean = tf.matmul(tf.math.divide_no_nan(tf.cast(present, tf.float32), count)[:, tf.newaxis], shares)
        return tf.squeeze(tf.matmul(tf.cast(mean, items.dtype), items), axis=1)


def time_signal(length: int, width: int) -> NDArray[np.float32]:
    """Returns sin(t / 10000^(2i/D)) in columns 2i and cos(t / 10000^(2i/D)) in columns 2i + 1, `[L, D]`."""
    column = np.arange(width)
    angles = np.arange(length)[:, np.newaxis] / 10000 ** ((column - column % 2) / width)
    return np.where(column % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32)
