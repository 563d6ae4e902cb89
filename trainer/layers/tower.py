"""One side of a two-tower model."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from trainer.layers.mlp import MLP


class Tower(keras.layers.Layer):
    """An MLP and a linear layer, whose output may be scaled to length 1: `[B, width]` to `[B, output_dim]` float32.

    Args:
        width: Of the inputs.
        hidden_units: Widths of the hidden layers.
        output_dim: Width of the linear layer.
        dropout: Rate after each hidden layer.
        normalize: Whether outputs are scaled to length 1.
        name: Name of the layer.
    """

    def __init__(
        self,
        width: int,
        hidden_units: Sequence[int],
        output_dim: int,
        *,
        dropout: float = 0.0,
        normalize: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.normalize = normalize
        with keras.name_scope(self.name):
            self.hidden = MLP(hidden_units, dropout=dropout, name="hidden")
            self.hidden.build((None, width))
            self.output_layer = keras.layers.Dense(output_dim, name="output")
            self.output_layer.build((None, [width, *hidden_units][-1]))
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns `[B, output_dim]`."""
        # Lengths and temperatures need more digits than bfloat16 has.
        outputs = tf.cast(self.output_layer(self.hidden(inputs)), tf.float32)
        return tf.math.l2_normalize(outputs, axis=-1) if self.normalize else outputs
