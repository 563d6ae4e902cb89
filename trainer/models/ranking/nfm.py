"""Neural Factorization Machine (NFM).

He and Chua, "Neural Factorization Machines for Sparse Predictive Analytics", SIGIR 2017, https://arxiv.org/abs/1708.05027.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf

from trainer.layers import MLP, Inputs, bi_interaction, check_rates, output_layer, side_by_side
from trainer.models.base import RankingModel
from trainer.models.registry import register


@register("nfm")
class NFM(RankingModel):
    """Adds an MLP over the bi-interaction pooling of all fields to a linear model (equations 2 to 7).

    With no hidden layer and a projection of ones it is exactly an FM. Lists are pooled to one vector a field with their mask.

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of the factors.
        hidden_units, activation: Widths of the hidden layers, and their non-linearity.
        pooled_dropout, dropout: Rates on the pooled vector, and after each hidden layer.
        batch_norm: Whether the pooled vector and the hidden layers are batch-normalised (section 3.3.2).
    """

    needs = dict.fromkeys(("dropout", "activation"), ("hidden_units",))

    def __init__(
        self,
        inputs: Inputs,
        *,
        embedding_dim: int = 64,
        hidden_units: tuple[int, ...] = (64,),
        pooled_dropout: float = 0.5,
        dropout: float = 0.5,
        batch_norm: bool = True,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        check_rates(pooled_dropout=pooled_dropout, dropout=dropout)
        self.fields, self.values = inputs.fields_and_first_order(embedding_dim, values_apart=True), inputs.values()
        self.pooled_norm = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="pooled_norm") if batch_norm else None
        self.pooled_dropout = keras.layers.Dropout(pooled_dropout, name="pooled_dropout")
        self.hidden = MLP(hidden_units, activation=activation, dropout=dropout, batch_norm=batch_norm, name="hidden")
        self.projection = output_layer()  # its bias is the paper's w_0

    def parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the first-order term and the interaction, each `[B]`."""
        vectors, first_order = self.fields(features)
        pooled = bi_interaction(vectors)
        if self.pooled_norm is not None:
            pooled = self.pooled_norm(pooled)
        hidden = self.hidden(side_by_side(self.pooled_dropout(pooled), *self.values(features)))
        return {"first_order": first_order, "interaction": tf.squeeze(self.projection(hidden), axis=1)}
