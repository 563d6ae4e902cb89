"""Attention of a history to the item that is scored."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from trainer.layers.mlp import MLP


class TargetAttention(keras.layers.Layer):
    """sum_t a(e_t, v) e_t: each step of a history counts by how it goes with the target v; `[B, T, D]` and `[B, D]` to `[B, D]`.

    Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, https://arxiv.org/abs/1706.06978, equation 2. The
    shares are not normalised, so that the sum keeps how strong an interest is (section 4.3). Steps of zeros, which padding is, add nothing
    and count in no moments.

    Args:
        units: Widths of the hidden layers of a, which sees e_t, v, e_t - v and e_t * v.
        activation: Their non-linearity.
        name: Name of the layer.
    """

    def __init__(self, units: Sequence[int], activation: str = "dice", name: str | None = None) -> None:
        super().__init__(name=name)
        self.hidden = MLP(units, activation=activation, name="hidden")
        self.score = keras.layers.Dense(1, name="score")

    def build(self, history_shape: tuple[int | None, ...], target_shape: tuple[int | None, ...]) -> None:
        """Makes the network of a."""
        del target_shape
        seen = (*history_shape[:-1], 4 * int(history_shape[-1] or 0))
        self.hidden.build(seen)
        self.score.build(self.hidden.compute_output_shape(seen))
        self.built = True

    def call(self, history: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """Returns `[B, D]`."""
        present = tf.reduce_any(history != 0, axis=2)
        repeated = tf.broadcast_to(target[:, tf.newaxis], tf.shape(history))
        seen = tf.concat([history, repeated, history - repeated, history * repeated], axis=2)
        return tf.reduce_sum(self.score(self.hidden(seen, present=present)) * history, axis=1)
