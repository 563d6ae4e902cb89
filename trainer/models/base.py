"""What a ranking model is: a pure scorer, from transformed features to logits."""

from __future__ import annotations

import abc
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf


class RankingModel(keras.Model, abc.ABC):
    """Scores one pair of user and item.

    A model says what it is made of in `parts`; the sum of the parts is the logits. It knows no feature by name, and has no sigmoid,
    loss, metric, optimizer or path inside.
    """

    def __init__(self) -> None:
        # Keras would cast raw float32 features to bfloat16 before `call`; the input layers cast what they give instead.
        super().__init__(autocast=False)

    @property
    def wide_layers(self) -> tuple[keras.layers.Layer, ...]:
        """The layers that the run's `wide_optimizer` trains."""
        return ()

    @abc.abstractmethod
    def parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the named terms of the logits, each `[B]`."""

    def call(self, features: Mapping[str, tf.Tensor], training: bool | None = None) -> tf.Tensor:  # noqa: ARG002 (Keras hands it on)
        """Returns the logits, `[B]` float32."""
        return tf.add_n(list(self.scored_parts(features).values()))

    def output_bias(self, features: Mapping[str, tf.Tensor]) -> keras.Variable | None:
        """Returns the trained number, `[]` or `[1]`, that is added to all logits as it is; None where there is none.

        It is found by trying on some rows, so that no model has to name it: moved by 1, it moves the logits of all rows by 1.
        """
        before = self(features, training=False)
        for variable in self.trainable_variables:
            if np.prod(variable.shape) == 1:
                value = variable.numpy()
                variable.assign(value + 1)
                moved = self(features, training=False) - before
                variable.assign(value)
                if np.allclose(moved, 1, atol=0.01):
                    return variable
        return None

    def scored_parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns `parts` in float32, whatever the model computes in."""
        return {name: tf.cast(part, tf.float32) for name, part in self.parts(features).items()}
