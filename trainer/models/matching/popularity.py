"""Popularity: everybody gets what was taken most often.

Ji et al., "A Re-visit of the Popularity Baseline in Recommender Systems", SIGIR 2020, https://arxiv.org/abs/2005.13829, section 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.layers import Inputs
from trainer.models.base import MatchingModel
from trainer.models.registry import register


@register("popularity")
class Popularity(MatchingModel):
    """Scores an item by its number of training interactions, whoever the user is: what every other model has to beat.

    Args:
        inputs: The shared input layers of the data set.
    """

    closed_form = True

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        self.item_ids = inputs.item_ids()
        self.counts = self.add_weight(
            shape=(self.item_ids.rows,), initializer="zeros", dtype="float32", autocast=False, trainable=False, name="counts"
        )

    def query(self, features: Mapping[str, tf.Tensor], all_positions: bool = False) -> tf.Tensor:
        """Returns ones, `[B, 1]`."""
        del all_positions  # a user is as good as any other
        return tf.ones([tf.shape(next(iter(features.values())))[0], 1])

    def candidates(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the items' counts, `[C, 1]`."""
        return tf.gather(self.counts.value, self.item_ids.of_items(features))[:, tf.newaxis]

    def fit_closed_form(self, interactions: Any, catalogue: Any) -> None:  # noqa: ANN401 (see the base class)
        """Counts; items that share an id, such as an OOV bucket, count as the most frequent of them."""
        counts = np.zeros(self.item_ids.rows, np.float32)
        np.maximum.at(counts, catalogue.ids, np.bincount(interactions.items, minlength=catalogue.num_items).astype(np.float32))
        self.counts.assign(counts)
