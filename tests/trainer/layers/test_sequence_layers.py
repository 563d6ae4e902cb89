"""Layers of models of sequences: dropout, windows, causal attention, time signals."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_specs import ColonnadeError
from trainer.layers import CausalBlock, Dropout, Packing, WindowAttention, WindowConvolutions, after_last, windows
from trainer.layers.causal_attention import causal_attention
from trainer.layers.window_attention import time_signal


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_dropout_keeps_the_mean(rate: float) -> None:
    keras.utils.set_random_seed(1)
    dropped = Dropout(rate)(tf.ones([101, 991]), training=True).numpy()  # an odd number of values
    np.testing.assert_allclose(np.unique(dropped), [0, 1 / (1 - rate)], rtol=1e-6)
    assert abs((dropped == 0).mean() - rate) < 0.006
    # Neighbours, which are halves of one number, are independent.
    zeros = (dropped.ravel()[:-1] == 0).reshape(-1, 2)
    assert abs((zeros[:, 0] & zeros[:, 1]).mean() - rate**2) < 0.006


def test_dropout_draws_anew_and_repeats_with_its_seed() -> None:
    layer = Dropout(0.5)
    state = layer.seed_generator.state.numpy()
    first, second = (layer(tf.ones([50, 50]), training=True).numpy() for _ in range(2))
    assert not np.array_equal(first, second)
    layer.seed_generator.state.assign(state)
    np.testing.assert_array_equal(layer(tf.ones([50, 50]), training=True), first)
    np.testing.assert_array_equal(layer(tf.ones([3, 3]), training=False), np.ones([3, 3]))
    np.testing.assert_array_equal(Dropout(0.0)(tf.ones([3, 3]), training=True), np.ones([3, 3]))
    half = Dropout(0.5, dtype="bfloat16")(tf.ones([20, 20], tf.bfloat16), training=True)
    assert half.dtype == tf.bfloat16


def test_dropout_of_everything_is_refused() -> None:
    with pytest.raises(ColonnadeError, match="dropout should be at least 0 and below 1. Received: 1.0"):
        Dropout(1.0)


def test_dropout_s_gradient_is_its_mask() -> None:
    x = tf.random.stateless_normal([40, 40], [0, 1])
    with tf.GradientTape() as tape:
        tape.watch(x)
        dropped = Dropout(0.3)(x, training=True)
    np.testing.assert_allclose(tape.gradient(dropped, x), np.where(dropped == 0, 0, 1 / 0.7), rtol=1e-5)


def test_windows() -> None:
    ids, lengths = tf.constant([[5, 6, 7], [8, 0, 0], [0, 0, 0]], tf.int64), tf.constant([3, 1, 0])
    np.testing.assert_array_equal(windows(ids, lengths, 2), [[[6, 7]], [[0, 8]], [[0, 0]]])
    np.testing.assert_array_equal(windows(ids, lengths, 4), [[[0, 5, 6, 7]], [[0, 0, 0, 8]], [[0, 0, 0, 0]]])
    np.testing.assert_array_equal(windows(ids, lengths, 2, all_positions=True)[0], [[0, 5], [5, 6], [6, 7]])


def test_after_last() -> None:
    states = tf.reshape(tf.range(12.0), [2, 3, 2])
    np.testing.assert_array_equal(after_last(states, tf.constant([2, 0])), [[2, 3], [0, 0]])


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 9])
def test_causal_attention_of_any_length(length: int) -> None:
    """In chunks it is what one masked product gives, values and gradients."""
    query, key, value = (tf.random.stateless_normal([2, length, 3], [0, seed]) for seed in range(3))

    def plain() -> tf.Tensor:
        scores = tf.matmul(query, key, transpose_b=True)
        visible = np.tri(length, dtype=bool)
        return tf.matmul(tf.nn.softmax(tf.where(visible, scores, -np.inf)), value)

    with tf.GradientTape(persistent=True) as tape:
        tape.watch([query, key, value])
        ours, expected = causal_attention(query, key, value, Dropout(0.0)), plain()
        losses = [tf.reduce_sum(tf.sin(each)) for each in (ours, expected)]
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
    for found, right in zip(*(tape.gradient(loss, [query, key, value]) for loss in losses), strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("heads", [1, 2])
def test_a_block_treats_each_sequence_as_if_alone(heads: int) -> None:
    """Values and gradients, whatever lies beside it; at the last step alone it is what it is there."""
    keras.utils.set_random_seed(0)
    block, lengths = CausalBlock(4, num_heads=heads), [3, 0, 7, 1, 5, 7, 2]
    steps = tf.random.stateless_normal([26, 4], [0, 1])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(steps)
        packing = Packing(tf.constant(lengths))
        together = block(steps, packing=packing)
        parts = tf.split(steps, [max(length, 1) for length in lengths])
        alone = tf.concat([block(part, packing=Packing(tf.constant([len(part)]))) for part in parts], 0)
        losses = [tf.reduce_sum(tf.sin(each)) for each in (together, alone)]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)
    found, expected = (tf.convert_to_tensor(tape.gradient(loss, steps)) for loss in losses)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    last = block(steps, packing=packing, only_last=True)
    np.testing.assert_allclose(last, tf.gather(together, [2, 3, 10, 11, 16, 23, 25]), rtol=1e-4, atol=1e-5)


def test_a_block_computes_in_half_precision_and_takes_no_rows() -> None:
    block = CausalBlock(4, num_heads=2, dropout=0.1)
    assert block(tf.zeros([0, 4]), packing=Packing(tf.zeros([0], tf.int32)), training=True).shape == [0, 4]
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = CausalBlock(4, dropout=0.1)
        result = half(tf.random.stateless_normal([6, 4], [0, 1]), packing=Packing(tf.constant([2, 4])), training=True)
    finally:
        keras.config.set_dtype_policy("float32")
    assert result.dtype == tf.bfloat16
    assert np.isfinite(tf.cast(result, tf.float32)).all()
    assert {variable.dtype for variable in half.trainable_variables} == {"float32"}


def test_packing_by_hand() -> None:
    packing = Packing(tf.constant([2, 0, 3]))
    np.testing.assert_array_equal(packing.rows, [0, 0, 1, 2, 2, 2])
    np.testing.assert_array_equal(packing.steps, [0, 1, 0, 0, 1, 2])
    np.testing.assert_array_equal(packing.lasts, [1, 2, 5])
    np.testing.assert_array_equal(packing.steps_of_lasts, [1, 0, 2])
    np.testing.assert_array_equal(packing.pack(tf.constant([[5, 6, 0], [0, 0, 0], [7, 8, 9]])), [5, 6, 0, 7, 8, 9])
    padded = packing.padded(tf.constant([[5.0], [6], [1], [7], [8], [9]]))
    np.testing.assert_array_equal(padded[..., 0], [[5, 6, 0], [1, 0, 0], [7, 8, 9]])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=9))
def test_packed_steps_come_back_with_their_gradients(lengths: list[int]) -> None:
    """Through groups, with running sums of each sequence, and padded: each step of a sequence gets what NumPy gives it."""
    packing = Packing(tf.constant(lengths))
    count = sum(max(length, 1) for length in lengths)
    steps = tf.constant(np.random.default_rng(count).integers(1, 9, [count, 2]), tf.float32)
    parts = np.split(steps.numpy(), np.cumsum([max(length, 1) for length in lengths])[:-1])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(steps)
        sums = packing.in_groups(lambda each: tf.cumsum(each, axis=1), steps)
        padded = packing.padded(steps)
    np.testing.assert_array_equal(sums, np.concatenate([np.cumsum(part, axis=0) for part in parts]))
    for row, part in enumerate(parts):
        np.testing.assert_array_equal(padded[row, : len(part)], part)
        assert not padded[row, len(part) :].numpy().any()
    left = np.concatenate([np.arange(len(part), 0, -1) for part in parts])
    np.testing.assert_array_equal(tape.gradient(sums, steps), np.stack([left, left], 1))
    np.testing.assert_array_equal(tape.gradient(padded, steps), np.ones_like(steps))


def test_time_signal() -> None:
    """Columns 2i and 2i + 1 have the angle t / 10000^(2i/D); an odd width ends with a sine."""
    expected = [[0, 1, 0], [np.sin(1), np.cos(1), np.sin(10000 ** (-2 / 3))]]
    np.testing.assert_allclose(time_signal(2, 3), expected, rtol=1e-6)


def test_window_attention_of_two_items_by_hand() -> None:
    """Each of two sees the other alone, so that the mean is the mean of both; one item sees itself; none gives zero."""
    layer = WindowAttention()
    items = tf.constant([[[0.0, 0], [1, 2], [3, 6]], [[0, 0], [0, 0], [5, 7]], [[0, 0], [0, 0], [0, 0]]])
    present = tf.constant([[False, True, True], [False, False, True], [False, False, False]])
    np.testing.assert_allclose(layer(items, present), [[2, 4], [5, 7], [0, 0]], rtol=1e-6)


def test_convolutions_by_hand() -> None:
    """Window ((1), (-2), (3)), one filter each, weights of ones, no bias: 1 - 2 + 3; max(1, -2, 3); max(-1, 1); 2."""
    layer = WindowConvolutions(1, 1)
    layer.build((None, 3, 1))
    for variable in layer.trainable_variables:
        variable.assign(tf.zeros_like(variable) if "bias" in variable.name else tf.ones_like(variable))
    np.testing.assert_allclose(layer(tf.constant([[[1.0], [-2], [3]]])), [[2, 3, 1, 2]])
    layer.biases.assign([[-5.0], [0.5], [0]])
    np.testing.assert_allclose(layer(tf.constant([[[1.0], [-2], [3]]])), [[2, 0, 1.5, 2]])
