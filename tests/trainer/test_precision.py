"""Loss scaling and gradient clipping, against arithmetic done by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer import precision
from trainer.precision import LossScale, clip_by_global_norm, paying_precision, precision_policy


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_an_overflow_zeroes_all_gradients_and_halves_the_scale(bad: float) -> None:
    scale = LossScale()
    scale.scale.assign(1024.0)
    scale.good_steps.assign(5)
    unscaled = scale.unscale([tf.constant([1.0, bad]), tf.constant([[2.0]])])
    assert [gradient.numpy().tolist() for gradient in unscaled] == [[0.0, 0.0], [[0.0]]]
    assert (float(scale.scale), int(scale.good_steps)) == (512.0, 0)


def test_gradients_are_divided_by_the_scale_that_the_loss_was_multiplied_by() -> None:
    scale = LossScale()
    scale.scale.assign(1024.0)
    scale.good_steps.assign(scale.growth_steps - 1)  # this step doubles the scale, but was computed with the old one
    unscaled = scale.unscale([tf.constant([1024.0, -512.0]), tf.constant([[1.0]], tf.float16)])
    assert [gradient.dtype for gradient in unscaled] == [tf.float32] * 2
    assert [gradient.numpy().tolist() for gradient in unscaled] == [[1.0, -0.5], [[1 / 1024]]]
    assert (float(scale.scale), int(scale.good_steps)) == (2048.0, 0)


def test_the_scale_grows_after_enough_good_steps_and_never_falls_below_one() -> None:
    scale = LossScale()
    scale.growth_steps = 3
    start, seen = float(scale.scale), []
    update = tf.function(scale.unscale)
    for value in [1.0, 1.0, 1.0, 1.0, np.inf, 1.0, 1.0, 1.0]:
        update([tf.constant([value], tf.float32)])
        seen.append(float(scale.scale) / start)
    assert seen == [1, 1, 2, 2, 1, 1, 1, 2]
    for _ in range(30):
        update([tf.constant([np.nan], tf.float32)])
    assert float(scale.scale) == 1.0
    assert float(update([tf.constant([3.0])])[0][0]) == 3.0


@pytest.mark.parametrize("norm", [0.01, 1.0, 4.9, 100.0])
def test_clipping_is_by_the_norm_of_all_gradients_together(norm: float) -> None:
    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=shape).astype(np.float32) for shape in [(3, 4), (5,), (2, 2, 2)]]
    total = np.sqrt(sum((gradient.astype(np.float64) ** 2).sum() for gradient in gradients))
    clipped = [gradient.numpy() for gradient in clip_by_global_norm([tf.constant(gradient) for gradient in gradients], norm)]
    for ours, gradient in zip(clipped, gradients, strict=True):
        np.testing.assert_allclose(ours, gradient * min(1.0, norm / total), rtol=1e-5)
    assert np.sqrt(sum((gradient**2).sum() for gradient in clipped)) <= max(norm, 0) * 1.00001
    if norm > total:
        np.testing.assert_array_equal(clipped[0], gradients[0])


def test_clipping_nothing_gives_nothing() -> None:
    assert clip_by_global_norm([tf.zeros([3])], 1.0)[0].numpy().tolist() == [0.0, 0.0, 0.0]


def test_the_policy_holds_inside_alone() -> None:
    before = keras.config.dtype_policy()
    with precision_policy("bfloat16"):
        layer = keras.layers.Dense(1)
    assert (layer.compute_dtype, layer.variable_dtype) == ("bfloat16", "float32")
    assert keras.config.dtype_policy() == before


def test_bfloat16_is_float32_where_it_does_not_pay(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(precision, "bfloat16_speed", lambda: 0.4)
    paying_precision.cache_clear()
    assert [paying_precision("bfloat16") for _ in range(2)] == ["float32", "float32"]
    said = capsys.readouterr().out  # once, however many models are made
    assert said.count("bfloat16 does not pay on this machine: products of matrices are 0.40 times as fast") == 1
    assert [paying_precision(other) for other in ("float32", "float16")] == ["float32", "float16"]
    monkeypatch.setattr(precision, "bfloat16_speed", lambda: 2.0)
    paying_precision.cache_clear()
    assert paying_precision("bfloat16") == "bfloat16"
    assert capsys.readouterr().out == ""
    paying_precision.cache_clear()


def test_the_speed_of_bfloat16_is_a_ratio() -> None:
    assert 0.01 < precision.bfloat16_speed() < 100
