"""Self-attention for the interest of the moment, beside metric learning for the lasting one (AttRec).

Zhang et al., "Next Item Recommendation with Self-Attention", 2018, https://arxiv.org/abs/1808.06414, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import keras
import tensorflow as tf

from feature_specs import ColonnadeError
from trainer.layers import Inputs, WindowAttention, check_positive, check_sizes, check_widths, recent, windows
from trainer.layers.distances import clipped, negative_squared_distance
from trainer.models.base import MatchingModel, inner_product
from trainer.models.registry import register


@register("attrec")
class AttRec(MatchingModel):
    """-(w |u - v|^2 + (1 - w) |m - x|^2): how far the item is from the user, and from what the last items attend to.

    Both terms are one distance, of vectors times sqrt(w) and sqrt(1 - w), side by side. A user whom training has not seen has u = 0.

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim, initial_stddev: Width of the vectors, and spread of their initial values.
        mode: "distance", of vectors clipped to length 1; or "inner": w u v + (1 - w) m x, of vectors as they are.
        long_weight, dropout: w, of the lasting interest; rate on queries and keys.
        max_length, num_targets: How many of the last items it reads, and how many that follow are predicted at once.
    """

    loss = "hinge"

    def __init__(
        self,
        inputs: Inputs,
        *,
        embedding_dim: int = 100,
        mode: Literal["distance", "inner"] = "distance",
        long_weight: float = 0.3,
        dropout: float = 0.0,
        max_length: int = 5,
        num_targets: int = 3,
        initial_stddev: float = 0.01,
    ) -> None:
        super().__init__()
        check_sizes(max_length=max_length, num_targets=num_targets)
        check_positive(initial_stddev=initial_stddev)
        if not 0 <= long_weight <= 1:
            raise ColonnadeError(f"long_weight should be between 0 and 1. Received: {long_weight}.")
        self.max_length, self.num_targets, self.roots = max_length, num_targets, (long_weight**0.5, (1 - long_weight) ** 0.5)
        self.limited = clipped if mode == "distance" else tf.identity
        self.compared = negative_squared_distance if mode == "distance" else inner_product
        initializer = keras.initializers.RandomNormal(stddev=initial_stddev)
        self.items, self.lasting = (inputs.items(embedding_dim, initializer=initializer, name=name) for name in ("items", "lasting"))
        self.users = inputs.users(embedding_dim, initializer=initializer)
        check_widths(self.lasting.width, self.users.width, "The vectors of users")
        self.attention = WindowAttention(dropout, name="attention")

    def query(self, features: Mapping[str, tf.Tensor], all_positions: bool = False) -> tf.Tensor:
        """Returns u and m side by side, `[B, 2 D]`; or after each item, `[B, T, 2 D]`."""
        ids = windows(*recent(self.items.history_ids(features), self.max_length), self.max_length, all_positions)
        flat = tf.reshape(ids, [-1, self.max_length])
        moment = self.attention(self.limited(self.items.of_ids(flat)), flat > 0)
        query = self._joined(tf.repeat(self.users(features), tf.shape(ids)[1], axis=0), moment)
        return tf.reshape(query, [-1, tf.shape(ids)[1], query.shape[1]]) if all_positions else query

    def candidates(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns v and x side by side, `[C, 2 D]`."""
        return self._joined(self.lasting(features), self.items(features))

    def score(self, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Returns negative squared distances or inner products."""
        return self.compared(query, candidates)

    def _joined(self, lasting: tf.Tensor, moment: tf.Tensor) -> tf.Tensor:
        return tf.concat([self.limited(lasting) * self.roots[0], self.limited(moment) * self.roots[1]], axis=-1)
