"""Deep & Cross Network, second version (DCN-V2).

Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons", WWW 2021, https://arxiv.org/abs/2008.13535.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import tensorflow as tf

from trainer.layers import MLP, Inputs, PartsProjection
from trainer.layers.cross import CrossNetworkV2
from trainer.models.base import RankingModel
from trainer.models.registry import register


@register("dcn_v2")
class DCNV2(RankingModel):
    """Cross layers with matrices, beside the MLP or under it (section 3, figure 1).

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of the embeddings.
        structure: "parallel", or "stacked": the MLP takes what the cross layers give.
        num_layers: Cross layers.
        low_rank: Rank of their matrices; 0 for full ones.
        num_experts: Low-rank experts that are mixed by gates.
        hidden_units: Widths of the hidden layers; none leaves the cross network alone.
        dropout: Rate after each hidden layer.
        batch_norm: Whether the hidden layers are batch-normalised.
        activation: Non-linearity of the hidden layers.
    """

    def __init__(
        self,
        inputs: Inputs,
        *,
        embedding_dim: int = 16,
        structure: Literal["parallel", "stacked"] = "stacked",
        num_layers: int = 3,
        low_rank: int = 0,
        num_experts: int = 1,
        hidden_units: tuple[int, ...] = (400, 400, 400),
        dropout: float = 0.0,
        batch_norm: bool = False,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.flat, self.is_parallel = inputs.flat(embedding_dim), structure == "parallel" and bool(hidden_units)
        self.cross = CrossNetworkV2(num_layers, low_rank=low_rank, num_experts=num_experts, name="cross")
        self.hidden = MLP(hidden_units, activation=activation, dropout=dropout, batch_norm=batch_norm, name="hidden")
        self.projection = PartsProjection(name="projection")

    def parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the cross and the deep term, each `[B]`; stacked, the deep one alone."""
        flat = self.flat(features)
        crossed = self.cross(flat)
        return self.projection({"cross": crossed, "deep": self.hidden(flat)} if self.is_parallel else {"deep": self.hidden(crossed)})
