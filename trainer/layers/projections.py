"""The last layers of models: a bias, weights that are applied elsewhere, and one projection over several parts that keeps them apart."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf


class Bias(keras.layers.Layer):
    """Adds a global bias w_0 to `[B]`; it begins at 0 and stays float32.

    Args:
        name: Name of the layer.
    """

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name=name, dtype="float32", autocast=False)
        self.bias = self.add_weight(shape=(), initializer="zeros", name="bias")
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns `[B]`."""
        return tf.cast(inputs, tf.float32) + self.bias.value


class OutputWeights(keras.layers.Layer):
    """The weights h and bias b of h x + b, for models that apply them where that is cheapest; they stay float32.

    Args:
        width: Of x.
        name: Name of the layer.
    """

    def __init__(self, width: int, name: str | None = None) -> None:
        super().__init__(name=name, dtype="float32", autocast=False)
        self.kernel = self.add_weight(shape=(width, 1), initializer="lecun_uniform", autocast=False, name="kernel")
        self.bias = self.add_weight(shape=(1,), initializer="zeros", autocast=False, name="bias")
        self.built = True


def output_layer(name: str = "projection", *, use_bias: bool = True) -> keras.layers.Dense:
    """Returns the dense layer of one unit that gives a term of the logits, `[B, W]` to `[B, 1]`, in float32.

    So it does whatever the layers before it compute in: in bfloat16 predictions around 1000 would lie on a grid of 4.
    """
    return keras.layers.Dense(1, use_bias=use_bias, dtype="float32", name=name)


class PartsProjection(keras.layers.Layer):
    """A dense layer to one unit over several tensors side by side, whose sum is given by its terms; it computes in float32.

    w . [x_1, x_2] + b = (w_1 . x_1 + b) + w_2 . x_2: the same weights as one layer, and each part's share in the logits can be told.

    Args:
        name: Name of the layer.
    """

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name=name, dtype="float32")

    def build(self, input_shape: Mapping[str, tuple[int | None, ...]]) -> None:
        """Makes one column of weights a part, beginning as one Glorot matrix over all of them."""
        widths = {part: int(shape[-1] or 0) for part, shape in input_shape.items()}
        initializer = keras.initializers.RandomNormal(stddev=(2.0 / (sum(widths.values()) + 1)) ** 0.5)
        self.kernels = {
            part: self.add_weight(shape=(width, 1), initializer=initializer.clone(), name=f"kernel_{part}")
            for part, width in widths.items()
        }
        self.bias = self.add_weight(shape=(1,), initializer="zeros", name="bias")
        self.built = True

    def call(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns `{part: [B]}` for `{part: [B, W]}`; the bias is in the first part."""
        terms = {part: tf.squeeze(tf.matmul(x, self.kernels[part].value), axis=1) for part, x in inputs.items()}
        first = next(iter(terms))
        return {**terms, first: terms[first] + self.bias.value}
