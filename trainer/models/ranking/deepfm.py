"""DeepFM.

Guo et al., "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction", IJCAI 2017, https://arxiv.org/abs/1703.04247.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from trainer.layers import MLP, Inputs, output_layer, pair_sum, side_by_side
from trainer.models.base import RankingModel
from trainer.models.registry import register


@register("deepfm")
class DeepFM(RankingModel):
    """Adds an MLP to an FM; both read the same vectors (equations 1 to 4).

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of the factors.
        hidden_units: Widths of the hidden layers.
        dropout: Rate after each hidden layer.
        batch_norm: Whether the hidden layers are batch-normalised.
        activation: Non-linearity of the hidden layers.
    """

    def __init__(
        self,
        inputs: Inputs,
        *,
        embedding_dim: int = 10,
        hidden_units: tuple[int, ...] = (400, 400, 400),
        dropout: float = 0.5,
        batch_norm: bool = False,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.fields, self.values = inputs.fields_and_first_order(embedding_dim, values_apart=True), inputs.values()
        self.hidden = MLP(hidden_units, activation=activation, dropout=dropout, batch_norm=batch_norm, name="hidden")
        self.projection = output_layer()

    def parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the first-order, the second-order and the deep term, each `[B]`."""
        vectors, first_order = self.fields(features)
        deep = self.projection(self.hidden(side_by_side(vectors, *self.values(features))))
        return {"first_order": first_order, "second_order": pair_sum(vectors), "deep": tf.squeeze(deep, axis=1)}
