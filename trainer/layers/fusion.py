"""Two streams: gates that select features for each, and their bilinear fusion."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from feature_specs import ColonnadeError
from trainer.layers.projections import output_layer


class FeatureGate(keras.layers.Layer):
    """2 sigmoid(MLP(context)) * x: how much each number of the stacked embeddings counts, given a context.

    Mao et al., "FinalMLP: An Enhanced Two-Stream MLP Model for CTR Prediction", AAAI 2023, https://arxiv.org/abs/2304.00902, equations
    7 and 8.

    Args:
        units: Width of the gate's hidden layer.
        name: Name of the layer.
    """

    def __init__(self, units: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.hidden = keras.layers.Dense(units, activation="relu", name="hidden")

    def build(self, inputs_shape: tuple[int | None, ...], context_shape: tuple[int | None, ...]) -> None:
        """Makes the gate for inputs `[B, W]`."""
        self.hidden.build(context_shape)
        self.gate = keras.layers.Dense(inputs_shape[-1], activation="sigmoid", name="gate")
        self.gate.build((None, self.hidden.units))
        self.built = True

    def call(self, inputs: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
        """Returns `[B, W]` for inputs `[B, W]` and a context `[B, C]`."""
        return inputs * (2 * self.gate(self.hidden(context)))


class BilinearFusion(keras.layers.Layer):
    """w_1 . x + b_1 + w_2 . y + b_2 + sum_h x_h^T W_h y_h, x and y cut into heads: two vectors to the terms of a logit, in float32.

    Mao et al., AAAI 2023 (see `FeatureGate`), equations 10 to 12.

    Args:
        num_heads: Heads; they divide both widths.
        widths: Those that are known already.
        name: Name of the layer.
    """

    def __init__(self, num_heads: int, widths: Sequence[int] = (), name: str | None = None) -> None:
        super().__init__(name=name, dtype="float32")
        self.num_heads = num_heads
        self._check(widths)

    def build(self, first_shape: tuple[int | None, ...], second_shape: tuple[int | None, ...]) -> None:
        """Makes the weights."""
        widths = int(first_shape[-1] or 0), int(second_shape[-1] or 0)
        self._check(widths)
        self.linear = [output_layer(f"linear_{i}") for i in range(2)]
        for layer, width in zip(self.linear, widths, strict=True):
            layer.build((None, width))
        shape = (self.num_heads, widths[0] // self.num_heads, widths[1] // self.num_heads)
        self.kernel = self.add_weight(shape=shape, initializer="glorot_normal", name="kernel")
        self.built = True

    def call(self, first: tf.Tensor, second: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the terms `first`, `second` and `interaction`, each `[B]`."""
        x, y = (tf.reshape(stream, [-1, self.num_heads, stream.shape[1] // self.num_heads]) for stream in (first, second))
        products = tf.reduce_sum(tf.einsum("bhi,hij->bhj", x, self.kernel.value) * y, axis=[1, 2])
        linear = [tf.squeeze(layer(stream), axis=1) for layer, stream in zip(self.linear, (first, second), strict=True)]
        return {"first": linear[0], "second": linear[1], "interaction": products}

    def _check(self, widths: Sequence[int]) -> None:
        if self.num_heads < 1 or any(width % self.num_heads for width in widths):
            raise ColonnadeError(
                f"num_heads should divide the widths of both streams. Received: {', '.join(map(str, (self.num_heads, *widths)))}."
            )
