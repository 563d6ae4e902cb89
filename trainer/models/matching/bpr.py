"""Matrix factorization by Bayesian personalized ranking (BPR-MF).

Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009, https://arxiv.org/abs/1205.2618, section 4.3.1;
distance mode: Hsieh et al., "Collaborative Metric Learning", WWW 2017, sections 3.1 and 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import keras
import tensorflow as tf

from trainer.layers import Inputs, check_positive, clipped, negative_squared_distance
from trainer.models.base import MatchingModel, inner_product
from trainer.models.registry import register


@register("bpr")
class BPR(MatchingModel):
    """Scores a user and an item by the inner product of their vectors, or by the negative squared distance between them.

    Side features of users and items add their vectors to those of the ids.

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of the vectors.
        mode: "inner", or "distance": -|u - v|^2, of vectors clipped to length 1, with the hinge loss (equation 1 of the second paper).
        initial_stddev: Of the vectors' initial values.
    """

    loss = "bpr"

    def __init__(
        self, inputs: Inputs, *, embedding_dim: int = 64, mode: Literal["inner", "distance"] = "inner", initial_stddev: float = 0.01
    ) -> None:
        super().__init__()
        check_positive(initial_stddev=initial_stddev)
        self.mode = mode
        if mode == "distance":
            self.loss = "hinge"
        initializer = keras.initializers.RandomNormal(stddev=initial_stddev)
        self.users, self.items = inputs.users_and_items(embedding_dim, initializer)

    def query(self, features: Mapping[str, tf.Tensor], all_positions: bool = False) -> tf.Tensor:
        """Returns the users' vectors, `[B, D]`."""
        del all_positions  # a user is the same at every moment
        vectors = self.users(features)
        return clipped(vectors) if self.mode == "distance" else vectors

    def candidates(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the items' vectors, `[C, D]`."""
        vectors = self.items(features)
        return clipped(vectors) if self.mode == "distance" else vectors

    def score(self, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Returns inner products or negative squared distances, `[B, C]`."""
        return (negative_squared_distance if self.mode == "distance" else inner_product)(query, candidates)
