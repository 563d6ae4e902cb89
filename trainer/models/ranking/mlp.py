"""Multilayer perceptron on embeddings (MLP, also called DNN).

Covington, Adams and Sargin, "Deep Neural Networks for YouTube Recommendations", RecSys 2016, https://doi.org/10.1145/2959100.2959190.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from trainer.layers import MLP, Inputs, output_layer
from trainer.models.base import RankingModel
from trainer.models.registry import register


@register("mlp")
class PlainMLP(RankingModel):
    """An MLP over all fields side by side: the deep part of the other models, alone (the ranking network, section 4).

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of the embeddings.
        hidden_units: Widths of the hidden layers.
        dropout: Rate after each hidden layer.
        batch_norm: Whether the hidden layers are batch-normalised.
        activation: Non-linearity of the hidden layers.
    """

    def __init__(
        self,
        inputs: Inputs,
        *,
        embedding_dim: int = 16,
        hidden_units: tuple[int, ...] = (400, 400, 400),
        dropout: float = 0.0,
        batch_norm: bool = False,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.flat = inputs.flat(embedding_dim)
        self.hidden = MLP(hidden_units, activation=activation, dropout=dropout, batch_norm=batch_norm, name="hidden")
        self.projection = output_layer()

    def parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the deep term, `[B]`."""
        return {"deep": tf.squeeze(self.projection(self.hidden(self.flat(features))), axis=1)}
