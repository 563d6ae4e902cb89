"""The conformance checks notice what they are for: each of these models has one fault."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer import testing
from trainer.layers import Inputs
from trainer.models.ranking.nfm import NFM
from trainer.models.registry import register

Parts = dict[str, tf.Tensor]


def _column(features: Mapping[str, tf.Tensor]) -> tf.Tensor:
    return features["age"] * 0.1


@register("faulty_shape")
class FaultyShape(NFM):
    def parts(self, features: Mapping[str, tf.Tensor]) -> Parts:
        return {name: part[:, tf.newaxis] for name, part in super().parts(features).items()}


@register("rounds_its_output")
class RoundsItsOutput(NFM):
    def parts(self, features: Mapping[str, tf.Tensor]) -> Parts:
        # As `keras.layers.Dense` ends, with the precision of the run.
        return {name: tf.cast(part, self.compute_dtype) for name, part in super().parts(features).items()}


@register("sees_the_batch")
class SeesTheBatch(NFM):
    def parts(self, features: Mapping[str, tf.Tensor]) -> Parts:
        return {**super().parts(features), "batch": _column(features) - tf.reduce_mean(_column(features))}


@register("sees_the_padding")
class SeesThePadding(NFM):
    def parts(self, features: Mapping[str, tf.Tensor]) -> Parts:
        return {**super().parts(features), "padding": 0.0 * _column(features) + tf.cast(tf.shape(features["history"])[1], tf.float32)}


@register("drops_out_always")
class DropsOutAlways(NFM):
    def parts(self, features: Mapping[str, tf.Tensor]) -> Parts:
        parts = super().parts(features)
        return {**parts, "interaction": self.pooled_dropout(parts["interaction"], training=True)}


@register("unused_kernel")
class UnusedKernel(NFM):
    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.unused = self.add_weight(shape=(2, 2), name="unused")


@register("deaf_tables")
class DeafTables(NFM):
    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs, batch_norm=False)  # which would hand other rows' gradients on

    def parts(self, features: Mapping[str, tf.Tensor]) -> Parts:
        parts = super().parts(features)
        first_user = tf.cast(features["user"] == features["user"][0], tf.float32)  # whose row gets no gradient
        return {name: part + first_user * (tf.stop_gradient(part) - part) for name, part in parts.items()}


@register("ignores_a_feature")
class IgnoresAFeature(NFM):
    def parts(self, features: Mapping[str, tf.Tensor]) -> Parts:
        return super().parts({**features, "tags": tf.zeros_like(features["tags"])})


@register("does_not_learn")
class DoesNotLearn(NFM):
    def parts(self, features: Mapping[str, tf.Tensor]) -> Parts:
        return {name: 0.1 * tf.tanh(part) for name, part in super().parts(features).items()}


@register("hides_state")
class HidesState(NFM):
    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.hidden_from_keras = [tf.Variable(0.0, trainable=False)]

    def parts(self, features: Mapping[str, tf.Tensor]) -> Parts:
        return {**super().parts(features), "drift": _column(features) * self.hidden_from_keras[0].assign_add(0.1)}


@register("random_start")
class RandomStart(NFM):
    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.weight = self.add_weight(shape=(), initializer=keras.initializers.Constant(os.urandom(1)[0] / 7 + os.urandom(1)[0]), name="w")

    def parts(self, features: Mapping[str, tf.Tensor]) -> Parts:
        return {**super().parts(features), "start": _column(features) * self.weight}


@register("fixed_start")
class FixedStart(NFM):
    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.weight = self.add_weight(shape=(2, 2), initializer=keras.initializers.RandomNormal(seed=3), name="w")


@register("sound_though_odd")
class SoundThoughOdd(NFM):
    """Its last matrix begins as zeros, and something that is not trained is the same for every seed."""

    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.projection.kernel_initializer = keras.initializers.Zeros()
        self.fixed = self.add_weight(shape=(3,), initializer=lambda *_, **__: tf.range(3.0), trainable=False, name="fixed")

    def parts(self, features: Mapping[str, tf.Tensor]) -> Parts:
        return {**super().parts(features), "fixed": _column(features) * self.fixed[2]}


@register("served_otherwise")
class ServedOtherwise(NFM):
    def parts(self, features: Mapping[str, tf.Tensor]) -> Parts:
        traced = 0.0 if tf.executing_eagerly() else float(os.urandom(1)[0])
        return {**super().parts(features), "graph": _column(features) * traced}


@register("averages_nothing")
class AveragesNothing(NFM):
    def parts(self, features: Mapping[str, tf.Tensor]) -> Parts:
        ids = tf.cast(features["history"], tf.float32)
        return {**super().parts(features), "mean": tf.reduce_sum(ids, 1) / tf.reduce_sum(tf.sign(ids), 1)}


@pytest.mark.parametrize(
    ("name", "check", "message"),
    [
        ("faulty_shape", testing.check_logits, r"logits should be finite float32 \[5\]"),
        ("rounds_its_output", testing.check_logits, "interaction should be computed in float32 in the end"),
        ("sees_the_batch", testing.check_rows_are_independent, "a row should score alone as in its batch"),
        ("sees_the_padding", testing.check_rows_are_independent, "padding lists further should not change a score"),
        ("drops_out_always", testing.check_rows_are_independent, "two evaluations of the same rows should be equal"),
        ("unused_kernel", testing.check_gradients, "unused should get a gradient"),
        ("deaf_tables", testing.check_gradients, r"rows .* of .*table are looked up and should get a gradient"),
        ("ignores_a_feature", testing.check_learns, "feature 'tags' should change scores"),
        ("does_not_learn", testing.check_learns, "the loss on 64 rows should fall below"),
        ("hides_state", testing.check_checkpoint, "a restored model should go on training the same"),
        ("random_start", testing.check_seed, "equal seeds should give equal variables"),
        ("fixed_start", testing.check_seed, "another seed should give .* other numbers"),
        ("served_otherwise", testing.check_export, "the export should score raw rows as the trainer does"),
        ("averages_nothing", testing.check_logits, "mean should be finite|logits should be finite"),
    ],
)
def test_each_fault_is_noticed(name: str, check: testing.Check, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(name, {})


@pytest.mark.parametrize("check", [testing.check_gradients, testing.check_seed])
def test_what_is_no_fault_passes(check: testing.Check) -> None:
    check("sound_though_odd", {})


def test_check_model_runs_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, dict]] = []
    recorders: list[Callable[[str, dict], None]] = [lambda name, given: ran.append((name, given))] * 2
    monkeypatch.setattr(testing, "CHECKS", recorders)
    testing.check_model("nfm", dropout=0.1)
    assert ran == [("nfm", {"dropout": 0.1})] * 2
    assert len(testing.random_batch(5)[1]) == len(np.unique(testing.random_batch(5)[0]["user"])) == 5
