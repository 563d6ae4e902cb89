"""Wide & Deep.

Cheng et al., "Wide & Deep Learning for Recommender Systems", DLRS 2016, https://arxiv.org/abs/1606.07792.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf

from trainer.layers import MLP, Inputs, output_layer
from trainer.models.base import RankingModel
from trainer.models.registry import register


@register("wide_deep")
class WideDeep(RankingModel):
    """Adds a linear model over tokens and their crosses to an MLP over dense vectors (equation 3).

    The wide side memorises, the deep one, which sees no crosses, generalises; each is trained by its own optimizer (section 3.3).

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of the deep side's vectors.
        hidden_units: Widths of the hidden layers.
        dropout: Rate after each hidden layer.
        batch_norm: Whether the hidden layers are batch-normalised.
        activation: Non-linearity of the hidden layers.
    """

    def __init__(
        self,
        inputs: Inputs,
        *,
        embedding_dim: int = 32,
        hidden_units: tuple[int, ...] = (1024, 512, 256),
        dropout: float = 0.0,
        batch_norm: bool = False,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.wide = inputs.first_order(use_bias=True, name="wide")
        self.vectors = inputs.flat(embedding_dim, only=inputs.uncrossed_names, name="vectors")
        self.hidden = MLP(hidden_units, activation=activation, dropout=dropout, batch_norm=batch_norm, name="hidden")
        self.projection = output_layer(use_bias=False)  # the wide side has the bias

    @property
    def wide_layers(self) -> tuple[keras.layers.Layer, ...]:
        """The linear model, for FTRL."""
        return (self.wide,)

    def parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns both sides' logits, each `[B]`."""
        deep = self.projection(self.hidden(self.vectors(features)))
        return {"wide": self.wide(features), "deep": tf.squeeze(deep, axis=1)}
