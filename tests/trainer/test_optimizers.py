"""Row-wise optimizers against Keras' dense ones, on tables whose rows are looked up rarely, often and never."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.layers import StackedTable
from trainer.optimizers import Adagrad, LazyAdam, RowwiseOptimizer, deduplicate

ROWS, DIM, STEPS = 12, 3, 60


def _lookups(seed: int) -> list[np.ndarray]:
    """Rows of each step, with repetitions; row 0 often, row 10 twice, row 11 never."""
    rng = np.random.default_rng(seed)
    chances = np.array([6, 3, 3, 1, 1, 1, 1, 0.2, 0.2, 0.2, 0, 0])
    steps = [rng.choice(ROWS, 5, p=chances / chances.sum()) for _ in range(STEPS)]
    steps[3][0] = steps[50][0] = 10
    return steps


def _gradients(seed: int, rows: np.ndarray) -> np.ndarray:
    return np.random.default_rng([seed, *rows.tolist()]).normal(size=(len(rows), DIM)).astype(np.float32)


def _run_rowwise(kind: type[RowwiseOptimizer], seed: int, l2: float = 0.0) -> tuple[np.ndarray, list[np.ndarray]]:
    table = StackedTable({"t": ROWS}, DIM, keras.initializers.RandomNormal(stddev=1.0, seed=1))
    step = tf.Variable(0, dtype=tf.int64)
    optimizer = kind([table], 0.05, l2, step)
    optimizer.attach()
    seen = []

    @tf.function
    def train_step(rows: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        read = table(rows, training=True)
        slices = deduplicate(tf.IndexedSlices(gradient, rows, tf.constant([ROWS, DIM])))
        optimizer.apply(0, optimizer.add_l2(0, slices))
        step.assign_add(1)
        return read

    for rows in _lookups(seed):
        seen.append(train_step(tf.constant(rows, tf.int64), tf.constant(_gradients(seed, rows))).numpy())
    optimizer.finish()
    return table.table.numpy(), seen


def _run_dense(optimizer: keras.optimizers.Optimizer, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    table = StackedTable({"t": ROWS}, DIM, keras.initializers.RandomNormal(stddev=1.0, seed=1))
    optimizer.build([table.table])
    seen = []
    for rows in _lookups(seed):
        seen.append(table.table.numpy()[rows])
        dense = np.zeros((ROWS, DIM), np.float32)
        np.add.at(dense, rows, _gradients(seed, rows))
        optimizer.apply([tf.constant(dense)], [table.table])
    return table.table.numpy(), seen


@pytest.mark.parametrize("seed", range(3))
def test_lazy_adam_is_dense_adam(seed: int) -> None:
    ours, seen = _run_rowwise(LazyAdam, seed)
    dense, dense_seen = _run_dense(keras.optimizers.Adam(0.05), seed)
    np.testing.assert_allclose(ours, dense, atol=2e-4)
    np.testing.assert_allclose(seen, dense_seen, atol=2e-4)  # what each forward pass read


def test_without_the_correction_rare_rows_would_differ() -> None:
    """The test above can fail: the moves made up for are far larger than its tolerance."""
    dense, _ = _run_dense(keras.optimizers.Adam(0.05), 0)
    table = StackedTable({"t": ROWS}, DIM, keras.initializers.RandomNormal(stddev=1.0, seed=1))
    step = tf.Variable(0, dtype=tf.int64)
    optimizer = LazyAdam([table], 0.05, 0.0, step)  # not attached, not finished
    for rows in _lookups(0):
        optimizer.apply(0, deduplicate(tf.IndexedSlices(tf.constant(_gradients(0, rows)), tf.constant(rows))))
        step.assign_add(1)
    assert np.abs(table.table.numpy() - dense).max() > 0.05


@pytest.mark.parametrize("seed", range(3))
def test_adagrad_is_dense_adagrad(seed: int) -> None:
    ours, _ = _run_rowwise(Adagrad, seed)
    dense, _ = _run_dense(keras.optimizers.Adagrad(0.05, initial_accumulator_value=0.1), seed)
    np.testing.assert_allclose(ours, dense, atol=1e-5)


@pytest.mark.parametrize("kind", [LazyAdam, Adagrad])
def test_a_row_never_looked_up_stays_as_it_was(kind: type[RowwiseOptimizer]) -> None:
    start = StackedTable({"t": ROWS}, DIM, keras.initializers.RandomNormal(stddev=1.0, seed=1)).table.numpy()
    np.testing.assert_array_equal(_run_rowwise(kind, 0, l2=0.1)[0][11], start[11])


def test_finishing_twice_changes_nothing() -> None:
    table = StackedTable({"t": ROWS}, DIM)
    step = tf.Variable(0, dtype=tf.int64)
    optimizer = LazyAdam([table], 0.05, 0.0, step)
    optimizer.apply(0, tf.IndexedSlices(tf.ones([1, DIM]), tf.constant([4], tf.int64)))
    step.assign(7)
    optimizer.finish()
    once = table.table.numpy()
    optimizer.finish()
    np.testing.assert_array_equal(table.table.numpy(), once)


def test_l2_is_added_once_a_row() -> None:
    table = StackedTable({"t": 2}, 1, "ones")
    optimizer = Adagrad([table], 1.0, 0.5, tf.Variable(0, dtype=tf.int64))
    gradient = deduplicate(tf.IndexedSlices(tf.constant([[1.0], [2.0]]), tf.constant([1, 1], tf.int64)))
    penalised = optimizer.add_l2(0, gradient)
    assert penalised.values.numpy().tolist() == [[1.0 + 2.0 + 0.5 * 1.0]]


def test_equal_rows_are_summed() -> None:
    slices = deduplicate(tf.IndexedSlices(tf.constant([[1.0], [2.0], [4.0]]), tf.constant([5, 3, 5])))
    assert slices.indices.numpy().tolist() == [5, 3]
    assert slices.values.numpy().tolist() == [[5.0], [2.0]]
