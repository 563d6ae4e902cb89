"""FinalMLP.

Mao et al., "FinalMLP: An Enhanced Two-Stream MLP Model for CTR Prediction", AAAI 2023, https://arxiv.org/abs/2304.00902.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from trainer.layers import MLP, Inputs
from trainer.layers.fusion import BilinearFusion, FeatureGate
from trainer.models.base import RankingModel
from trainer.models.registry import register


@register("final_mlp")
class FinalMLP(RankingModel):
    """Two MLPs over the embeddings, each behind a gate, and their bilinear fusion (equations 5 to 12).

    The gates' contexts are the user and the item, by the spec's keys, in tables of their own; all fields where a key has none.

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of the embeddings.
        first_units, second_units: Widths of the hidden layers of each MLP; `dropout`, `batch_norm`, `activation` are of both.
        num_heads, gate_units: Heads of the fusion, which divide both last widths; width of the gates' hidden layer, 0 for no gates.
    """

    needs = dict.fromkeys(("dropout", "batch_norm", "activation"), ("first_units", "second_units"))

    def __init__(
        self,
        inputs: Inputs,
        *,
        embedding_dim: int = 10,
        first_units: tuple[int, ...] = (400,),
        second_units: tuple[int, ...] = (100,),
        num_heads: int = 5,
        gate_units: int = 400,
        dropout: float = 0.0,
        batch_norm: bool = False,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.flat = inputs.flat(embedding_dim)
        self.fusion = BilinearFusion(num_heads, (*first_units[-1:], *second_units[-1:]), name="fusion")
        self.streams = []
        for name, key, units in zip(("first", "second"), inputs.fields_of_keys, (first_units, second_units), strict=True):
            context = inputs.flat(embedding_dim, only=key or None, name=f"{name}_context") if gate_units else None
            gate = FeatureGate(gate_units, name=f"{name}_gate") if gate_units else None
            hidden = MLP(units, activation=activation, dropout=dropout, batch_norm=batch_norm, name=f"{name}_hidden")
            self.streams.append((context, gate, hidden))

    def parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns each stream's term and that of their interaction, each `[B]`."""
        flat = self.flat(features)
        gated = [gate(flat, context(features)) if gate and context else flat for context, gate, _ in self.streams]
        return self.fusion(*(hidden(x) for x, (*_, hidden) in zip(gated, self.streams, strict=True)))
