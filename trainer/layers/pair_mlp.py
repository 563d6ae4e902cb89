"""An MLP over pairs of a user and an item whose first layer is applied to each side once."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from feature_specs import ColonnadeError
from trainer.layers.activations import activation_layer
from trainer.layers.checks import check_rates
from trainer.layers.mlp import MLP


class PairMLP(keras.layers.Layer):
    """An MLP over the vectors u of a user and i of an item side by side, for many items of one user.

    The first layer, W [u, i] + b, is (W_u u + b) + W_i i: `user` is computed once a user, `item` once an item, and each pair is a sum.

    Args:
        width: Of the vectors of users, and of those of items.
        hidden_units: Widths of the hidden layers, one or more.
        activation: Name of their non-linearity.
        dropout: Rate after each hidden layer.
        name: Name of the layer.

    Attributes:
        width: Of what each side gives: the first hidden layer's.
    """

    def __init__(
        self, width: int, hidden_units: Sequence[int], activation: str = "relu", dropout: float = 0.0, name: str | None = None
    ) -> None:
        super().__init__(name=name, autocast=False)
        if not hidden_units:
            raise ColonnadeError("hidden_units should be one width or more. Received: none.")
        check_rates(dropout=dropout)
        self.width, *others = hidden_units
        # Each half begins as its part of the whole matrix does, by Glorot.
        limit = (6 / (2 * width + self.width)) ** 0.5
        halves = (keras.initializers.RandomUniform(-limit, limit) for _ in range(2))
        with keras.name_scope(self.name):
            self.user = keras.layers.Dense(self.width, kernel_initializer=next(halves), name="user")
            self.item = keras.layers.Dense(self.width, kernel_initializer=next(halves), use_bias=False, name="item")
            self.user.build((None, width))
            self.item.build((None, width))
            self._activation = activation_layer(activation, "activation")
            self._activation.build((None, self.width))
            self._dropout = keras.layers.Dropout(dropout, name="dropout") if dropout else None
            self.others = MLP(others, activation=activation, dropout=dropout, name="others")
            self.others.build((None, self.width))
        self.built = True

    def call(self, users: tf.Tensor, items: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Returns the last hidden layer times `weights`, `[B, C]` float32.

        Args:
            users: What `user` gives, `[B, width]`.
            items: What `item` gives, of items that all users share, `[C, width]`, or of each user's own, `[B, C, width]`.
            weights: `[hidden_units[-1]]`.
        """
        pairs = users[..., tf.newaxis, :] + items
        # Of three axes, the gradient of a kernel would be one product a user, and a sum of them.
        hidden = self._activation(tf.reshape(pairs, [-1, self.width]))
        hidden = self.others(hidden if self._dropout is None else self._dropout(hidden))
        scores = tf.matmul(tf.cast(hidden, tf.float32), tf.cast(weights, tf.float32)[:, tf.newaxis])
        known = pairs.shape[:-1]
        return tf.reshape(scores, known if known.is_fully_defined() else tf.shape(pairs)[:-1])
