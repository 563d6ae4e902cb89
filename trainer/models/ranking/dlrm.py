"""Deep Learning Recommendation Model (DLRM).

Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation Systems", 2019,
https://arxiv.org/abs/1906.00091.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from trainer.layers import MLP, Inputs, output_layer
from trainer.layers.pairs import check_pairs, inner_products
from trainer.models.base import RankingModel
from trainer.models.registry import register


@register("dlrm")
class DLRM(RankingModel):
    """An MLP over the numbers gives one more vector; the inner products of all pairs and that vector go into a second MLP (section 2.1).

    Without numbers the second MLP takes the products alone, and `bottom_units` do nothing.

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of the embeddings.
        bottom_units: Widths of the hidden layers over the numbers; one of the embeddings' width follows.
        top_units, dropout: Widths of the hidden layers over the products, and rate after each.
        activation: Non-linearity of the hidden layers.
    """

    needs = {"dropout": ("top_units",)}

    def __init__(
        self,
        inputs: Inputs,
        *,
        embedding_dim: int = 16,
        bottom_units: tuple[int, ...] = (512, 256, 64),
        top_units: tuple[int, ...] = (512, 256),
        dropout: float = 0.0,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        others = set(inputs.field_names) - set(inputs.number_names)
        check_pairs("DLRM", [*sorted(others), *(["the numbers"] if inputs.number_names else [])])
        self.fields = inputs.fields(embedding_dim, only=others)
        self.numbers = inputs.numbers() if inputs.number_names else None
        bottom = MLP((*bottom_units, self.fields.width), activation=activation, name="bottom")  # draws its seeds in any case
        self.bottom = bottom if self.numbers is not None else None
        self.top = MLP(top_units, activation=activation, dropout=dropout, name="top")
        self.projection = output_layer()

    def parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the deep term, `[B]`."""
        vectors = self.fields(features)
        bottom = [self.bottom(self.numbers(features))] if self.numbers and self.bottom else []
        vectors = tf.concat([*(vector[:, tf.newaxis] for vector in bottom), vectors], axis=1)
        return {"deep": tf.squeeze(self.projection(self.top(tf.concat([*bottom, inner_products(vectors)], axis=1))), axis=1)}
