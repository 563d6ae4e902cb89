"""Row-wise FTRL, the optimizer of wide sides."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from trainer.layers import StackedTable
from trainer.optimizers import RowwiseOptimizer, Update


class Ftrl(RowwiseOptimizer):
    r"""FTRL-Proximal: follows the regularised leader, so that with l1 rarely useful weights are exactly zero.

    McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD 2013, algorithm 1, in Keras' parameters:

        n' = n + g^2,   z' = z + g - (sqrt(n') - sqrt(n)) / lr * w,
        w' = 0 where |z'| <= l1, else (sign(z') l1 - z') / (sqrt(n') / lr + 2 l2).

    A row without gradient stays where it was, so that on weights that begin at zero the row-wise update is exactly the dense one.

    Args:
        tables: The stacked tables, built.
        learning_rate: Step size.
        l2: lambda of (lambda / 2) * sum of squares over the rows of the batch: it is part of the gradient.
        step: Counts finished optimizer steps, int64.
        proximal_l1: l1 of the formula.
        proximal_l2: l2 of the formula.
    """

    initial_accumulator = 0.1

    def __init__(
        self,
        tables: Sequence[StackedTable],
        learning_rate: float | tf.Variable,
        l2: float,
        step: tf.Variable,
        *,
        proximal_l1: float = 0.0,
        proximal_l2: float = 0.0,
    ) -> None:
        super().__init__(tables, learning_rate, l2, step)
        self.proximal_l1, self.proximal_l2 = proximal_l1, proximal_l2

    def apply(self, update: Update) -> None:
        """See the base class."""
        lookup, gradient = update
        total, linear = lookup.state
        new_total = total + tf.square(gradient)
        linear += gradient - (tf.sqrt(new_total) - tf.sqrt(total)) / self.learning_rate * lookup.weights
        quadratic = tf.sqrt(new_total) / self.learning_rate + 2 * self.proximal_l2
        weights = (tf.clip_by_value(linear, -self.proximal_l1, self.proximal_l1) - linear) / quadratic
        self._write(lookup._replace(weights=weights, state=(new_total, linear)))

    def _state_parts(self, dim: int) -> list[tuple[int, float]]:
        return [(dim, self.initial_accumulator), (dim, 0.0)]
