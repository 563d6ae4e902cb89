"""Row-wise optimizers against Keras' dense ones, on tables whose rows are looked up rarely, often and never."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.layers import StackedTable
from trainer.optimizers import Adagrad, LazyAdam, RowwiseOptimizer, Update

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


def _run_rowwise(kind: type[RowwiseOptimizer], seed: int, l2: float = 0.0, halves: bool = False) -> tuple[np.ndarray, list[np.ndarray]]:
    table = StackedTable({"t": ROWS}, DIM, keras.initializers.RandomNormal(stddev=1.0, seed=1))
    step = tf.Variable(0, dtype=tf.int64)
    optimizer = kind([table], 0.05, l2, step)
    seen = []

    @tf.function
    def train_step(rows: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        with optimizer.answering_lookups() as lookups, tf.GradientTape() as tape:
            parts = [rows[:2], rows[2:]] if halves else [rows]
            read = tf.concat([table(part, training=True) for part in parts], 0)
            loss = tf.reduce_sum(read * gradient)
        for update in optimizer.updates(lookups, tape.gradient(loss, [lookup.weights for lookup in lookups])):
            optimizer.apply(update)
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


def test_the_moves_made_up_for_are_far_larger_than_the_tolerance() -> None:
    """Between its two look-ups, in steps 3 and 50, row 10 moves by momentum alone."""
    _, seen = _run_dense(keras.optimizers.Adam(0.05), 0)
    after_first_step = seen[3][0] - 0.05 * np.sign(_gradients(0, _lookups(0)[3])[0])
    assert np.abs(seen[50][0] - after_first_step).min() > 0.05


@pytest.mark.parametrize("seed", range(3))
def test_adagrad_is_dense_adagrad(seed: int) -> None:
    ours, _ = _run_rowwise(Adagrad, seed)
    dense, _ = _run_dense(keras.optimizers.Adagrad(0.05, initial_accumulator_value=0.1), seed)
    np.testing.assert_allclose(ours, dense, atol=1e-5)


@pytest.mark.parametrize("kind", [LazyAdam, Adagrad])
def test_a_row_never_looked_up_stays_as_it_was(kind: type[RowwiseOptimizer]) -> None:
    start = StackedTable({"t": ROWS}, DIM, keras.initializers.RandomNormal(stddev=1.0, seed=1)).table.numpy()
    np.testing.assert_array_equal(_run_rowwise(kind, 0, l2=0.1)[0][11], start[11])


@pytest.mark.parametrize("kind", [LazyAdam, Adagrad])
def test_looking_a_table_up_twice_a_step_is_looking_it_up_once(kind: type[RowwiseOptimizer]) -> None:
    once, seen_once = _run_rowwise(kind, 0, l2=0.1)
    twice, seen_twice = _run_rowwise(kind, 0, l2=0.1, halves=True)
    np.testing.assert_allclose(twice, once, atol=1e-6)
    np.testing.assert_allclose(seen_twice, seen_once, atol=1e-6)


def _one_update(optimizer: RowwiseOptimizer, rows: list[int], gradient: list[list[float]]) -> Update:
    table = optimizer.tables[0]
    with optimizer.answering_lookups() as lookups, tf.GradientTape() as tape:
        loss = tf.reduce_sum(table(tf.constant(rows), training=True) * tf.constant(gradient))
    (update,) = optimizer.updates(lookups, tape.gradient(loss, [lookup.weights for lookup in lookups]))
    return update


def test_finishing_twice_changes_nothing_more() -> None:
    table = StackedTable({"t": ROWS}, DIM)
    step = tf.Variable(0, dtype=tf.int64)
    optimizer = LazyAdam([table], 0.05, 0.0, step)
    optimizer.apply(_one_update(optimizer, [4], [[1.0] * DIM]))
    before = table.table.numpy()
    step.assign(7)
    optimizer.finish()
    once = table.table.numpy()
    assert np.abs(once - before)[4].min() > 0.05
    optimizer.finish()
    np.testing.assert_array_equal(table.table.numpy(), once)


def test_equal_rows_are_summed_and_l2_is_added_once_a_row() -> None:
    optimizer = Adagrad([StackedTable({"t": 4}, 1, "ones")], 1.0, 0.5, tf.Variable(0, dtype=tf.int64))
    update = _one_update(optimizer, [3, 1, 3], [[1.0], [2.0], [4.0]])
    assert update.lookup.rows.numpy().tolist() == [3, 1]
    assert update.gradient.numpy().tolist() == [[1.0 + 4.0 + 0.5 * 1.0], [2.0 + 0.5 * 1.0]]


def test_tables_answer_for_themselves_after_the_step() -> None:
    table = StackedTable({"t": 4}, 1, "ones")
    optimizer = Adagrad([table], 1.0, 0.0, tf.Variable(0, dtype=tf.int64))
    with optimizer.answering_lookups() as lookups:
        pass
    table(tf.constant([1]), training=True)
    assert lookups == []
