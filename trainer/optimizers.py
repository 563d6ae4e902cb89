"""Row-wise optimizers of embedding tables: a step costs what its batch looks up, whatever the size of the table.

Gradients arrive as IndexedSlices. Equal rows are summed first, so that an update is applied once a row and the result does not depend
on the order of the batch.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from trainer.layers import StackedTable

_ROWS_AT_ONCE = 1 << 18

def deduplicate(slices: tf.IndexedSlices) -> tf.IndexedSlices:
    """Returns the same gradient with each row named once: values `[U, D]`, indices `[U]`."""
    rows, position = tf.unique(tf.cast(slices.indices, tf.int64))
    values = tf.math.unsorted_segment_sum(tf.cast(slices.values, tf.float32), position, tf.size(rows))
    return tf.IndexedSlices(values, rows, slices.dense_shape)


class RowwiseOptimizer(abc.ABC):
    """Updates only the rows that a batch looks up.

    Args:
        tables: The stacked tables of the model, built.
        learning_rate: Step size.
        l2: lambda of (lambda / 2) * sum of squares over the rows of the batch.
        step: Counts finished optimizer steps, int64.
    """

    def __init__(self, tables: Sequence[StackedTable], learning_rate: float, l2: float, step: tf.Variable) -> None:
        self.tables, self.learning_rate, self.l2, self.step = list(tables), learning_rate, l2, step
        self.slots: list[dict[str, tf.Variable]] = [self._make_slots(table.table.value) for table in self.tables]

    @property
    def variables(self) -> list[tf.Variable]:
        """All state, in a fixed order."""
        return [slot for slots in self.slots for slot in slots.values()]

    def attach(self) -> None:  # noqa: B027 (most optimizers owe a row nothing)
        """Has the tables bring rows up to date before they are looked up in training."""

    def add_l2(self, number: int, gradient: tf.IndexedSlices) -> tf.IndexedSlices:
        """Returns the de-duplicated gradient of table `number` with the penalty's gradient added."""
        if not self.l2:
            return gradient
        rows = tf.gather(self.tables[number].table.value, gradient.indices)
        return tf.IndexedSlices(gradient.values + self.l2 * rows, gradient.indices, gradient.dense_shape)

    @abc.abstractmethod
    def apply(self, number: int, gradient: tf.IndexedSlices) -> None:
        """Updates table `number` by its de-duplicated gradient, in the step after `step`."""

    def finish(self) -> None:  # noqa: B027
        """Brings every row up to date, as evaluation needs; costs one pass over the tables."""

    @abc.abstractmethod
    def _make_slots(self, table: tf.Variable) -> dict[str, tf.Variable]:
        """Returns the state of one table."""


class Adagrad(RowwiseOptimizer):
    """Adagrad: w -= lr * g / sqrt(sum of g^2 + epsilon).

    Duchi, Hazan and Singer, "Adaptive Subgradient Methods", JMLR 2011. A row without gradient does not move, so that the row-wise
    update is exactly the dense one.
    """

    initial_accumulator = 0.1
    epsilon = 1e-7

    def apply(self, number: int, gradient: tf.IndexedSlices) -> None:
        """See the base class."""
        accumulator, table = self.slots[number]["accumulator"], self.tables[number].table.value
        total = tf.gather(accumulator, gradient.indices) + tf.square(gradient.values)
        accumulator.scatter_update(tf.IndexedSlices(total, gradient.indices))
        change = self.learning_rate * gradient.values * tf.math.rsqrt(total + self.epsilon)
        table.scatter_sub(tf.IndexedSlices(change, gradient.indices))

    def _make_slots(self, table: tf.Variable) -> dict[str, tf.Variable]:
        return {"accumulator": tf.Variable(tf.fill(table.shape, self.initial_accumulator), trainable=False)}


class LazyAdam(RowwiseOptimizer):
    r"""Adam whose skipped steps are made up for when a row is next looked up.

    Kingma and Ba, "Adam", ICLR 2015. Dense Adam moves a row also in steps without gradient, by its decaying momentum; after one
    gradient these moves add up to about ten times the first one, so that leaving them out (as lazy Adams do) trains rare rows less.
    With g = 0 in the n steps after step s,

        m_{s+j} = b1^j m_s,   v_{s+j} = b2^j v_s,   w moves by  -lr * sum_{j=1..n} c_{s+j} b1^j m_s / (sqrt(b2^j v_s) + eps),

    c_k = sqrt(1 - b2^k) / (1 - b1^k). The terms fall as r^j, r = b1 / sqrt(b2), long before b2^j does, so eps may be scaled with
    sqrt(v) and the sum is A(s) - r^n A(s + n), where A(s) = sum_{j>=1} c_{s+j} r^j is a function of s alone: one look-up. Rows are
    brought up to date before the forward pass reads them, and all of them before evaluation (`finish`): the outcome is dense Adam's,
    to rounding.
    """

    beta_1, beta_2, epsilon = 0.9, 0.999, 1e-7

    def __init__(self, tables: Sequence[StackedTable], learning_rate: float, l2: float, step: tf.Variable) -> None:
        super().__init__(tables, learning_rate, l2, step)
        self.ratio = float(self.beta_1 / np.sqrt(self.beta_2))
        self._tails = tf.constant(self._tail_sums(), tf.float32)

    def _tail_sums(self) -> np.ndarray:
        """Returns A(0), A(1), ... until the bias corrections have died out."""
        last = int(np.ceil(np.log(1e-8) / np.log(self.beta_2)))
        k = np.arange(last + 2, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            corrections = np.sqrt(1 - self.beta_2**k) / (1 - self.beta_1**k)
        tails = np.full(last + 2, self.ratio / (1 - self.ratio))
        for s in range(last, -1, -1):
            tails[s] = self.ratio * (corrections[s + 1] + tails[s + 1])
        return tails

    def attach(self) -> None:
        """See the base class."""
        for number, table in enumerate(self.tables):
            table.before_lookup = lambda _, rows, number=number: self._catch_up(number, tf.unique(tf.cast(rows, tf.int64))[0])

    def apply(self, number: int, gradient: tf.IndexedSlices) -> None:
        """See the base class."""
        rows, slots, table = gradient.indices, self.slots[number], self.tables[number].table.value
        now = tf.cast(self.step + 1, tf.int32)
        passed = tf.cast(now - tf.gather(slots["updated_at"], rows), tf.float32)[:, tf.newaxis]
        moment = self.beta_1**passed * tf.gather(slots["moment"], rows) + (1 - self.beta_1) * gradient.values
        velocity = self.beta_2**passed * tf.gather(slots["velocity"], rows) + (1 - self.beta_2) * tf.square(gradient.values)
        slots["moment"].scatter_update(tf.IndexedSlices(moment, rows))
        slots["velocity"].scatter_update(tf.IndexedSlices(velocity, rows))
        for slot in ("updated_at", "moved_at"):
            slots[slot].scatter_update(tf.IndexedSlices(tf.fill(tf.shape(rows), now), rows))
        time = tf.cast(now, tf.float32)
        rate = self.learning_rate * tf.sqrt(1 - self.beta_2**time) / (1 - self.beta_1**time)
        table.scatter_sub(tf.IndexedSlices(rate * moment / (tf.sqrt(velocity) + self.epsilon), rows))

    @tf.function
    def finish(self) -> None:
        """See the base class."""
        for number, table in enumerate(self.tables):
            count = table.table.shape[0]
            for start in tf.range(0, count, _ROWS_AT_ONCE):
                self._catch_up(number, tf.range(start, tf.minimum(start + _ROWS_AT_ONCE, count)))

    def _catch_up(self, number: int, rows: tf.Tensor) -> None:
        """Moves `rows`, each named once, as the steps without gradient since they last moved would have; the moments wait for `apply`."""
        slots, now = self.slots[number], tf.cast(self.step, tf.int32)
        updated_at, moved_at = tf.gather(slots["updated_at"], rows), tf.gather(slots["moved_at"], rows)
        weight = self._tail(updated_at, moved_at) - self._tail(updated_at, tf.fill(tf.shape(rows), now))
        moment, velocity = tf.gather(slots["moment"], rows), tf.gather(slots["velocity"], rows)
        move = self.learning_rate * weight[:, tf.newaxis] * moment / (tf.sqrt(velocity) + self.epsilon)
        self.tables[number].table.value.scatter_sub(tf.IndexedSlices(move, rows))
        slots["moved_at"].scatter_update(tf.IndexedSlices(tf.fill(tf.shape(rows), now), rows))

    def _tail(self, updated_at: tf.Tensor, moved_at: tf.Tensor) -> tf.Tensor:
        """Returns the weight of all moves that follow step `moved_at`, for moments of step `updated_at`: r^(moved - updated) A(moved)."""
        tail = tf.gather(self._tails, tf.minimum(moved_at, self._tails.shape[0] - 1))
        return self.ratio ** tf.cast(moved_at - updated_at, tf.float32) * tail

    def _make_slots(self, table: tf.Variable) -> dict[str, tf.Variable]:
        moments = {name: tf.Variable(tf.zeros(table.shape), trainable=False) for name in ("moment", "velocity")}
        steps = {name: tf.Variable(tf.zeros(table.shape[:1], tf.int32), trainable=False) for name in ("updated_at", "moved_at")}
        return moments | steps


ROWWISE_OPTIMIZERS: dict[str, type[RowwiseOptimizer]] = {"lazy_adam": LazyAdam, "adagrad": Adagrad}
