"""Residual units of dense layers."""

from __future__ import annotations

import keras
import tensorflow as tf

from trainer.layers.activations import activation_layer
from trainer.layers.checks import check_rates, check_sizes


class ResidualUnit(keras.layers.Layer):
    """x -> f(x + W_1 f(W_0 x + b_0) + b_1), `[B, W]` to `[B, W]`.

    Shan et al., "Deep Crossing", KDD 2016, https://doi.org/10.1145/2939672.2939704, equation 3; f is ReLU there.

    Args:
        units: Width of the hidden layer.
        activation: f.
        dropout: Rate after the unit.
        name: Name of the layer.
    """

    def __init__(self, units: int, *, activation: str = "relu", dropout: float = 0.0, name: str | None = None) -> None:
        super().__init__(name=name)
        check_sizes(residual_units=units)
        check_rates(dropout=dropout)
        self.units = units
        self.inner = activation_layer(activation, "inner")
        self.outer = activation_layer(activation, "outer")
        self.dropout = keras.layers.Dropout(dropout, name="dropout")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes both dense layers."""
        self.hidden = keras.layers.Dense(self.units, name="hidden")
        self.back = keras.layers.Dense(input_shape[-1], name="back")
        self.hidden.build(input_shape)
        self.inner.build((*input_shape[:-1], self.units))
        self.back.build((*input_shape[:-1], self.units))
        self.outer.build(input_shape)
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns `[B, W]`."""
        return self.dropout(self.outer(inputs + self.back(self.inner(self.hidden(inputs)))))
