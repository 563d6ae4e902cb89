"""GRU4Rec against a loop over users and steps."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from sequence_reference import FEATURES, HISTORIES, ITEMS, check_gradients, check_padding, check_positions, made, sigmoid, vectors_of

DIM = 4


@pytest.mark.parametrize("num_layers", [1, 2])
def test_the_formula(num_layers: int) -> None:
    model = made("gru4rec", embedding_dim=DIM, num_layers=num_layers, max_length=6)
    vectors = vectors_of(model.items)
    whole, scores = model.query(FEATURES, all_positions=True), model(FEATURES, [ITEMS])[0]
    for row, history in enumerate(HISTORIES):
        inputs = [vectors[item] for item in history[-6:]]
        for unit in model.units:
            kernel, recurrent, bias = (weight.numpy() for weight in unit.weights)
            state, states = np.zeros(DIM), []
            for x in inputs:
                keep, reset = (sigmoid(x @ kernel[:, p] + state @ recurrent[:, p] + bias[p]) for p in (slice(0, DIM), slice(DIM, 2 * DIM)))
                new = slice(2 * DIM, 3 * DIM)
                candidate = np.tanh(x @ kernel[:, new] + (reset * state) @ recurrent[:, new] + bias[new])
                state = keep * state + (1 - keep) * candidate
                states.append(state)
            inputs = states
        if inputs:
            np.testing.assert_allclose(whole[row, : len(inputs)], inputs, rtol=1e-4, atol=1e-5)
        last = inputs[-1] if inputs else np.zeros(DIM)
        np.testing.assert_allclose(scores[row], vectors[1:10] @ last, rtol=1e-4, atol=1e-4)


def test_positions_are_cut_histories() -> None:
    check_positions(made("gru4rec", embedding_dim=DIM, max_length=6))


def test_padding_and_other_users_change_nothing() -> None:
    model = made("gru4rec", embedding_dim=DIM, max_length=6)
    check_padding(model)
    np.testing.assert_array_equal(model.query(FEATURES)[3], np.zeros(DIM))


@pytest.mark.parametrize("shared", [True, False])
def test_every_variable_is_trained(shared: bool) -> None:
    model = made("gru4rec", embedding_dim=DIM, shared_items=shared, dropout=0.0)
    check_gradients(model, all_positions=True)
    tables = [v for v in model.trainable_variables if v.path.endswith("table")]
    assert len(tables) == (1 if shared else 2)


def test_by_hand() -> None:
    """Gates of one half: h_1 = (1 - 1/2) tanh(2), h_2 = h_1 / 2 + tanh(-1) / 2."""
    model = made("gru4rec", embedding_dim=1, max_length=2)
    for variable in model.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    (table,) = [v for v in model.trainable_variables if v.path.endswith("table")]
    rows = table.numpy()
    rows[[1, 2]] = [[2.0], [-1.0]]
    table.assign(rows)
    model.units[0].weights[0].assign([[0.0, 0.0, 1.0]])
    features = {"user": tf.constant([1], tf.int64), "history": tf.constant([[1, 2]], tf.int64)}
    first = np.tanh(2) / 2
    np.testing.assert_allclose(model.query(features, all_positions=True)[0, :, 0], [first, first / 2 - np.tanh(1) / 2], rtol=1e-5)
