"""Losses of matching: numbers by hand, weights of accidental hits, the sign of logQ, padding, extremes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from trainer.matching.losses import (
    LOSSES,
    accidental_hits,
    bce,
    bpr,
    full_softmax,
    hinge,
    in_batch_softmax,
    mean_loss,
    same_items,
    sampled_softmax,
)

YES = tf.constant([[True]])


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_pointwise_and_pairwise_by_hand() -> None:
    positives, negatives = tf.constant([[1.0]]), tf.constant([[[0.5, -2.0]]])
    # -log s(1) - log(1 - s(0.5)) - log(1 - s(-2)) = 0.3133 + 0.9741 + 0.1269
    assert bce(positives, negatives, YES).numpy().item() == pytest.approx(0.31326 + 0.97408 + 0.12693, abs=1e-5)
    # -log s(1 - 0.5) - log s(1 + 2) = 0.4741 + 0.0486
    assert bpr(positives, negatives, YES).numpy().item() == pytest.approx(0.47408 + 0.04859, abs=1e-5)
    # The first negative is 0.5 below the positive and should be 1, the second is 3 below.
    assert hinge(positives, negatives, YES, margin=1.0).numpy().item() == pytest.approx(0.5)
    # Of distances: max(0, 0.5 + 3 - 2), the positive 3 away and the negative 2.
    assert hinge(tf.constant([[-3.0]]), tf.constant([[[-2.0]]]), YES, margin=0.5).numpy().item() == pytest.approx(1.5)


def test_softmaxes_by_hand() -> None:
    # e^0 / (e^0 + e^log2 + e^log3) = 1/6
    scores = tf.constant([[[0.0, math.log(2), math.log(3)]]])
    assert full_softmax(scores, tf.constant([[0]])).numpy().item() == pytest.approx(math.log(6))
    assert full_softmax(scores, tf.constant([[2]])).numpy().item() == pytest.approx(math.log(2))
    assert sampled_softmax(scores[:, :, 0], scores[:, :, 1:], YES).numpy().item() == pytest.approx(math.log(6))
    # Subtracting log Q divides the weights 1, 2, 3 by Q = .5, .25, .25: 2, 8, 12.
    corrected = sampled_softmax(
        scores[:, :, 0], scores[:, :, 1:], YES, positive_log_q=tf.math.log([[0.5]]), negative_log_q=tf.math.log([0.25, 0.25])
    )
    assert corrected.numpy().item() == pytest.approx(math.log(22 / 2))


def test_in_batch_softmax_by_hand() -> None:
    scores = tf.math.log(tf.constant([[1.0, 2.0, 5.0], [3.0, 1.0, 4.0], [1.0, 1.0, 1.0]]))
    items, every = tf.constant([7, 8, 7]), tf.constant([True] * 3)
    # Rows 0 and 2 have the same item: it is no negative of theirs.
    hits = same_items(items)
    assert hits.numpy().tolist() == [[False, False, True], [False, False, False], [True, False, False]]
    wanted = [math.log(3 / 1), math.log(8 / 1), math.log(2 / 1)]
    np.testing.assert_allclose(in_batch_softmax(scores, every, removed=hits), wanted, rtol=1e-6)
    # Item 7 comes twice as often as 8: its weights are halved against it.
    log_q = tf.math.log([0.5, 0.25, 0.5])
    wanted = [math.log((2 + 8) / 2), math.log((6 + 4 + 8) / 4), math.log((4 + 2) / 2)]
    np.testing.assert_allclose(in_batch_softmax(scores, every, log_q=log_q, removed=hits), wanted, rtol=1e-6)
    # Removing everything leaves a row its own positive; a row that is padding has no loss and is no candidate.
    np.testing.assert_array_equal(in_batch_softmax(scores, every, removed=tf.ones([3, 3], tf.bool)), [0, 0, 0])
    some = in_batch_softmax(scores, tf.constant([True, True, False]))
    np.testing.assert_allclose(some, [math.log(3), math.log(4), 0], rtol=1e-6)


def test_an_accidental_hit_has_no_weight_at_all() -> None:
    items, candidates = tf.constant([[4, 5]]), tf.constant([5, 4, 9])
    hits = accidental_hits(items, candidates)
    assert hits.numpy().tolist() == [[[False, True, False], [True, False, False]]]
    positives = tf.constant([[0.0, 1.0]])
    # However high a hit scores, with or without correction.
    negatives = tf.constant([[[0.0, 1e4, 0.0], [1e30, 1.0, 1.0]]])
    for log_q in (None, tf.constant([-1.0, -1.0, -1.0])):
        with tf.GradientTape() as tape:
            tape.watch([positives, negatives])
            own = None if log_q is None else tf.constant([[-1.0, -1.0]])
            losses = sampled_softmax(positives, negatives, tf.ones([1, 2], tf.bool), positive_log_q=own, negative_log_q=log_q, hits=hits)
        to_positives, to_negatives = tape.gradient(losses, [positives, negatives])
        np.testing.assert_allclose(losses, [[math.log(3), math.log(3)]], rtol=1e-6)
        assert to_negatives.numpy()[hits.numpy()].tolist() == [0.0, 0.0]
        np.testing.assert_allclose(to_negatives.numpy()[~hits.numpy()], [1 / 3] * 4, rtol=1e-6)
        np.testing.assert_allclose(to_positives, [[-2 / 3, -2 / 3]], rtol=1e-6)


def test_a_removed_column_gets_no_gradient_in_batch() -> None:
    scores = tf.constant([[0.0, 1e30], [0.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(scores)
        losses = in_batch_softmax(scores, tf.constant([True, True]), removed=tf.constant([[True, True], [False, True]]))
    np.testing.assert_allclose(losses, [0, math.log(2)], rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(losses, scores), [[0, 0], [0.5, -0.5]], rtol=1e-6)


@pytest.mark.parametrize("draws", [1, 2, 3])
def test_with_logq_the_true_log_probabilities_are_where_the_gradient_is_zero(draws: int) -> None:
    # The positive is drawn from p, the others from q, and all draws are different: over all of these ways the gradient cancels out exactly.
    p, q = np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.1, 0.2, 0.3, 0.4])
    ways = list(itertools.permutations(range(4), draws + 1))
    chance = tf.constant([[p[way[0]] * math.prod(q[i] for i in way[1:])] for way in ways], tf.float32)
    first, others = tf.constant([way[:1] for way in ways]), tf.constant([[way[1:]] for way in ways])

    def gradient(sign: float | None) -> np.ndarray:
        scores, log_q = tf.constant(np.log(p), tf.float32), tf.constant(np.log(q), tf.float32)
        options = {}
        if sign is not None:
            options = {"positive_log_q": sign * tf.gather(log_q, first), "negative_log_q": sign * tf.gather(log_q, others)}
        with tf.GradientTape() as tape:
            tape.watch(scores)
            losses = sampled_softmax(tf.gather(scores, first), tf.gather(scores, others), tf.ones([len(ways), 1], tf.bool), **options)
            loss = tf.reduce_sum(chance * losses) / tf.reduce_sum(chance)
        return tf.convert_to_tensor(tape.gradient(loss, scores)).numpy()

    np.testing.assert_allclose(gradient(1.0), np.zeros(4), atol=1e-6)
    assert np.abs(gradient(None)).max() > 0.02, "without the correction what q favours is pushed down"
    assert np.abs(gradient(-1.0)).max() > 1.5 * np.abs(gradient(None)).max()


def test_with_many_draws_the_gradient_is_that_of_the_full_softmax() -> None:
    rng = np.random.default_rng(0)
    q, scores = np.array([0.4, 0.3, 0.15, 0.1, 0.05]), tf.constant([0.3, -0.5, 1.0, 0.0, 0.7])
    draws = tf.constant(rng.choice(5, 200_000, p=q))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(scores)
        full = full_softmax(scores[None, None], tf.constant([[2]]))
        log_q = tf.constant(np.log(q), tf.float32)
        sampled = sampled_softmax(
            scores[None, 2:3],
            tf.gather(scores, draws)[None, None],
            YES,
            positive_log_q=log_q[None, 2:3],
            negative_log_q=tf.gather(log_q, draws),
        )
    wanted, found = tape.gradient(full, scores), tf.convert_to_tensor(tape.gradient(sampled, scores))
    np.testing.assert_allclose(found, wanted, atol=5e-3)


def test_padding_has_no_loss_and_no_gradient() -> None:
    present = tf.constant([[True, False]])
    scores = tf.Variable(tf.random.stateless_normal([1, 2, 6], [0, 1]))
    with tf.GradientTape(persistent=True) as tape:
        own, others = scores[:, :, 0], scores[:, :, 1:]
        losses = {
            "bce": bce(own, others, present),
            "bpr": bpr(own, others, present),
            "hinge": hinge(own, others, present, margin=9.0),
            "sampled_softmax": sampled_softmax(own, others, present),
            "full_softmax": full_softmax(scores, tf.constant([[3, -1]])),
        }
    for name, loss in losses.items():
        gradient = tape.gradient(loss, scores).numpy()
        assert loss.shape == (1, 2), name
        assert loss.numpy()[0, 0] > 0, name
        assert loss.numpy()[0, 1] == 0, name
        assert np.abs(gradient[0, 0]).max() > 0, name
        assert not gradient[0, 1].any(), name
        assert mean_loss(loss, present).numpy() == loss.numpy()[0, 0]
    assert mean_loss(tf.zeros([1, 2]), tf.zeros([1, 2], tf.bool)).numpy() == 0


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_scores_have_finite_losses_and_gradients(size: float) -> None:
    scores = tf.constant([[[size, -size, 0.0]]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(scores)
        own, others = scores[:, :, 0], scores[:, :, 1:]
        losses = [bce(own, others, YES), bpr(own, others, YES), sampled_softmax(own, others, YES), full_softmax(scores, tf.constant([[0]]))]
        losses.append(in_batch_softmax(tf.tile(scores[0], [3, 1]), tf.constant([True] * 3)))
    for loss in losses:
        assert np.isfinite(loss).all()
        assert np.isfinite(tape.gradient(loss, scores)).all()


def test_half_precision_scores_have_losses_of_full_precision() -> None:
    own, others = tf.constant([[1.0]], tf.bfloat16), tf.constant([[[0.5] * 300]], tf.bfloat16)
    for loss in (bce(own, others, YES), bpr(own, others, YES), sampled_softmax(own, others, YES), full_softmax(others, tf.constant([[0]]))):
        assert loss.dtype == tf.float32
    # A sum of 300 terms in bfloat16 would be off by whole numbers.
    assert bpr(own, others, YES).numpy().item() == pytest.approx(-300 * math.log(_sigmoid(0.5)), rel=1e-5)


def test_without_candidates_a_softmax_is_certain() -> None:
    assert sampled_softmax(tf.constant([[3.0]]), tf.zeros([1, 1, 0]), YES).numpy().item() == 0


def test_the_registry_says_what_each_loss_needs() -> None:
    needs = {name: (k.own_negatives, k.shared_negatives, k.in_batch, k.full) for name, k in LOSSES.items()}
    assert all(sum(flags) == 1 for flags in needs.values())
    assert [name for name, kind in LOSSES.items() if kind.has_margin] == ["hinge"]
    assert all(kind.name == name for name, kind in LOSSES.items())
