"""The multilayer perceptron of the deep parts."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from feature_specs import ColonnadeError
from trainer.layers.activations import Dice, activation_layer
from trainer.layers.checks import check_rates


class MLP(keras.layers.Layer):
    """A stack of blocks Dense, BatchNormalization, activation, Dropout; without hidden units it is the identity.

    Dropout draws from seed states that are variables of the layer: `keras.utils.set_random_seed` before it is made repeats a run, and
    restoring `variables` resumes one, bit for bit.

    Args:
        hidden_units: Widths of the blocks.
        activation: Name of the non-linearity; see `activation_layer`.
        dropout: Rate, of all blocks or one a block.
        batch_norm: Whether blocks have batch normalisation.
        name: Name of the layer.
    """

    def __init__(
        self,
        hidden_units: Sequence[int],
        activation: str = "relu",
        dropout: float | Sequence[float] = 0.0,
        batch_norm: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        rates = [dropout] * len(hidden_units) if isinstance(dropout, int | float) else list(dropout)
        if len(rates) != len(hidden_units):
            raise ColonnadeError(f"dropout should be one rate, or {len(hidden_units)} (one a hidden layer). Received: {dropout}.")
        for rate in rates:
            check_rates(dropout=rate)
        self.blocks: list[keras.layers.Layer] = []
        for number, (units, rate) in enumerate(zip(hidden_units, rates, strict=True)):
            self.blocks.append(keras.layers.Dense(units, name=f"dense_{number}"))
            if batch_norm:
                self.blocks.append(keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"batch_norm_{number}"))
            self.blocks.append(activation_layer(activation, f"activation_{number}"))
            if rate:
                self.blocks.append(keras.layers.Dropout(rate, name=f"dropout_{number}"))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the weights for inputs `[B, input_shape[-1]]`."""
        for block in self.blocks:
            block.build(input_shape)
            input_shape = block.compute_output_shape(input_shape)
        self.built = True

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the inputs, with the last width."""
        for block in self.blocks:
            input_shape = block.compute_output_shape(input_shape)
        return input_shape

    def call(self, inputs: tf.Tensor, offset: tf.Tensor | None = None, present: tf.Tensor | None = None) -> tf.Tensor:
        """Returns `[B, hidden_units[-1]]` for `[B, D]`.

        Args:
            inputs: `[B, D]`, or `[B, T, D]` for the same network at every step.
            offset: Added behind the first dense layer, `[B, hidden_units[0]]`.
            present: The steps that are no padding, `[B, T]`; others do not count in the moments of `dice`.
        """
        for number, block in enumerate(self.blocks):
            inputs = block(inputs, present=present) if isinstance(block, Dice) else block(inputs)
            if number == 0 and offset is not None:
                inputs += offset
        return inputs
