"""Factorization machine (FM).

Rendle, "Factorization Machines", ICDM 2010, https://doi.org/10.1109/ICDM.2010.127.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from trainer.layers import Bias, Inputs, pair_sum
from trainer.models.base import RankingModel
from trainer.models.registry import register


@register("fm")
class FM(RankingModel):
    """w_0 + sum_i w_i x_i + sum_{i<j} <v_i, v_j> x_i x_j (equation 1), in linear time (lemma 3.1).

    With factors of zero it is exactly LR.

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of the factors.
    """

    def __init__(self, inputs: Inputs, *, embedding_dim: int = 16) -> None:
        super().__init__()
        self.fields = inputs.fields_and_first_order(embedding_dim, values_apart=True)
        self.bias = Bias(name="bias")

    def parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the first-order term with the bias, and the interaction, each `[B]`."""
        vectors, first_order = self.fields(features)
        return {"first_order": self.bias(first_order), "interaction": pair_sum(vectors)}
