"""Self-attentive sequential recommendation (SASRec).

Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, https://arxiv.org/abs/1808.09781, section III.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf

from trainer.layers import CausalBlock, Dropout, Inputs, Packing, check_positive, check_sizes
from trainer.models.base import MatchingModel
from trainer.models.registry import register


@register("sasrec")
class SASRec(MatchingModel):
    """Attends to all earlier items at each position of the history, to predict the next; scores are inner products with the items' vectors.

    History and candidates share the items' vectors, those of the history times sqrt(D). Positions have learned vectors and are counted
    from the end: the most recent item is at the last, as with the paper's padding on the left.

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of the vectors.
        num_layers, num_heads: Blocks, and the heads of each.
        dropout: Rate, on the vectors of the history and in the blocks.
        max_length: How many of the last items it reads.
        normalize: Whether both vectors are scaled to length 1, as softmax losses like it (Zhai et al., ICML 2024; with temperature .05).
        temperature: What scores are divided by.
    """

    loss = "bce"
    num_negatives = 1
    examples = "sequences"

    def __init__(
        self,
        inputs: Inputs,
        *,
        embedding_dim: int = 50,
        num_layers: int = 2,
        num_heads: int = 1,
        dropout: float = 0.2,
        max_length: int = 50,
        normalize: bool = False,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        check_sizes(num_layers=num_layers, max_length=max_length)
        check_positive(temperature=temperature)
        self.max_length, self.normalize, self.temperature = max_length, normalize, temperature
        self.items = inputs.items(embedding_dim, initializer=keras.initializers.GlorotUniform())
        self.positions = self.add_weight(shape=(max_length, self.items.width), initializer="glorot_uniform", name="positions")
        self.dropout = Dropout(dropout, name="dropout")
        self.blocks = [CausalBlock(self.items.width, num_heads, dropout, name=f"block_{number}") for number in range(num_layers)]
        self.norm = keras.layers.LayerNormalization(epsilon=1e-8, name="norm")

    def query(self, features: Mapping[str, tf.Tensor], all_positions: bool = False) -> tf.Tensor:
        """Returns the state after the last item, `[B, D]`, zero without any; or after each, `[B, T, D]`."""
        ids, lengths = self.items.recent_ids(features, self.max_length)
        packing = Packing(lengths)
        items = self.items.of_ids(packing.pack(ids))
        places = packing.steps + tf.gather(self.max_length - lengths, packing.rows)
        positions = tf.gather(tf.convert_to_tensor(self.positions), tf.minimum(places, self.max_length - 1))
        steps = self.dropout(items * self.items.width**0.5 + tf.cast(positions, items.dtype))
        for block in self.blocks[:-1]:
            steps = block(steps, packing=packing)
        last = self._scaled(self.norm(self.blocks[-1](steps, packing=packing, only_last=not all_positions))) / self.temperature
        return packing.padded(last) if all_positions else last * tf.cast(lengths > 0, last.dtype)[:, tf.newaxis]

    def candidates(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the items' vectors, `[C, D]`."""
        return self._scaled(self.items(features))

    def _scaled(self, vectors: tf.Tensor) -> tf.Tensor:
        return tf.math.l2_normalize(vectors, axis=-1) if self.normalize else vectors
