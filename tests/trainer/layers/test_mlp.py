from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from feature_specs import ColonnadeError
from trainer.layers import MLP


def outputs(layer: MLP, steps: int) -> list:
    @tf.function
    def step() -> tf.Tensor:
        return layer(tf.ones([64, 8]), training=True)

    return [step().numpy() for _ in range(steps)]


def test_order_of_a_block_by_hand() -> None:
    layer = MLP([1, 1], batch_norm=True)
    inputs = tf.constant([[1.0], [3.0]])
    layer(inputs)
    kernel, bias, gamma, beta, mean, variance = layer.blocks[0].variables + layer.blocks[1].variables
    kernel.assign([[2]])
    bias.assign([5])
    gamma.assign([3])
    beta.assign([-1])
    # Dense gives 7 and 11: mean 9, variance 4, normalised -1 and 1 (epsilon 1e-5); times 3, minus 1: -4 and 2; ReLU: 0 and 2.
    first = layer.blocks[2](layer.blocks[1](layer.blocks[0](inputs), training=True))
    np.testing.assert_allclose(first, [[0], [2]], atol=1e-4)
    # Momentum 0.9: the moving mean is 0.9 * 0 + 0.1 * 9, the moving variance 0.9 * 1 + 0.1 * 4.
    np.testing.assert_allclose([mean[0], variance[0]], [0.9, 1.3], rtol=1e-6)
    assert [block.name for block in layer.blocks] == [f"{kind}_{n}" for n in (0, 1) for kind in ("dense", "batch_norm", "activation")]


def test_training_reaches_the_blocks() -> None:
    layer = MLP([4], dropout=0.5, batch_norm=True)
    layer(tf.ones([2, 3]))
    before = layer.blocks[1].moving_mean.numpy()
    layer(tf.ones([2, 3]), training=False)
    np.testing.assert_array_equal(layer.blocks[1].moving_mean, before)
    layer(tf.ones([2, 3]), training=True)
    assert not np.array_equal(layer.blocks[1].moving_mean, before)


def test_without_hidden_units_it_is_the_identity() -> None:
    layer = MLP([], dropout=0.5, batch_norm=True)
    inputs = tf.constant([[1.0, -2.0]])
    np.testing.assert_array_equal(layer(inputs, training=True), inputs)
    assert layer.variables == []


def test_every_variable_is_tracked_under_its_name() -> None:
    layer = MLP([5, 3], dropout=[0.1, 0.0], batch_norm=True, name="hidden")
    layer(tf.ones([2, 4]))
    named = [v.path for v in layer.variables if "seed" not in v.path]
    blocks = ["dense_0/kernel", "dense_0/bias"] + [f"batch_norm_0/{v}" for v in ("gamma", "beta", "moving_mean", "moving_variance")]
    assert named == [f"hidden/{v}" for v in blocks + [v.replace("_0", "_1") for v in blocks]]
    assert len(layer.variables) == len(named) + 1  # the seed state of the one dropout


def test_a_seed_repeats_a_run() -> None:
    runs = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        runs.append(outputs(MLP([8, 8], dropout=0.5), 3))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_masks_differ_between_steps_and_blocks() -> None:
    layer = MLP([8, 8], activation="linear", dropout=0.5)
    layer(tf.ones([64, 8]))
    masks = [layer.blocks[block](tf.ones([64, 8]), training=True).numpy() for block in (2, 2, 5)]
    assert not any(np.array_equal(masks[a], masks[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_restored_variables_resume_bit_for_bit() -> None:
    layer = MLP([8, 8], dropout=[0.5, 0.2], batch_norm=True)
    outputs(layer, 2)
    saved = [v.numpy() for v in layer.variables]
    expected = outputs(layer, 3)
    keras.utils.set_random_seed(99)
    resumed = MLP([8, 8], dropout=[0.5, 0.2], batch_norm=True)
    resumed.build((None, 8))
    for variable, value in zip(resumed.variables, saved, strict=True):
        variable.assign(value)
    np.testing.assert_array_equal(outputs(resumed, 3), expected)


def test_dropout_is_per_block() -> None:
    layer = MLP([8, 8], dropout=[0.0, 0.5])
    assert [block.name for block in layer.blocks] == ["dense_0", "activation_0", "dense_1", "activation_1", "dropout_1"]
    with pytest.raises(ColonnadeError, match=r"dropout should be one rate, or 2 \(one a hidden layer\)\. Received: \[0\.1\]\."):
        MLP([8, 8], dropout=[0.1])
    with pytest.raises(ColonnadeError, match=r"dropout should be at least 0 and below 1\. Received: 1\.0\."):
        MLP([8, 8], dropout=[0.1, 1.0])


def test_mixed_precision() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = MLP([4], dropout=0.1, batch_norm=True)
        assert layer(tf.ones([2, 3]), training=True).dtype == tf.bfloat16
    finally:
        keras.config.set_dtype_policy("float32")
    assert {v.dtype for v in layer.trainable_variables} == {"float32"}
