"""Recurrent network over the history (GRU4Rec).

Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016, https://arxiv.org/abs/1511.06939, section 3;
shared vectors of items: Hidasi and Karatzoglou, "Recurrent Neural Networks with Top-k Gains", CIKM 2018, https://arxiv.org/abs/1706.03847.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf

from trainer.layers import Dropout, Inputs, after_last, check_sizes, check_widths
from trainer.models.base import MatchingModel
from trainer.models.registry import register


@register("gru4rec")
class GRU4Rec(MatchingModel):
    """Reads the history by gated recurrent units; scores are inner products of their state with the items' vectors.

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of the items' vectors and of the state.
        num_layers: GRUs, one on the states of the other.
        dropout: Rate, on the vectors of the history and on the states.
        shared_items: Whether the items of the history have the same vectors as the candidates; else each has two.
        max_length: How many of the last items it reads.
    """

    loss = "bpr"
    num_negatives = 1
    examples = "sequences"

    def __init__(
        self,
        inputs: Inputs,
        *,
        embedding_dim: int = 100,
        num_layers: int = 1,
        dropout: float = 0.2,
        shared_items: bool = True,
        max_length: int = 50,
    ) -> None:
        super().__init__()
        check_sizes(num_layers=num_layers, max_length=max_length)
        self.max_length = max_length
        # Glorot, as an embedding of small numbers would leave the gates closed for long.
        initializer = keras.initializers.GlorotUniform()
        self.items = inputs.items(embedding_dim, initializer=initializer)
        self.targets = self.items if shared_items else inputs.items(embedding_dim, initializer=initializer, name="targets")
        check_widths(self.items.width, self.targets.width, "The vectors of candidates")
        width = self.items.width
        # As in the paper, the reset gate comes before the product (equation 3).
        self.units = [keras.layers.GRU(width, return_sequences=True, reset_after=False, name=f"gru_{i}") for i in range(num_layers)]
        self.dropouts = [Dropout(dropout, name=f"dropout_{i}") for i in range(num_layers + 1)]

    def query(self, features: Mapping[str, tf.Tensor], all_positions: bool = False) -> tf.Tensor:
        """Returns the state after the last item, `[B, D]`, zero without any; or after each, `[B, T, D]`."""
        items, lengths = self.items.history(features, self.max_length)
        states = self.dropouts[0](items)
        for unit, dropout in zip(self.units, self.dropouts[1:], strict=True):
            states = dropout(unit(states))
        return states if all_positions else after_last(states, lengths)

    def candidates(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the items' vectors, `[C, D]`."""
        return self.targets(features)
