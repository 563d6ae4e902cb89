"""AutoInt, and AutoInt+ with an MLP beside it.

Song et al., "AutoInt: Automatic Feature Interaction Learning", CIKM 2019, https://arxiv.org/abs/1810.11921.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf

from trainer.layers import MLP, Inputs, output_layer, side_by_side
from trainer.layers.self_attention import FieldAttentionStack
from trainer.models.base import RankingModel
from trainer.models.registry import register


@register("autoint")
class AutoInt(RankingModel):
    """Multi-head self-attention over the fields (section 4); `hidden_units` make it AutoInt+ (section 5.5).

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of the embeddings.
        attention_units: Width of an attention layer, all heads together.
        num_layers, num_heads: Attention layers, of which the first projects the residual to their width, and the heads of each.
        scale, layer_norm: Whether scores are divided by a head's width's square root, and layers normalised.
        hidden_units: Widths of the MLP's hidden layers; none leaves it out.
        dropout, batch_norm, activation: Of the MLP.
    """

    def __init__(
        self,
        inputs: Inputs,
        *,
        embedding_dim: int = 16,
        attention_units: int = 64,
        num_layers: int = 3,
        num_heads: int = 2,
        scale: bool = False,
        layer_norm: bool = False,
        hidden_units: tuple[int, ...] = (),
        dropout: float = 0.0,
        batch_norm: bool = False,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.fields, self.values = inputs.fields(embedding_dim, values_apart=bool(hidden_units)), inputs.values()
        self.attention = FieldAttentionStack(num_layers, attention_units, num_heads, scale=scale, layer_norm=layer_norm, name="attention")
        self.projection = output_layer()
        hidden = MLP(hidden_units, activation=activation, dropout=dropout, batch_norm=batch_norm, name="hidden")
        self.deep = keras.Sequential([hidden, output_layer("deep_projection")], name="deep") if hidden_units else None

    def parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the attention term and, with an MLP, the deep one, each `[B]`."""
        vectors = self.fields(features)
        deep = {"deep": self.deep(side_by_side(vectors, *self.values(features)))} if self.deep is not None else {}
        terms = {"attention": self.projection(side_by_side(self.attention(vectors))), **deep}
        return {name: tf.squeeze(term, axis=1) for name, term in terms.items()}
