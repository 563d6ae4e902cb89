"""Deep & Cross Network (DCN).

Wang et al., "Deep & Cross Network for Ad Click Predictions", ADKDD 2017, https://arxiv.org/abs/1708.05123.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from trainer.layers import MLP, Inputs, PartsProjection
from trainer.layers.cross import CrossNetwork
from trainer.models.base import RankingModel
from trainer.models.registry import register


@register("dcn")
class DCN(RankingModel):
    """A cross network and an MLP side by side, under one projection (equations 3 to 6).

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of the embeddings.
        num_layers: Cross layers.
        hidden_units: Widths of the hidden layers; none leaves the cross network alone.
        dropout: Rate after each hidden layer.
        batch_norm: Whether the hidden layers are batch-normalised.
        activation: Non-linearity of the hidden layers.
    """

    def __init__(
        self,
        inputs: Inputs,
        *,
        embedding_dim: int = 16,
        num_layers: int = 6,
        hidden_units: tuple[int, ...] = (1024, 1024),
        dropout: float = 0.0,
        batch_norm: bool = True,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.flat = inputs.flat(embedding_dim)
        self.cross = CrossNetwork(num_layers, name="cross")
        hidden = MLP(hidden_units, activation=activation, dropout=dropout, batch_norm=batch_norm, name="hidden")
        self.hidden = hidden if hidden_units else None
        self.projection = PartsProjection(name="projection")

    def parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the cross and the deep term, each `[B]`; the projection's bias is in the first."""
        flat = self.flat(features)
        deep = {"deep": self.hidden(flat)} if self.hidden is not None else {}
        return self.projection({"cross": self.cross(flat), **deep})
