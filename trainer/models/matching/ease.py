"""Embarrassingly shallow autoencoder (EASE).

Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, https://arxiv.org/abs/1905.03375, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from feature_specs.errors import ColonnadeError
from trainer.layers import Inputs, check_positive, item_regression
from trainer.layers.matching import WHOLE_HISTORY
from trainer.models.base import MatchingModel
from trainer.models.registry import register

_MOST_ITEMS = 30_000


@register("ease")
class EASE(MatchingModel):
    """Scores x B of a user's items x in {0, 1}^C: min |X - X B|^2 + lambda |B|^2 with diag(B) = 0, in closed form (equation 8).

    The whole history counts, and nothing else does: whoever has one can be served. An item that training has not seen scores 0. Fitting
    takes some 32 C^2 bytes of memory (13 GB for 20,000 items), the weights 4 C^2; more than 30,000 items are refused.

    Args:
        inputs: The shared input layers of the data set.
        l2: lambda, above 0.
    """

    closed_form = True
    max_length = WHOLE_HISTORY

    def __init__(self, inputs: Inputs, *, l2: float = 500.0) -> None:
        super().__init__()
        check_positive(l2=l2)
        self.item_ids, self.l2 = inputs.item_ids(), l2
        rows = self.item_ids.rows
        if rows > _MOST_ITEMS:
            raise ColonnadeError(
                f"ease has a weight for each pair of items, and takes {_MOST_ITEMS:,} ids at most. Received: {rows:,}. Use another model, "
                "or leave rare items out (min_count of the item feature's vocabulary)."
            )
        self.weights_of_pairs = self.add_weight(
            shape=(rows, rows), initializer="zeros", dtype="float32", autocast=False, trainable=False, name="weights_of_pairs"
        )

    def query(self, features: Mapping[str, tf.Tensor], all_positions: bool = False) -> tf.Tensor:
        """Returns the scores of all ids, `[B, rows]`."""
        del all_positions  # the order of the items does not count
        ids = self.item_ids.of_history(features)
        owners = tf.broadcast_to(tf.range(tf.shape(ids, tf.int64)[0])[:, tf.newaxis], tf.shape(ids))
        places = tf.reshape(tf.stack([owners, ids], axis=-1), [-1, 2])
        taken = tf.scatter_nd(places, tf.ones(tf.shape(places)[:1]), [tf.shape(ids, tf.int64)[0], self.item_ids.rows])
        return tf.matmul(tf.minimum(taken, 1.0), self.weights_of_pairs.value)  # the row of padding is 0

    def candidates(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the items' ids as numbers, `[C, 1]`."""
        return tf.cast(self.item_ids.of_items(features), tf.float32)[:, tf.newaxis]

    def score(self, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Returns the scores of the candidates' ids, `[B, C]`."""
        ids = tf.cast(candidates[..., 0], tf.int32)
        return tf.gather(query, ids, axis=-1, batch_dims=ids.shape.rank - 1)

    def fit_closed_form(self, interactions: Any, catalogue: Any) -> None:  # noqa: ANN401 (see the base class)
        """Solves for the weights, in float64."""
        ids = catalogue.ids[interactions.items]
        self.weights_of_pairs.assign(item_regression(interactions.users, ids, self.item_ids.rows, self.l2))
