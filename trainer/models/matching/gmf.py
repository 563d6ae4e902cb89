"""Generalized Matrix Factorization (GMF).

He et al., "Neural Collaborative Filtering", WWW 2017, https://arxiv.org/abs/1708.05031, section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf

from trainer.layers import Inputs, OutputWeights
from trainer.models.base import MatchingModel
from trainer.models.registry import register


@register("gmf")
class GMF(MatchingModel):
    """Weighs the elementwise product of the vectors of a user and an item: h (u * i) + b (equations 8 and 9).

    That is the inner product of [h * u, b] and [i, 1]. With h = 1 and b = 0 it is BPR's matrix factorization.

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of the vectors.
    """

    loss = "bce"
    num_negatives = 4

    def __init__(self, inputs: Inputs, *, embedding_dim: int = 8) -> None:
        super().__init__()
        self.users, self.items = inputs.users_and_items(embedding_dim, keras.initializers.RandomNormal(stddev=0.01))
        self.projection = OutputWeights(embedding_dim, name="projection")

    def query(self, features: Mapping[str, tf.Tensor], all_positions: bool = False) -> tf.Tensor:
        """Returns [h * u, b], `[B, D + 1]`."""
        del all_positions  # a user is the same at every moment
        users = self.users(features)
        weighted = users * tf.cast(self.projection.kernel[:, 0], users.dtype)
        bias = tf.ones_like(users[:, :1]) * tf.cast(self.projection.bias, users.dtype)
        return tf.concat([weighted, bias], axis=1)

    def candidates(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns [i, 1], `[C, D + 1]`."""
        items = self.items(features)
        return tf.concat([items, tf.ones_like(items[:, :1])], axis=1)
