"""Inner product-based neural network (IPNN).

Qu et al., "Product-based Neural Networks for User Response Prediction", ICDM 2016, https://arxiv.org/abs/1611.00144.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from trainer.layers import MLP, Inputs, output_layer, side_by_side
from trainer.layers.pairs import FactorizedInnerProducts, check_pairs, inner_products
from trainer.models.base import RankingModel
from trainer.models.registry import register


@register("ipnn")
class IPNN(RankingModel):
    """An MLP over the embeddings and their pairwise inner products (equations 2 to 8).

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of the embeddings.
        hidden_units: Widths of the hidden layers.
        factorized: Whether the first layer's weights on the products have rank one a unit, as in equation 9; else they are full.
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
        factorized: bool = False,
        dropout: float = 0.5,
        batch_norm: bool = False,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        check_pairs("IPNN", inputs.vector_names)
        self.fields, self.values = inputs.fields(embedding_dim, values_apart=True), inputs.values()
        self.factorized = FactorizedInnerProducts(sum(hidden_units[:1]), name="products") if factorized else None
        self.hidden = MLP(hidden_units, activation=activation, dropout=dropout, batch_norm=batch_norm, name="hidden")
        self.projection = output_layer()

    def parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the deep term, `[B]`."""
        vectors = self.fields(features)
        flat = side_by_side(vectors, *self.values(features))
        if self.factorized is None:
            hidden = self.hidden(tf.concat([flat, inner_products(vectors)], axis=1))
        else:
            hidden = self.hidden(flat, offset=self.factorized(vectors))
        return {"deep": tf.squeeze(self.projection(hidden), axis=1)}
