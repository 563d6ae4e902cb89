"""Deep Interest Network (DIN).

Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, https://arxiv.org/abs/1706.06978.

Differences: attention sees e - v and e * v in place of the outer product, as the authors' released code does.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from trainer.layers import MLP, Inputs, output_layer
from trainer.layers.target_attention import TargetAttention
from trainer.models.base import RankingModel
from trainer.models.registry import register


@register("din")
class DIN(RankingModel):
    """An MLP over all fields, in which a history is pooled by its attention to the item that is scored (section 4).

    A history is a sequence that shares its table with a single-valued feature, its target; all else is pooled as everywhere. Where the data
    have none, `attention_units` do nothing.

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of the embeddings.
        attention_units: Widths of the attention network's hidden layers.
        hidden_units: Widths of the hidden layers.
        dropout: Rate after each hidden layer.
        activation: Non-linearity of the hidden layers.
    """

    needs = {"dropout": ("hidden_units",), "activation": ("attention_units", "hidden_units")}

    def __init__(
        self,
        inputs: Inputs,
        *,
        embedding_dim: int = 16,
        attention_units: tuple[int, ...] = (80, 40),
        hidden_units: tuple[int, ...] = (200, 80),
        dropout: float = 0.0,
        activation: str = "dice",
    ) -> None:
        super().__init__()
        self.targets, self.fields = inputs.targets, inputs.fields_and_histories(embedding_dim)
        self.attention = {name: TargetAttention(attention_units, activation, name=f"attention_{name}") for name in self.targets}
        self.hidden = MLP(hidden_units, activation=activation, dropout=dropout, name="hidden")
        self.projection = output_layer()

    def parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the deep term, `[B]`."""
        vectors = self.fields(features)
        interests = {name: self.attention[name](vectors[name], vectors[target][:, 0]) for name, target in self.targets.items()}
        hidden = self.hidden(tf.concat([interests[name] if name in interests else each[:, 0] for name, each in vectors.items()], axis=1))
        return {"deep": tf.squeeze(self.projection(hidden), axis=1)}
