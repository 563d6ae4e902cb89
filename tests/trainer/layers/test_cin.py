"""The contraction of a compressed interaction network, in pieces."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trainer.layers import cin


@pytest.mark.parametrize("rows", [0, 1, 6, 7])
def test_pieces_give_what_the_whole_gives(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cin, "_PRODUCTS_AT_ONCE", 36)  # 3 rows of 12 products
    rng = np.random.default_rng(0)
    maps, first, kernel, upstream = (tf.constant(rng.normal(size=size)) for size in ((rows, 4), (rows, 3), (12, 5), (rows, 5)))

    def whole(maps: tf.Tensor, first: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return tf.einsum("nh,nf,hfu->nu", maps, first, tf.reshape(kernel, [4, 3, 5]))

    found = []
    for contracted in (whole, tf.function(cin._contracted)):
        with tf.GradientTape() as tape:
            tape.watch([maps, first, kernel])
            value = contracted(maps, first, kernel)
        found.append([value, *tape.gradient(value, [maps, first, kernel], output_gradients=upstream)])
    for wanted, given in zip(*found, strict=True):
        np.testing.assert_allclose(given, wanted, rtol=1e-5, atol=1e-6)


def test_half_precision_sums_the_kernels_gradient_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cin, "_PRODUCTS_AT_ONCE", 1)
    ones = tf.ones([1000, 1], tf.bfloat16)
    kernel = tf.ones([1, 1], tf.bfloat16)
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        value = cin._contracted(ones, ones, kernel)
    # Added one by one in bfloat16, ones stop at 256.
    assert float(tape.gradient(value, kernel)[0, 0]) == 1000
