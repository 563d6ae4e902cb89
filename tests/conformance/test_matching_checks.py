"""The checks of matching models notice what they are for: each of these models has one fault."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from trainer import testing, testing_matching
from trainer.layers import Inputs
from trainer.models.matching.bpr import BPR
from trainer.models.matching.ease import EASE
from trainer.models.matching.two_tower import TwoTower
from trainer.models.registry import register

Features = Mapping[str, tf.Tensor]


@register("not_finite")
class NotFinite(BPR):
    def score(self, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        return super().score(query, candidates) / 0.0


@register("sees_other_users")
class SeesOtherUsers(BPR):
    def query(self, features: Features, all_positions: bool = False) -> tf.Tensor:
        vectors = super().query(features, all_positions)
        return vectors - tf.reduce_mean(vectors, axis=0)


@register("sees_other_candidates")
class SeesOtherCandidates(BPR):
    def score(self, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        scores = super().score(query, candidates)
        return scores - tf.reduce_max(scores, axis=-1, keepdims=True)


@register("knows_shared_from_own")
class KnowsSharedFromOwn(BPR):
    def score(self, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        return super().score(query, candidates) + (0.1 if candidates.shape.rank == 3 else 0.0)


@register("counts_padding")
class CountsPadding(BPR):
    def query(self, features: Features, all_positions: bool = False) -> tf.Tensor:
        return super().query(features, all_positions) + 0.01 * tf.cast(tf.shape(features["history"])[1], tf.float32)


class _Positions(BPR):
    examples = "sequences"
    max_length = 5

    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.past = inputs.items(self.items.width, name="past")

    def query(self, features: Features, all_positions: bool = False) -> tf.Tensor:
        vectors, lengths = self.past.history(features, 5)
        steps = self._steps(vectors, lengths) + self.users(features)[:, tf.newaxis]
        return steps if all_positions else tf.gather(steps, tf.maximum(lengths - 1, 0), batch_dims=1)

    def _steps(self, vectors: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        del lengths
        return tf.cumsum(vectors, axis=1)


@register("sound_positions")
class SoundPositions(_Positions):
    pass


@register("sees_what_follows")
class SeesWhatFollows(_Positions):
    def _steps(self, vectors: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        del lengths
        return tf.reduce_sum(vectors, axis=1, keepdims=True) + tf.zeros_like(vectors)


@register("drops_out_when_asked")
class DropsOutWhenAsked(BPR):
    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.dropout = keras.layers.Dropout(0.5)

    def query(self, features: Features, all_positions: bool = False) -> tf.Tensor:
        return self.dropout(super().query(features, all_positions), training=True)


@register("unused_matrix")
class UnusedMatrix(BPR):
    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.unused = self.add_weight(shape=(2, 2), name="unused")


@register("deaf_users")
class DeafUsers(BPR):
    def query(self, features: Features, all_positions: bool = False) -> tf.Tensor:
        vectors = super().query(features, all_positions)
        return tf.where(features["user"][:, tf.newaxis] == features["user"][0], tf.stop_gradient(vectors), vectors)


@register("never_learns")
class NeverLearns(BPR):
    def query(self, features: Features, all_positions: bool = False) -> tf.Tensor:
        vectors = super().query(features, all_positions)
        return tf.ones_like(vectors) + 0.0 * vectors


@register("ignores_tags")
class IgnoresTags(BPR):
    def candidates(self, features: Features) -> tf.Tensor:
        return super().candidates({**features, "tags": tf.zeros_like(features["tags"])})


@register("keeps_state_to_itself")
class KeepsStateToItself(BPR):
    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.hidden_from_keras = [tf.Variable(tf.random.normal([]), trainable=False)]

    def score(self, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        return super().score(query, candidates) * self.hidden_from_keras[0]


@register("one_name_twice")
class OneNameTwice(BPR):
    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.biases = [self.add_weight(shape=(64,), name="bias") for _ in range(2)]

    def query(self, features: Features, all_positions: bool = False) -> tf.Tensor:
        return super().query(features, all_positions) + self.biases[0] + self.biases[1]


@register("takes_nothing")
class TakesNothing(BPR):
    def take_weights(self, runs: Sequence[Mapping[str, NDArray]]) -> list[str]:
        return list(runs[0])


@register("counts_items")
class CountsItems(BPR):
    def candidates(self, features: Features) -> tf.Tensor:
        # Their number is known where rows are scored one by one, and not in the graph of an export.
        return super().candidates(features) * (features["item"].shape[0] or 1)


@register("looks_further_back")
class LooksFurtherBack(TwoTower):
    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.max_length = 2  # which evaluation keeps to

    def query(self, features: Features, all_positions: bool = False) -> tf.Tensor:
        self.max_length = 50
        try:
            return super().query(features, all_positions)
        finally:
            self.max_length = 2


@register("overflows")
class Overflows(BPR):
    def score(self, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        large = 1e6 * super().score(query, candidates)
        return tf.cast(tf.cast(large, tf.float16) if query.dtype != tf.float32 else large, tf.float32) * 1e-6


@register("starts_anyhow")
class StartsAnyhow(BPR):
    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs, initial_stddev=0.01 + os.urandom(1)[0] / 1e4)


@register("means_of_nothing")
class MeansOfNothing(TwoTower):
    def query(self, features: Features, all_positions: bool = False) -> tf.Tensor:
        there = tf.cast(features["history"] > 0, tf.float32)
        return super().query(features, all_positions) / tf.reduce_mean(there, axis=1, keepdims=True)


@register("fits_nothing")
class FitsNothing(EASE):
    def fit_closed_form(self, interactions: Any, catalogue: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("name", "check", "message"),
    [
        ("not_finite", testing_matching.check_scores, r"scores of shared candidates should be finite float32 \[5, 7\]"),
        ("sees_other_users", testing_matching.check_pairs_are_independent, "a pair should score alone as among others"),
        ("sees_other_candidates", testing_matching.check_pairs_are_independent, "a pair should score alone as among others"),
        ("knows_shared_from_own", testing_matching.check_pairs_are_independent, "own should score as those that all share"),
        ("drops_out_when_asked", testing_matching.check_pairs_are_independent, "two evaluations should be equal"),
        ("counts_padding", testing_matching.check_padding, "padding further should not change a score"),
        ("sees_what_follows", testing_matching.check_all_positions, "the query at position 0 of all should not depend on what follows"),
        ("unused_matrix", testing_matching.check_gradients, "unused should get a gradient"),
        ("deaf_users", testing_matching.check_gradients, r"rows .* of .*table are looked up and should get a gradient"),
        ("never_learns", testing_matching.check_learns, "what 32 users took next should be among the first 3 for 80%, is for"),
        ("ignores_tags", testing_matching.check_learns, "feature 'tags' of items should change scores"),
        ("fits_nothing", testing_matching.check_learns, "fitting should change scores"),
        ("keeps_state_to_itself", testing_matching.check_checkpoint, "a restored model should give the same scores"),
        ("one_name_twice", testing_matching.check_checkpoint, "a name of its own; several have .*bias"),
        ("takes_nothing", testing_matching.check_warm_start, "should score as the one whose weights it took"),
        ("counts_items", testing_matching.check_export, "the export should score and retrieve as the trainer does: The export was not"),
        ("looks_further_back", testing_matching.check_export, "retrieve should give the scores of evaluation"),
        ("overflows", testing_matching.check_mixed_precision, "the loss should fall in bfloat16"),
        ("starts_anyhow", testing_matching.check_seed, "equal seeds should give equal variables"),
        ("means_of_nothing", testing_matching.check_missing_values, "empty lists should give finite scores"),
    ],
)
def test_each_fault_is_noticed(name: str, check: testing_matching.Check, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(name, {})


def test_positions_that_see_no_later_one_pass() -> None:
    testing_matching.check_all_positions("sound_positions", {})


def test_check_model_runs_those_of_the_model_s_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(testing, "CHECKS", [lambda name, _: ran.append(f"ranking {name}")])
    monkeypatch.setattr(testing_matching, "CHECKS", [lambda name, given: ran.append(f"matching {name} {given}")])
    testing.check_model("lr")
    testing.check_model("bpr", embedding_dim=3)
    assert ran == ["ranking lr", "matching bpr {'embedding_dim': 3}"]


def test_made_up_interactions() -> None:
    features, following = testing_matching.data.users(next_items=2)
    # The third user: items 14 to 19 in the order of numbers, of which three are history.
    assert features["history"][2].tolist() == [15, 16, 17, 0, 0]
    assert following[2].tolist() == [17, 18]
    assert testing_matching.data.users()[1][2].tolist() == [15, 16, 17, -1, -1]
    assert following[4].tolist() == [13, -1]
    catalogue = testing_matching.data.catalogue()
    assert catalogue.counts.sum() == 32 * 6
    assert np.array_equal(catalogue.counts == 0, catalogue.ids == testing_matching.data.UNSEEN_ITEM)
