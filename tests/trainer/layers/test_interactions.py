from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trainer.layers import bi_interaction


def test_by_hand() -> None:
    # (1, 2) * (3, 4) + (1, 2) * (5, 6) + (3, 4) * (5, 6) = (3, 8) + (5, 12) + (15, 24) = (23, 44)
    fields = tf.constant([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    np.testing.assert_array_equal(bi_interaction(fields), [[23, 44]])


def test_one_field_has_no_pairs() -> None:
    np.testing.assert_array_equal(bi_interaction(tf.ones([2, 1, 3])), np.zeros([2, 3]))


def test_against_all_pairs() -> None:
    fields = np.random.default_rng(0).normal(size=(5, 7, 3)).astype(np.float32)
    expected = np.zeros((5, 3))
    for i in range(7):
        for j in range(i + 1, 7):
            expected += fields[:, i] * fields[:, j]
    np.testing.assert_allclose(bi_interaction(tf.constant(fields)), expected, rtol=1e-4, atol=1e-5)


def test_gradient_is_the_sum_of_the_other_fields() -> None:
    fields = tf.Variable(np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(bi_interaction(fields))
    np.testing.assert_allclose(tape.gradient(loss, fields), tf.reduce_sum(fields, 1, keepdims=True) - fields, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_low_precision_input_is_summed_in_float32(dtype: tf.DType) -> None:
    fields = tf.cast(tf.constant(np.random.default_rng(0).normal(size=(4, 40, 8))), dtype)
    pairs = bi_interaction(fields)
    assert pairs.dtype == dtype
    np.testing.assert_array_equal(pairs, tf.cast(bi_interaction(tf.cast(fields, tf.float32)), dtype))
