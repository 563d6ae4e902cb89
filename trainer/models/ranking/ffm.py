"""Field-aware factorization machine (FFM).

Juan et al., "Field-aware Factorization Machines for CTR Prediction", RecSys 2016, https://doi.org/10.1145/2959100.2959134.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from feature_specs import ColonnadeError
from trainer.layers import Bias, Inputs, check_sizes
from trainer.layers.pairs import check_pairs, pair_places
from trainer.models.base import RankingModel
from trainer.models.registry import register


@register("ffm")
class FFM(RankingModel):
    """w_0 + sum_i w_i + sum_{i<j} <v_{i,f_j}, v_{j,f_i}> (equation 4): a token has one vector for each other field.

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of each of the F - 1 vectors.
    """

    def __init__(self, inputs: Inputs, *, embedding_dim: int = 4) -> None:
        super().__init__()
        check_sizes(embedding_dim=embedding_dim)
        self.dim, self.count = embedding_dim, len(inputs.vector_names)
        check_pairs("FFM", inputs.vector_names)
        width = embedding_dim * (self.count - 1)
        self.fields = inputs.fields_and_first_order(width, values_apart=True)
        if self.fields.width != width:
            raise ColonnadeError(
                f"FFM's rows hold a vector for each other field: their width is {width}, embedding_dim * (fields - 1). The spec declares "
                f"{self.fields.width}. Leave `embedding_dim` out of the spec."
            )
        self.bias = Bias(name="bias")

    def parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the first-order term with the bias, and the interaction, each `[B]`."""
        vectors, first_order = self.fields(features)
        others = self.count - 1
        by_field = tf.reshape(vectors, [-1, self.count * others, self.dim])
        places = list(zip(*pair_places(self.count), strict=True))
        # Field i has no vector for itself: that for field j is number j - 1 where j > i, and number j where j < i.
        left = tf.gather(by_field, [i * others + j - 1 for i, j in places], axis=1)
        right = tf.gather(by_field, [j * others + i for i, j in places], axis=1)
        return {"first_order": self.bias(first_order), "interaction": tf.reduce_sum(tf.cast(left * right, tf.float32), axis=[1, 2])}
