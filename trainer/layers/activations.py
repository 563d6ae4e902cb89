"""Activations by name: those of Keras (relu, mish, leaky_relu, silu, gelu, ...) and `dice`."""

from __future__ import annotations

import keras
import tensorflow as tf

from feature_specs import ColonnadeError
from feature_specs.errors import did_you_mean

_LAYERS = ("linear", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "tanh", "sigmoid", "softplus", "hard_sigmoid", "relu6")


def activation_layer(activation: str, name: str) -> keras.layers.Layer:
    """Returns the layer of a non-linearity.

    Raises:
        ColonnadeError: The activation has another name.
    """
    if activation == "dice":
        return Dice(name=name)
    if activation not in _LAYERS:
        known = sorted((*_LAYERS, "dice"))
        raise ColonnadeError(f"Unknown activation {activation!r}.{did_you_mean(activation, known)} Known: {', '.join(known)}.")
    return keras.layers.Activation(activation, name=name)


class Dice(keras.layers.Layer):
    """A PReLU whose step follows the data: f(s) = p(s) * s + (1 - p(s)) * alpha * s, p(s) = sigmoid((s - E[s]) / sqrt(Var[s] + 1e-8)).

    Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, https://arxiv.org/abs/1706.06978, equation 3; alpha is
    learned, one a unit, and begins at 0. In evaluation the moments are moving averages.

    Args:
        name: Name of the layer.
    """

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name=name)
        self.norm = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-8, center=False, scale=False, name="norm")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes alpha, one number a unit."""
        self.norm.build(input_shape)
        self.alpha = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="alpha")
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool | None = None, present: tf.Tensor | None = None) -> tf.Tensor:
        """Returns a tensor of the inputs' shape, `[..., D]`; where `present`, `[...]`, is false, they do not count in the moments."""
        share = tf.sigmoid(self.norm(inputs, training=training, mask=present))
        return inputs * (share + (1 - share) * self.alpha.value)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the inputs."""
        return input_shape
