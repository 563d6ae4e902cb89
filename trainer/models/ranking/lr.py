"""Logistic regression (LR).

Richardson, Dominowska and Ragno, "Predicting Clicks: Estimating the Click-Through Rate for New Ads", WWW 2007,
https://doi.org/10.1145/1242572.1242643.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from trainer.layers import Inputs
from trainer.models.base import RankingModel
from trainer.models.registry import register


@register("lr")
class LR(RankingModel):
    """One weight a token, w * x for numbers, and a bias.

    Args:
        inputs: The shared input layers of the data set.
    """

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        self.first_order = inputs.first_order(use_bias=True)

    def parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the first-order term, `[B]`."""
        return {"first_order": self.first_order(features)}
