"""Attentional factorization machine (AFM).

Xiao et al., "Attentional Factorization Machines: Learning the Weight of Feature Interactions via Attention Networks", IJCAI 2017,
https://arxiv.org/abs/1708.04617.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Literal

import keras
import tensorflow as tf

from trainer.layers import Bias, Inputs, check_rates, output_layer
from trainer.layers.pairs import AttentionalPooling, check_pairs, pair_products
from trainer.models.base import RankingModel
from trainer.models.registry import register


@register("afm")
class AFM(RankingModel):
    """A linear term and p . pool(v_i * v_j) over all pairs of fields (equation 6); with sum pooling and p of ones it is exactly an FM.

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of the factors.
        pooling: How the pairs' products become one vector: by attention, as the paper has it, or by their mean, maximum or sum.
        attention_units, attention_dropout: Width of the attention network, and rate on its shares.
        dropout: Rate on the pooled vector.
    """

    needs = dict.fromkeys(("attention_units", "attention_dropout"), ("pooling=attention",))

    def __init__(
        self,
        inputs: Inputs,
        *,
        embedding_dim: int = 256,
        pooling: Literal["attention", "mean", "max", "sum"] = "attention",
        attention_units: int = 256,
        attention_dropout: float = 0.0,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        check_rates(attention_dropout=attention_dropout, dropout=dropout)
        check_pairs("AFM", inputs.vector_names)
        self.fields, self.bias = inputs.fields_and_first_order(embedding_dim, values_apart=True), Bias(name="bias")
        attention = AttentionalPooling(attention_units, attention_dropout, name="attention") if pooling == "attention" else None
        reduce = {"mean": tf.reduce_mean, "max": tf.reduce_max, "sum": tf.reduce_sum}
        self.pool = attention or partial(reduce[pooling], axis=1)
        self.dropout = keras.layers.Dropout(dropout, name="dropout")
        self.projection = output_layer(use_bias=False)

    def parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the first-order term with the bias, and the interaction, each `[B]`."""
        vectors, first_order = self.fields(features)
        pooled = self.dropout(self.pool(pair_products(vectors)))
        return {"first_order": self.bias(first_order), "interaction": tf.squeeze(self.projection(pooled), axis=1)}
