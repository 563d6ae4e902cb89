"""DeepFM.

Guo et al., "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction", IJCAI 2017, https://arxiv.org/abs/1703.04247.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf

from trainer.layers import MLP, Inputs, bi_interaction, side_by_side
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
        self.projection = keras.layers.Dense(1, name="projection")

    def parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the first-order, the second-order and the deep term, each `[B]`."""
        vectors, first_order = self.fields(features)
        deep = self.projection(self.hidden(side_by_side(vectors, *self.values(features))))
        pairs = tf.reduce_sum(bi_interaction(vectors), axis=1)
        return {"first_order": first_order, "second_order": pairs, "deep": tf.squeeze(deep, axis=1)}
