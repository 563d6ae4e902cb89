"""The multilayer perceptron of neural collaborative filtering (MLP).

He et al., "Neural Collaborative Filtering", WWW 2017, https://arxiv.org/abs/1708.05031, section 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf

from trainer.layers import Inputs, OutputWeights, PairMLP
from trainer.models.base import MatchingModel
from trainer.models.registry import register


@register("mlp_ncf")
class MLPNCF(MatchingModel):
    """An MLP over the vectors of a user and an item side by side (equation 10).

    Query and candidate are what its first layer makes of either.

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of the vectors.
        hidden_units: Widths of the hidden layers.
        dropout: Rate after each hidden layer.
    """

    loss = "bce"
    num_negatives = 4

    def __init__(
        self, inputs: Inputs, *, embedding_dim: int = 32, hidden_units: tuple[int, ...] = (32, 16, 8), dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.users, self.items = inputs.users_and_items(embedding_dim, keras.initializers.RandomNormal(stddev=0.01))
        self.tower = PairMLP(embedding_dim, hidden_units, dropout=dropout, name="tower")
        self.projection = OutputWeights(hidden_units[-1], name="projection")

    def query(self, features: Mapping[str, tf.Tensor], all_positions: bool = False) -> tf.Tensor:
        """Returns the user's part of the first layer, `[B, H]`."""
        del all_positions  # a user is the same at every moment
        return self.tower.user(self.users(features))

    def candidates(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the item's part of the first layer, `[C, H]`."""
        return self.tower.item(self.items(features))

    def score(self, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Returns the MLP's output, `[B, C]`."""
        return self.tower(query, candidates, self.projection.kernel[:, 0]) + self.projection.bias
