"""AttRec against a loop over the items of the window, and distances by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from sequence_reference import (
    FEATURES,
    HISTORIES,
    INPUTS,
    ITEMS,
    check_gradients,
    check_padding,
    check_positions,
    made,
    relu,
    softmax,
    vectors_of,
)

from feature_specs import ColonnadeError
from trainer.models.registry import make_model

DIM, LENGTH = 4, 4


def _clipped(x: NDArray) -> NDArray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1)


def _signal(time: int) -> NDArray:
    return np.array([np.sin(time), np.cos(time), np.sin(time / 100), np.cos(time / 100)])


@pytest.mark.parametrize("mode", ["distance", "inner"])
def test_the_formula(mode: str) -> None:
    w = 0.4
    model = made("attrec", embedding_dim=DIM, mode=mode, long_weight=w, max_length=LENGTH)
    limited = _clipped if mode == "distance" else np.asarray
    x, v = limited(vectors_of(model.items)), limited(vectors_of(model.lasting))
    users = limited(model.users(FEATURES).numpy())
    kernel = model.attention.projection.kernel.numpy()
    scores = model(FEATURES, [ITEMS])[0]
    for row, history in enumerate(HISTORIES):
        kept = history[-LENGTH:]
        times = range(LENGTH - len(kept), LENGTH)
        projected = [relu((x[item] + _signal(time)) @ kernel) for item, time in zip(kept, times, strict=True)]
        attended = []
        for now in range(len(kept)):
            others = [t for t in range(len(kept)) if t != now or len(kept) == 1]
            shares = softmax(np.array([projected[now] @ projected[t] for t in others]) / np.sqrt(DIM))
            attended.append(sum(share * x[kept[t]] for share, t in zip(shares, others, strict=True)))
        moment = np.mean(attended, axis=0) if kept else np.zeros(DIM)
        for column, item in enumerate(range(1, 10)):
            if mode == "inner":
                expected = w * users[row] @ v[item] + (1 - w) * moment @ x[item]
            else:
                expected = -w * np.sum((users[row] - v[item]) ** 2) - (1 - w) * np.sum((moment - x[item]) ** 2)
            np.testing.assert_allclose(scores[row, column], expected, rtol=1e-4, atol=1e-4)


def test_own_candidates_score_as_shared_ones() -> None:
    model = made("attrec", embedding_dim=DIM, max_length=LENGTH)
    own = {name: tf.tile(values[tf.newaxis], [5, 1]) for name, values in ITEMS.items()}
    shared, ours = model(FEATURES, [ITEMS, own])
    np.testing.assert_allclose(shared, ours, rtol=1e-4, atol=1e-5)


def test_positions_are_cut_histories() -> None:
    check_positions(made("attrec", embedding_dim=DIM, max_length=LENGTH))
    check_positions(made("attrec", embedding_dim=DIM, max_length=9, mode="inner"))


def test_padding_and_other_users_change_nothing() -> None:
    check_padding(made("attrec", embedding_dim=DIM, max_length=LENGTH))


@pytest.mark.parametrize("mode", ["distance", "inner"])
def test_every_variable_is_trained(mode: str) -> None:
    check_gradients(made("attrec", embedding_dim=DIM, mode=mode))


def test_distances_by_hand() -> None:
    """One item of history attends to itself: m = x_4 = (.6, .8); u = (3, 4) is clipped to (.6, .8); v_2 = (0, .5), x_2 = (.6, 0).

    w = 1/4: -(.36 + .09) / 4 - 3 (.64) / 4 = -.5925.
    """
    model = made("attrec", embedding_dim=2, long_weight=0.25)
    for variable in model.trainable_variables:
        variable.assign(tf.zeros_like(variable))

    def set_row(part: str, row: int, values: list[float]) -> None:
        (table,) = [v for v in model.trainable_variables if v.path.endswith("table") and f"/{part}/" in f"/{v.path}"]
        rows = table.numpy()
        rows[row] = values
        table.assign(rows)

    set_row("items", 4, [0.6, 0.8])
    set_row("items", 2, [0.6, 0])
    set_row("lasting", 2, [0, 0.5])
    set_row("users", 1, [3, 4])
    features = {"user": tf.constant([1], tf.int64), "history": tf.constant([[4]], tf.int64)}
    items = {"item": tf.constant([2], tf.int64), "genre": tf.constant([0], tf.int64)}
    np.testing.assert_allclose(model(features, [items])[0], [[-0.5925]], rtol=1e-5)


def test_a_wrong_weight() -> None:
    with pytest.raises(ColonnadeError, match="long_weight should be between 0 and 1. Received: 1.5"):
        make_model("attrec", INPUTS, {"long_weight": 1.5})
