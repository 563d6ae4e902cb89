"""Row-wise optimizers of embedding tables: a step costs what its batch looks up, whatever the size of the table.

During a training step the optimizer answers the tables' look-ups: it reads each row once, with its state, and what the model sees is a
gather from these few rows. So gradients are with respect to them, equal rows are summed by back-propagation itself, and the step ends
with one scatter a variable.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from trainer.layers import StackedTable

_ROWS_AT_ONCE = 1 << 18


class Lookup(NamedTuple):
    """What a step has read from one table, each row once.

    Attributes:
        number: Which table.
        rows: Row numbers, `[U]` int32.
        weights: The rows, up to date, `[U, D]`: what gradients are taken with respect to.
        state: The optimizer's state of these rows, `[U, ...]` each, as their last update has left it.
    """

    number: int
    rows: tf.Tensor
    weights: tf.Tensor
    state: tuple[tf.Tensor, ...]


class Update(NamedTuple):
    """A look-up and the gradient of its rows, `[U, D]`; a table has one a step."""

    lookup: Lookup
    gradient: tf.Tensor


class RowwiseOptimizer(abc.ABC):
    """Updates only the rows that a batch looks up.

    Args:
        tables: The stacked tables of the model, built.
        learning_rate: Step size; a variable of it may change when all rows are up to date, after `finish`.
        l2: lambda of (lambda / 2) * sum of squares over the rows of the batch; tables with one of their own (`StackedTable.l2`) use that.
        step: Counts finished optimizer steps, int64.
    """

    def __init__(self, tables: Sequence[StackedTable], learning_rate: float | tf.Variable, l2: float, step: tf.Variable) -> None:
        self.tables, self.learning_rate, self.l2, self.step = list(tables), learning_rate, l2, step
        # Side by side in one variable: on large tables a step is bound by how often it goes to memory.
        self._parts = [self._state_parts(table.dim) for table in self.tables]
        self.variables: list[tf.Variable] = []
        """The state of each table, `[rows, ...]`, in a fixed order; none where the optimizer has no state."""
        for table, parts in zip(self.tables, self._parts, strict=True):
            if parts:
                rows = table.table.shape[0]
                start = tf.concat([tf.fill([width], value) for width, value in parts], 0)
                self.variables.append(tf.Variable(tf.broadcast_to(start, [rows, start.shape[0]]), trainable=False))

    @contextmanager
    def answering_lookups(self) -> Iterator[list[Lookup]]:
        """Answers the tables' look-ups inside the block, and notes them in the list that it gives."""
        lookups: list[Lookup] = []

        def answer(number: int, rows: tf.Tensor, present: tf.Tensor | None) -> tf.Tensor:
            distinct, position = tf.unique(tf.cast(rows, tf.int32))
            lookups.append(self._read(number, distinct))
            weights = lookups[-1].weights
            if present is not None:  # zeros in the few rows, in place of their many copies
                absent = tf.gather(position, tf.where(~present))
                weights = tf.tensor_scatter_nd_update(weights, absent, tf.zeros([tf.shape(absent)[0], weights.shape[1]]))
            return tf.gather(weights, position)

        for number, table in enumerate(self.tables):
            table.answer = functools.partial(answer, number)
        try:
            yield lookups
        finally:
            for table in self.tables:
                table.answer = None

    def updates(self, lookups: Sequence[Lookup], gradients: Sequence[tf.Tensor | tf.IndexedSlices | None]) -> list[Update]:
        """Returns one update a table, with the penalty's gradient added.

        Args:
            lookups: Of the step.
            gradients: With respect to the weights of each.
        """
        merged = []
        for number in sorted({lookup.number for lookup in lookups}):
            pairs = [(u, _dense(g, u)) for u, g in zip(lookups, gradients, strict=True) if u.number == number]
            lookup, gradient = pairs[0] if len(pairs) == 1 else _merge(pairs)
            merged.append(Update(lookup, gradient + self._penalty(lookup)))
        return merged

    def _penalty(self, lookup: Lookup) -> tf.Tensor | float:
        """Returns the gradient of the penalty on the rows of a look-up, `[U, D]`."""
        table = self.tables[lookup.number]
        declared: dict[str, float] = getattr(table, "l2", {})
        if not declared:
            return self.l2 * lookup.weights if self.l2 else 0.0
        by_table = tf.constant([declared.get(name, self.l2) for name in table.offsets], tf.float32)
        starts = tf.constant(list(table.offsets.values()), tf.int32)
        number = tf.searchsorted(starts, lookup.rows, side="right") - 1
        return tf.gather(by_table, number)[:, tf.newaxis] * lookup.weights

    @abc.abstractmethod
    def apply(self, update: Update) -> None:
        """Writes the rows and their state as they are after the step that follows `step`."""

    def finish(self) -> None:  # noqa: B027 (most optimizers owe a row nothing)
        """Brings every row up to date, as evaluation needs; costs one pass over the tables."""

    @abc.abstractmethod
    def _state_parts(self, dim: int) -> list[tuple[int, float]]:
        """Returns the state of a row of `dim` numbers: the width of each part, and the value that it begins with."""

    def _read(self, number: int, rows: tf.Tensor) -> Lookup:
        weights, parts = tf.gather(self.tables[number].table.value, rows), self._parts[number]
        state = [tf.gather(self.variables[number], rows)] if parts else []
        if len(parts) > 1:
            state = tf.split(state[0], [width for width, _ in parts], axis=1)
        return Lookup(number, rows, weights, tuple(state))

    def _write(self, lookup: Lookup) -> None:
        # Rows are distinct, so that updating is subtracting; TensorFlow's scatter_sub is over ten times slower on large tables.
        self.tables[lookup.number].table.value.scatter_update(tf.IndexedSlices(lookup.weights, lookup.rows))
        if lookup.state:
            state = lookup.state[0] if len(lookup.state) == 1 else tf.concat(lookup.state, axis=1)
            self.variables[lookup.number].scatter_update(tf.IndexedSlices(state, lookup.rows))


class SGD(RowwiseOptimizer):
    """Gradient descent: w -= lr * g."""

    def apply(self, update: Update) -> None:
        """See the base class."""
        lookup, gradient = update
        self._write(lookup._replace(weights=lookup.weights - self.learning_rate * gradient))

    def _state_parts(self, dim: int) -> list[tuple[int, float]]:  # noqa: ARG002 (it has none)
        return []


class Adagrad(RowwiseOptimizer):
    """Adagrad: w -= lr * g / sqrt(sum of g^2 + epsilon).

    Duchi, Hazan and Singer, "Adaptive Subgradient Methods", JMLR 2011. A row without gradient does not move, so that the row-wise
    update is exactly the dense one.
    """

    initial_accumulator = 0.1
    epsilon = 1e-7

    def apply(self, update: Update) -> None:
        """See the base class."""
        lookup, gradient = update
        total = lookup.state[0] + tf.square(gradient)
        weights = lookup.weights - self.learning_rate * gradient * tf.math.rsqrt(total + self.epsilon)
        self._write(lookup._replace(weights=weights, state=(total,)))

    def _state_parts(self, dim: int) -> list[tuple[int, float]]:
        return [(dim, self.initial_accumulator)]


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

    A row's state is m / (1 - b1), v / (1 - b2) and the step that they are of: the factors are constants of the update.
    """

    beta_1, beta_2, epsilon = 0.9, 0.999, 1e-7

    def __init__(self, tables: Sequence[StackedTable], learning_rate: float | tf.Variable, l2: float, step: tf.Variable) -> None:
        super().__init__(tables, learning_rate, l2, step)
        self.ratio = float(self.beta_1 / np.sqrt(self.beta_2))
        self._tails = tf.constant(self._tail_sums(), tf.float32)
        self._epsilon = self.epsilon / float(np.sqrt(1 - self.beta_2))

    def apply(self, update: Update) -> None:
        """See the base class."""
        lookup, gradient = update
        moment, velocity, updated_at = lookup.state
        now = tf.cast(self.step + 1, tf.float32)
        moment = _power(self.beta_1, now - updated_at) * moment + gradient
        velocity = _power(self.beta_2, now - updated_at) * velocity + tf.square(gradient)
        rate = self._scale * tf.sqrt(1 - self.beta_2**now) / (1 - self.beta_1**now)
        weights = lookup.weights - moment / ((tf.sqrt(velocity) + self._epsilon) / rate)
        self._write(lookup._replace(weights=weights, state=(moment, velocity, tf.fill(tf.shape(updated_at), now))))

    @tf.function
    def finish(self) -> None:
        """See the base class."""
        now = tf.cast(self.step, tf.float32)
        for number, table in enumerate(self.tables):
            count = table.table.shape[0]
            for start in tf.range(0, count, _ROWS_AT_ONCE):
                lookup = self._read(number, tf.range(start, tf.minimum(start + _ROWS_AT_ONCE, count)))
                moment, velocity, updated_at = lookup.state
                moment, velocity = _power(self.beta_1, now - updated_at) * moment, _power(self.beta_2, now - updated_at) * velocity
                self._write(lookup._replace(state=(moment, velocity, tf.fill(tf.shape(updated_at), now))))

    def _read(self, number: int, rows: tf.Tensor) -> Lookup:
        """Returns rows as they are now, after the steps without gradient since their last update, and their state as this has left it."""
        lookup = super()._read(number, rows)
        moment, velocity, updated_at = lookup.state
        now = tf.cast(self.step, tf.float32)
        owed = self._tail(updated_at) - _power(self.ratio, now - updated_at) * self._tail(now)
        return lookup._replace(weights=lookup.weights - moment / (tf.sqrt(velocity) + self._epsilon) * (self._scale * owed))

    @property
    def _scale(self) -> float | tf.Tensor:
        return self.learning_rate * ((1 - self.beta_1) / float(np.sqrt(1 - self.beta_2)))

    def _tail(self, step: tf.Tensor) -> tf.Tensor:
        return tf.gather(self._tails, tf.cast(tf.minimum(step, self._tails.shape[0] - 1.0), tf.int32))

    def _tail_sums(self) -> np.ndarray:
        """Returns A(0), A(1), ... until the bias corrections have died out."""
        last = int(np.ceil(np.log(1e-8) / np.log(self.beta_2)))
        k = np.arange(1, last + 2, dtype=np.float64)
        corrections = np.sqrt(1 - self.beta_2**k) / (1 - self.beta_1**k)  # c_1, c_2, ...
        tails = np.full(last + 2, self.ratio / (1 - self.ratio))
        for s in range(last, -1, -1):
            tails[s] = self.ratio * (corrections[s] + tails[s + 1])
        return tails

    def _state_parts(self, dim: int) -> list[tuple[int, float]]:
        return [(dim, 0.0), (dim, 0.0), (1, 0.0)]


def _power(base: float, exponent: tf.Tensor) -> tf.Tensor:
    return tf.exp(exponent * float(np.log(base)))


def _dense(gradient: tf.Tensor | tf.IndexedSlices | None, lookup: Lookup) -> tf.Tensor:
    if gradient is None:
        return tf.zeros_like(lookup.weights)
    if isinstance(gradient, tf.IndexedSlices):
        return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, tf.size(lookup.rows))
    return gradient


def _merge(pairs: Sequence[tuple[Lookup, tf.Tensor]]) -> tuple[Lookup, tf.Tensor]:
    """Returns several look-ups in one table as one; rows that two of them have read were equal, their gradients add up."""
    rows, position = tf.unique(tf.concat([lookup.rows for lookup, _ in pairs], 0))
    count = tf.size(rows)

    def any_of(parts: Sequence[tf.Tensor]) -> tf.Tensor:
        return tf.math.unsorted_segment_max(tf.concat(parts, 0), position, count)

    weights = any_of([lookup.weights for lookup, _ in pairs])
    state = tuple(any_of(parts) for parts in zip(*(lookup.state for lookup, _ in pairs), strict=True))
    gradient = tf.math.unsorted_segment_sum(tf.concat([gradient for _, gradient in pairs], 0), position, count)
    return Lookup(pairs[0][0].number, rows, weights, state), gradient
