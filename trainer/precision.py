"""Mixed precision: the type of the arithmetic, and the loss scaling that float16 needs."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras
import tensorflow as tf

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
# A processor that has instructions for bfloat16 multiplies two to four times as fast in it; one without converts, and is slower.
_PAYS = 1.2


@contextmanager
def precision_policy(mixed_precision: str) -> Iterator[None]:
    """Layers made inside compute in `mixed_precision` and keep float32 variables."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(_POLICIES[mixed_precision])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@functools.cache
def paying_precision(mixed_precision: str) -> str:
    """Returns the type to compute in: `mixed_precision`, but float32, and once a line that says so, where bfloat16 does not pay here."""
    if mixed_precision != "bfloat16" or (times := bfloat16_speed()) >= _PAYS:
        return mixed_precision
    print(f"bfloat16 does not pay on this machine: products of matrices are {times:.2f} times as fast as in float32. Computing in float32.")
    return "float32"


def bfloat16_speed() -> float:
    """Returns how many times as fast as in float32 a product of two matrices is in bfloat16 on this machine: the best of five of each."""
    taken = {}
    for dtype in (tf.float32, tf.bfloat16):
        ones = tf.ones([1024, 1024], dtype)
        seconds = []
        for _ in range(6):
            started = time.perf_counter()
            tf.reduce_max(tf.matmul(ones, ones)).numpy()  # of one number: an accelerator's queue is waited for
            seconds.append(time.perf_counter() - started)
        taken[dtype] = min(seconds[1:])
    return taken[tf.float32] / taken[tf.bfloat16]


class LossScale:
    """Keeps small float16 gradients from vanishing: the loss is multiplied by a power of two, the gradients divided by it.

    A step whose gradients overflow counts as a step with zero gradients, and the scale is halved; after `growth_steps` good steps it
    is doubled. Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2.
    """

    growth_steps = 2000

    def __init__(self) -> None:
        self.scale = tf.Variable(2.0**15, trainable=False)
        self.good_steps = tf.Variable(0, trainable=False, dtype=tf.int64)

    @property
    def variables(self) -> list[tf.Variable]:
        """The state, in a fixed order."""
        return [self.scale, self.good_steps]

    def unscale(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the true gradients, all zero where one of them overflowed, and adapts the scale."""
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
        factor = 1.0 / self.scale
        unscaled = [tf.where(finite, tf.cast(gradient, tf.float32) * factor, 0.0) for gradient in gradients]
        grown = self.good_steps + 1 >= self.growth_steps
        self.scale.assign(tf.where(finite, tf.where(grown, self.scale * 2.0, self.scale), tf.maximum(self.scale / 2.0, 1.0)))
        self.good_steps.assign(tf.where(finite & ~grown, self.good_steps + 1, 0))
        return unscaled


def clip_by_global_norm(gradients: Sequence[tf.Tensor], norm: float) -> list[tf.Tensor]:
    """Returns the gradients, scaled down together so that their joint L2 norm is at most `norm`."""
    total = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in gradients]))
    factor = tf.minimum(1.0, norm / tf.maximum(total, 1e-12))
    return [gradient * factor for gradient in gradients]
