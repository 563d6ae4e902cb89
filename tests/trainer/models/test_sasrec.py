"""SASRec against a loop over users, positions and heads."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from sequence_reference import (
    FEATURES,
    HISTORIES,
    INPUTS,
    ITEMS,
    SPEC,
    check_gradients,
    check_padding,
    check_positions,
    made,
    relu,
    softmax,
    vectors_of,
)

from feature_specs import ColonnadeError
from trainer.layers import Inputs
from trainer.models.matching.sasrec import SASRec
from trainer.models.registry import make_model

DIM = 6


def _norm(x: NDArray, layer: keras.layers.Layer) -> NDArray:
    gamma, beta = (weight.numpy() for weight in (layer.gamma, layer.beta))
    return gamma * (x - x.mean()) / np.sqrt(x.var() + 1e-8) + beta


def _dense(x: NDArray, layer: keras.layers.Layer) -> NDArray:
    return x @ layer.kernel.numpy() + layer.bias.numpy()


def _block(steps: NDArray, block: keras.layers.Layer) -> NDArray:
    """The authors' program, step by step."""
    heads, width = block.num_heads, steps.shape[1] // block.num_heads
    both = block.key_value
    key, value = (steps @ both.kernel.numpy() + both.bias.numpy()).reshape(len(steps), 2, -1).transpose(1, 0, 2)
    result = []
    for now, step in enumerate(steps):
        normed = _norm(step, block.query_norm)
        query = _dense(normed, block.query)
        attended = np.zeros(steps.shape[1])
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            shares = softmax(np.array([query[part] @ key[then, part] for then in range(now + 1)]) / np.sqrt(width))
            attended[part] = sum(share * value[then, part] for then, share in enumerate(shares))
        hidden = _norm(normed + attended, block.hidden_norm)
        result.append(hidden + _dense(relu(_dense(hidden, block.hidden)), block.back))
    return np.array(result)


@pytest.mark.parametrize(("num_heads", "max_length"), [(1, 8), (2, 8), (3, 4)])
def test_the_formula(num_heads: int, max_length: int) -> None:
    model = made("sasrec", embedding_dim=DIM, num_heads=num_heads, max_length=max_length)
    vectors, positions = vectors_of(model.items), model.positions.numpy()
    whole, last, scores = model.query(FEATURES, all_positions=True), model.query(FEATURES), model(FEATURES, [ITEMS])[0]
    for row, history in enumerate(HISTORIES):
        kept = history[-max_length:]
        if not kept:
            np.testing.assert_array_equal(last[row], np.zeros(DIM))
            continue
        # The last item is at the last position, as with padding on the left.
        steps = np.array([vectors[item] * np.sqrt(DIM) + positions[max_length - len(kept) + t] for t, item in enumerate(kept)])
        for block in model.blocks:
            steps = _block(steps, block)
        expected = np.array([_norm(step, model.norm) for step in steps])
        np.testing.assert_allclose(whole[row, : len(kept)], expected, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(last[row], expected[-1], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(scores[row], vectors[1:10] @ expected[-1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("max_length", [3, 7, 20])
def test_positions_see_nothing_later(max_length: int) -> None:
    model = made("sasrec", embedding_dim=DIM, max_length=max_length)
    check_positions(model, from_the_start=False)
    model.positions.assign(tf.zeros_like(model.positions))
    check_positions(model)


def test_padding_and_other_users_change_nothing() -> None:
    check_padding(made("sasrec", embedding_dim=DIM, max_length=5))


@pytest.mark.parametrize("all_positions", [True, False])
def test_every_variable_is_trained(all_positions: bool) -> None:
    check_gradients(made("sasrec", embedding_dim=DIM, max_length=7, dropout=0.0), all_positions)


def test_by_hand() -> None:
    """One item, one block, projections to and fro that are unit matrices, no network: x = (3, 1) 2^.5 + (0, 0).

    norm(x) = (1, -1); a = norm(x) + x = (5.2426, 0.4142); norm(a) = (1, -1), and once more.
    """
    model = SASRec(Inputs(SPEC.model_copy(update={"item_features": ()})), embedding_dim=2, num_layers=1, max_length=3)
    features = {"user": tf.constant([1], tf.int64), "history": tf.constant([[4]], tf.int64)}
    candidates = {"item": tf.constant([4, 2], tf.int64)}
    model(features, [candidates])
    (table,) = [v for v in model.trainable_variables if v.path.endswith("table")]
    table.assign(tf.constant([[0.0, 0.0], [9, 9], [2, 5], [9, 9], [3, 1], *[[9.0, 9]] * 6]))
    model.positions.assign(tf.zeros([3, 2]))
    block = model.blocks[0]
    block.key_value.kernel.assign(np.hstack([np.eye(2), np.eye(2)]))
    block.back.kernel.assign(np.zeros([2, 2]))
    np.testing.assert_allclose(model.query(features), [[1, -1]], atol=1e-6)
    np.testing.assert_allclose(model(features, [candidates])[0], [[2, -3]], atol=1e-5)


def test_numbers_of_parameters() -> None:
    """The authors' program on MovieLens-1M: 3,417 rows, 200 positions, in each block 5 matrices with biases and 2 norms, one at the end."""
    spec = SPEC.model_copy(update={"item_features": ()})
    model = SASRec(Inputs(spec), max_length=200)
    model(FEATURES, [{"item": ITEMS["item"]}])
    dense = 200 * 50 + 2 * (5 * (50 * 50 + 50) + 2 * 100) + 100
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 11 * 50 + dense


def test_dropout_is_on_in_training_alone() -> None:
    model = made("sasrec", embedding_dim=DIM, dropout=0.5, max_length=7)
    first, second = (model(FEATURES, [ITEMS], all_positions=True, training=True)[0].numpy() for _ in range(2))
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(model(FEATURES, [ITEMS])[0], model(FEATURES, [ITEMS])[0])


def test_wrong_sizes() -> None:
    with pytest.raises(ColonnadeError, match="num_layers should be at least 1. Received: 0"):
        make_model("sasrec", INPUTS, {"num_layers": 0})
    with pytest.raises(ColonnadeError, match="multiple of num_heads. Received: 6 and 4"):
        make_model("sasrec", INPUTS, {"embedding_dim": 6, "num_heads": 4})
