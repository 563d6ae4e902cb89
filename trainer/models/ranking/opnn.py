"""Outer product-based neural network (OPNN), with kernel products.

Qu et al., "Product-based Neural Networks for User Response Prediction over Multi-field Categorical Data", TOIS 2018,
https://arxiv.org/abs/1807.00311.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import tensorflow as tf

from trainer.layers import MLP, Inputs, output_layer, side_by_side
from trainer.layers.pairs import OuterProducts, check_pairs
from trainer.models.base import RankingModel
from trainer.models.registry import register


@register("opnn")
class OPNN(RankingModel):
    """An MLP over the embeddings and v_i^T K_ij v_j of all pairs: the outer product of two fields, weighted by a kernel (section 4.3).

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of the embeddings.
        kernel: K_ij as a "matrix", or a diagonal ("vector").
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
        kernel: Literal["matrix", "vector"] = "matrix",
        hidden_units: tuple[int, ...] = (400, 400, 400),
        dropout: float = 0.5,
        batch_norm: bool = False,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        check_pairs("OPNN", inputs.vector_names)
        self.fields, self.values = inputs.fields(embedding_dim, values_apart=True), inputs.values()
        self.products = OuterProducts(kernel, name="products")
        self.hidden = MLP(hidden_units, activation=activation, dropout=dropout, batch_norm=batch_norm, name="hidden")
        self.projection = output_layer()

    def parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the deep term, `[B]`."""
        vectors = self.fields(features)
        flat = side_by_side(vectors, *self.values(features))
        hidden = self.hidden(tf.concat([flat, self.products(vectors)], axis=1))
        return {"deep": tf.squeeze(self.projection(hidden), axis=1)}
