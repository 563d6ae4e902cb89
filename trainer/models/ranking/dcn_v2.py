"""Deep & Cross Network, second version (DCN-V2).

Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to Rank Systems", WWW 2021,
https://arxiv.org/abs/2008.13535.
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
        num_layers, low_rank, num_experts: Cross layers; rank of their matrices, 0 for full ones; low-rank experts that gates mix.
        hidden_units: Widths of the hidden layers, whose are the others; none leaves the cross network alone.
    """

    needs = {**RankingModel.needs, "structure": ("hidden_units",), **dict.fromkeys(("low_rank", "num_experts"), ("num_layers",))}

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
        """Returns the cross and the deep term, each `[B]`; stacked, or without hidden layers, one of them."""
        flat = self.flat(features)
        crossed = self.cross(flat)
        if self.is_parallel:
            return self.projection({"cross": crossed, "deep": self.hidden(flat)})
        return self.projection({"deep" if self.hidden.blocks else "cross": self.hidden(crossed)})
