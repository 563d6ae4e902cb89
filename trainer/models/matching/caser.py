"""Convolutional sequence embedding (Caser).

Tang and Wang, "Personalized Top-N Sequential Recommendation via Convolutional Sequence Embedding", WSDM 2018,
https://arxiv.org/abs/1809.07426, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf

from trainer.layers import Dropout, Inputs, WindowConvolutions, ZeroLastColumn, check_sizes, check_widths, recent, windows
from trainer.models.base import MatchingModel
from trainer.models.registry import register


@register("caser")
class Caser(MatchingModel):
    """Convolutions over the vectors of the last items, beside the user's vector; of each candidate a second vector and a bias.

    A user whom training has not seen has the zero vector, and is known by the history alone.

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of the vectors of users and items.
        horizontal_filters: Of each height.
        vertical_filters: Weighted sums of the items.
        dropout: Rate on what the convolutions found.
        max_length: How many of the last items it reads.
        num_targets: How many of the items that follow are predicted at once.
    """

    loss = "bce"
    num_negatives = 3

    def __init__(
        self,
        inputs: Inputs,
        *,
        embedding_dim: int = 50,
        horizontal_filters: int = 16,
        vertical_filters: int = 4,
        dropout: float = 0.5,
        max_length: int = 5,
        num_targets: int = 3,
    ) -> None:
        super().__init__()
        check_sizes(embedding_dim=embedding_dim, max_length=max_length, num_targets=num_targets)
        self.max_length, self.num_targets = max_length, num_targets
        initializer = keras.initializers.RandomNormal(stddev=1 / embedding_dim)
        self.items = inputs.items(embedding_dim, initializer=initializer)
        self.users = inputs.users(embedding_dim, initializer=initializer)
        width = self.items.width + self.users.width + 1  # the last is for the bias
        second = ZeroLastColumn(keras.initializers.RandomNormal(stddev=1 / (2 * embedding_dim)))
        self.targets = inputs.items(width, initializer=second, name="targets")
        check_widths(width, self.targets.width, "The second vectors of items, those of candidates,")
        self.convolutions = WindowConvolutions(horizontal_filters, vertical_filters, name="convolutions")
        self.dropout = Dropout(dropout, name="dropout")
        self.dense = keras.layers.Dense(self.items.width, activation="relu", name="dense")

    def query(self, features: Mapping[str, tf.Tensor], all_positions: bool = False) -> tf.Tensor:
        """Returns what the last items and the user say, `[B, 2 D + 1]`; or after each item, `[B, T, 2 D + 1]`."""
        ids = windows(*recent(self.items.history_ids(features), self.max_length), self.max_length, all_positions)
        images = tf.reshape(self.items.of_ids(ids), [-1, self.max_length, self.items.width])
        found = self.dense(self.dropout(self.convolutions(images)))
        users = tf.repeat(self.users(features), tf.shape(ids)[1], axis=0)
        query = tf.concat([found, users, tf.ones_like(users[:, :1])], axis=1)
        return tf.reshape(query, [-1, tf.shape(ids)[1], query.shape[1]]) if all_positions else query

    def candidates(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the items' second vectors and biases, `[C, 2 D + 1]`."""
        return self.targets(features)
