"""Two towers, trained by in-batch softmax.

Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019,
https://doi.org/10.1145/3298689.3346996.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from trainer.layers import Inputs, Tower, check_positive, check_sizes
from trainer.models.base import MatchingModel
from trainer.models.registry import register


@register("two_tower")
class TwoTower(MatchingModel):
    """The cosine, over a temperature, of what one network makes of the user's side and another of the item's.

    Each side is all of its fields side by side. Where there is a history, the mean of its items, as the item's side has them, is one of the
    user's fields; then users whom training has not seen are served.

    Args:
        inputs: The shared input layers of the data set.
        embedding_dim: Width of a field.
        hidden_units: Widths of each tower's hidden layers.
        output_dim: Width of the towers' last layers.
        dropout: Rate after each hidden layer.
        normalize: Whether both vectors are scaled to length 1.
        temperature: What scores are divided by.
        max_length: How many of the last items of a history count; 0 for none.
    """

    loss = "in_batch_softmax"

    def __init__(
        self,
        inputs: Inputs,
        *,
        embedding_dim: int = 32,
        hidden_units: tuple[int, ...] = (128,),
        output_dim: int = 64,
        dropout: float = 0.0,
        normalize: bool = True,
        temperature: float = 0.05,
        max_length: int = 50,
    ) -> None:
        super().__init__()
        check_positive(temperature=temperature)
        check_sizes(0, max_length=max_length)
        spec, self.temperature = inputs.spec, temperature
        self.max_length = max_length if spec.history else 0
        needs_users = not self.max_length
        self.users = inputs.users(embedding_dim, needs_users=needs_users, flat=True) if spec.user_names or needs_users else None
        self.items = inputs.items(embedding_dim, flat=True)
        width = (self.users.width if self.users else 0) + (self.items.width if self.max_length else 0)
        widths = {"user_tower": width, "item_tower": self.items.width}
        self.user_tower, self.item_tower = (
            Tower(each, hidden_units, output_dim, dropout=dropout, normalize=normalize, name=name) for name, each in widths.items()
        )

    def query(self, features: Mapping[str, tf.Tensor], all_positions: bool = False) -> tf.Tensor:
        """Returns the users' vectors over the temperature, `[B, D]`."""
        del all_positions  # trained on pairs
        sides = [self.users(features)] if self.users else []
        if self.max_length:
            vectors, lengths = self.items.history(features, self.max_length)
            sides.append(tf.reduce_sum(vectors, 1) / tf.cast(tf.maximum(lengths, 1), vectors.dtype)[:, tf.newaxis])
        return self.user_tower(tf.concat(sides, 1)) / self.temperature

    def candidates(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the items' vectors, `[C, D]`."""
        return self.item_tower(self.items(features))
