from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.layers import StackedTable, ZeroLastColumn
from trainer.layers.tables import NumericVectors


def test_tables_lie_one_after_the_other() -> None:
    table = StackedTable({"user": 3, "item": 5, "tag": 2}, 4)
    assert table.offsets == {"user": 0, "item": 3, "tag": 8}
    assert table.table.shape == (10, 4)
    np.testing.assert_array_equal(table(tf.constant([9, 0])), table.table.numpy()[[9, 0]])


@pytest.mark.parametrize("wrap", [lambda f: f, tf.function], ids=["eager", "graph"])
def test_gradient_is_one_indexed_slices_over_the_stack(wrap: Callable) -> None:
    table = StackedTable({"user": 3, "item": 5}, 2)

    @wrap
    def gradient(rows: tf.Tensor) -> tf.IndexedSlices:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(table(rows) * [[1.0], [2.0], [4.0]])
        return tape.gradient(loss, table.table.value)

    slices = gradient(tf.constant([7, 1, 7]))
    assert isinstance(slices, tf.IndexedSlices)
    np.testing.assert_array_equal(slices.indices, [7, 1, 7])
    np.testing.assert_array_equal(slices.values, [[1, 1], [2, 2], [4, 4]])
    np.testing.assert_array_equal(slices.dense_shape, [8, 2])


def test_each_table_can_have_its_own_initializer() -> None:
    ones, tens = keras.initializers.Ones(), tf.constant_initializer(10.0)
    table = StackedTable({"user": 2, "item": 1}, 2, {"user": ones, "item": tens})
    np.testing.assert_array_equal(table.table, [[1, 1], [1, 1], [10, 10]])


def test_one_initializer_gives_no_two_tables_equal_numbers() -> None:
    initializer = keras.initializers.RandomNormal()
    shared = StackedTable({"user": 4, "item": 4}, 8, initializer).table.numpy()
    by_table = StackedTable({"user": 4, "item": 4}, 8, {"user": initializer, "item": initializer}).table.numpy()
    for values in (shared, by_table):
        assert not np.array_equal(values[:4], values[4:])
    assert not np.array_equal(shared, by_table)


def test_default_initializer_and_seed() -> None:
    keras.utils.set_random_seed(3)
    first = StackedTable({"user": 10_000}, 4).table.numpy()
    keras.utils.set_random_seed(3)
    np.testing.assert_array_equal(StackedTable({"user": 10_000}, 4).table, first)
    assert np.std(first) == pytest.approx(0.01, rel=0.02)


def test_large_tables_are_drawn_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_LARGE", "_PIECE"):
        monkeypatch.setattr(f"trainer.layers.initializers.{name}", 1000)
    rows = {"user": 700, "item": 300}
    keras.utils.set_random_seed(3)
    first = StackedTable(rows, 4).table.numpy()
    keras.utils.set_random_seed(3)
    np.testing.assert_array_equal(StackedTable(rows, 4).table, first)
    assert np.std(first) == pytest.approx(0.01, rel=0.05)
    assert len(np.unique(first)) > 3990  # no piece is another's copy
    weighted = {"user": ZeroLastColumn(keras.initializers.RandomUniform(0.5, 1)), "item": keras.initializers.RandomUniform(2, 3)}
    drawn = StackedTable(rows, 4, weighted).table.numpy()
    assert drawn[:700, :3].min() >= 0.5
    assert drawn[:700, 3].max() == 0
    assert drawn[700:].min() >= 2
    # Numbers that depend on the whole table, or on a seed, are drawn at once.
    seeded = keras.initializers.RandomNormal(stddev=1, seed=1)
    np.testing.assert_array_equal(StackedTable(rows, 4, seeded).table, seeded((1000, 4)))
    assert StackedTable(rows, 4, "glorot_uniform").table.numpy().max() <= np.sqrt(6 / 1004)


def test_an_optimizer_answers_lookups_in_training_only() -> None:
    table = StackedTable({"user": 4}, 2, "ones")
    asked: list[list[int]] = []

    def answer(rows: tf.Tensor, present: tf.Tensor | None) -> tf.Tensor:
        assert present is None
        asked.append(rows.numpy().tolist())
        return tf.zeros([tf.size(rows), 2])

    table.answer = answer
    assert table(tf.constant([3, 1, 3])).numpy().min() == 1
    assert table(tf.constant([2]), training=False).numpy().min() == 1
    assert asked == []
    assert table(tf.constant([3, 1, 3]), training=True).numpy().max() == 0
    assert asked == [[3, 1, 3]]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_tables_stay_float32_under_any_policy(policy: str) -> None:
    keras.config.set_dtype_policy(policy)
    try:
        table, vectors = StackedTable({"user": 4}, 2), NumericVectors({"age": 1}, 2)
        assert table(tf.constant([1])).dtype == table.table.value.dtype == tf.float32
        assert vectors(tf.constant([[1.0]])).dtype == vectors.vectors.value.dtype == tf.float32
    finally:
        keras.config.set_dtype_policy("float32")


def test_frozen_tables_have_no_trainable_variable() -> None:
    table = StackedTable({"user": 4}, 2, trainable=False)
    assert table.trainable_variables == []
    assert len(table.variables) == 1


def test_numeric_vectors() -> None:
    layer = NumericVectors({"age": 1, "price": 1}, 3, "ones")
    layer.vectors.assign([[1, 2, 3], [4, 5, 6]])
    # Example (10, 0.5): 10 * (1, 2, 3) and 0.5 * (4, 5, 6).
    np.testing.assert_array_equal(layer(tf.constant([[10, 0.5]])), [[[10, 20, 30], [2, 2.5, 3]]])
