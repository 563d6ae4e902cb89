"""Deep Crossing.

Shan et al., "Deep Crossing: Web-Scale Modeling without Manually Crafted Combinatorial Features", KDD 2016,
https://doi.org/10.1145/2939672.2939704.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from trainer.layers import Inputs, output_layer
from trainer.layers.residual import ResidualUnit
from trainer.models.base import RankingModel
from trainer.models.registry import register


@register("deep_crossing")
class DeepCrossing(RankingModel):
    """Embeds, stacks, and passes the stack through residual units (section 4).

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of the embeddings.
        residual_units: Hidden width of each residual unit.
        dropout: Rate after each residual unit.
        activation: Non-linearity of the residual units.
    """

    needs = dict.fromkeys(("dropout", "activation"), ("residual_units",))

    def __init__(
        self,
        inputs: Inputs,
        *,
        embedding_dim: int = 16,
        residual_units: tuple[int, ...] = (512, 512, 256, 128, 64),
        dropout: float = 0.0,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.flat = inputs.flat(embedding_dim)
        self.units = [
            ResidualUnit(width, activation=activation, dropout=dropout, name=f"unit_{i}") for i, width in enumerate(residual_units)
        ]
        self.projection = output_layer()

    def parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the deep term, `[B]`."""
        hidden = self.flat(features)
        for unit in self.units:
            hidden = unit(hidden)
        return {"deep": tf.squeeze(self.projection(hidden), axis=1)}
