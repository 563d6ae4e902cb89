"""What a step of an optimizer costs: a gather, the gradient of its rows and the update of one table, ours and Keras' in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.training_shapes import draw
from trainer.ftrl import Ftrl
from trainer.layers import StackedTable
from trainer.optimizers import SGD, Adagrad, LazyAdam, RowwiseOptimizer

WIDTH, IDS, EXPONENT = 16, 4096 * 26, 1.05
STEPS, TURNS = 4, 7
PAIRS = {
    "SGD": (SGD, keras.optimizers.SGD),
    "Adagrad": (Adagrad, keras.optimizers.Adagrad),
    "FTRL": (Ftrl, keras.optimizers.Ftrl),
    "lazy Adam": (LazyAdam, keras.optimizers.Adam),
}


class Contender:
    """A table in training: a gather, the gradient of its rows, and the update, as one graph.

    Args:
        kind: Class of the optimizer, ours or Keras'.
        rows: Of the table.
        ids: Of the steps, `[STEPS, IDS]`.
    """

    def __init__(self, kind: Any, rows: int, ids: tf.Tensor) -> None:  # noqa: ANN401 (of two libraries)
        self.table = StackedTable({"table": rows}, WIDTH)
        self.gradient = tf.random.stateless_normal([IDS, WIDTH], [1, 2])
        step = (self._rowwise if issubclass(kind, RowwiseOptimizer) else self._dense)(kind)

        @tf.function
        def run() -> None:
            for number in tf.range(STEPS):
                step(tf.gather(ids, number))

        self.run = run

    def _rowwise(self, kind: Any) -> Any:  # noqa: ANN401 (a function of ids)
        count = tf.Variable(0, dtype=tf.int64, trainable=False)
        optimizer = kind([self.table], tf.Variable(0.001, trainable=False), 0.0, count)

        def step(ids: tf.Tensor) -> None:
            with optimizer.answering_lookups() as lookups, tf.GradientTape() as tape:
                loss = tf.reduce_sum(self.table(ids, training=True) * self.gradient)
            gradients = tape.gradient(loss, [lookup.weights for lookup in lookups])
            for update in optimizer.updates(lookups, gradients):
                optimizer.apply(update)
            count.assign_add(1)

        return step

    def _dense(self, kind: Any) -> Any:  # noqa: ANN401 (a function of ids)
        optimizer = kind(0.001)
        optimizer.build([self.table.table])

        def step(ids: tf.Tensor) -> None:
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(self.table(ids) * self.gradient)
            optimizer.apply(tape.gradient(loss, [self.table.table.value]), [self.table.table])

        return step

    def take_turn(self) -> float:
        """Returns the milliseconds of a step, the mean of STEPS in one call."""
        started = time.perf_counter()
        self.run()
        return (time.perf_counter() - started) / STEPS * 1000


def measure(rows: int) -> Iterator[dict[str, Any]]:
    """Yields for each optimizer the milliseconds of a step over a table of `rows` rows: ours and Keras', a median and the range."""
    ids = tf.constant(draw(np.random.default_rng(0), rows - 1, STEPS * IDS, EXPONENT).reshape(STEPS, IDS))
    for name, (ours, theirs) in PAIRS.items():
        contenders = {"ours": Contender(ours, rows, ids), "keras": Contender(theirs, rows, ids)}
        times: dict[str, list[float]] = {who: [] for who in contenders}
        for turn in range(TURNS + 1):
            for who, contender in contenders.items():
                taken = contender.take_turn()
                if turn:  # the first one traces
                    times[who].append(taken)
        yield {"part": "speed", "optimizer": name, "rows": rows} | {
            who: [statistics.median(each), min(each), max(each)] for who, each in times.items()
        }
