"""xDeepFM.

Lian et al., "xDeepFM: Combining Explicit and Implicit Feature Interactions for Recommender Systems", KDD 2018,
https://arxiv.org/abs/1803.05170.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from trainer.layers import MLP, Inputs, output_layer, side_by_side
from trainer.layers.cin import CIN
from trainer.models.base import RankingModel
from trainer.models.registry import register


@register("xdeepfm")
class XDeepFM(RankingModel):
    """A linear term, a compressed interaction network and an MLP (equation 9).

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of the embeddings.
        cin_units: Feature maps of each layer of the interaction network.
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
        cin_units: tuple[int, ...] = (200, 200, 200),
        hidden_units: tuple[int, ...] = (400, 400),
        dropout: float = 0.5,
        batch_norm: bool = False,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.fields, self.values = inputs.fields_and_first_order(embedding_dim, values_apart=True), inputs.values()
        self.cin, self.cin_projection = CIN(cin_units, name="cin"), output_layer("cin_projection")
        self.hidden = MLP(hidden_units, activation=activation, dropout=dropout, batch_norm=batch_norm, name="hidden")
        self.projection = output_layer()

    def parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the first-order, the explicit and the deep term, each `[B]`."""
        vectors, first_order = self.fields(features)
        deep = self.projection(self.hidden(side_by_side(vectors, *self.values(features))))
        explicit = self.cin_projection(self.cin(vectors))
        return {"first_order": first_order, "explicit": tf.squeeze(explicit, axis=1), "deep": tf.squeeze(deep, axis=1)}
