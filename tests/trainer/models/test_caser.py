"""Caser against loops over filters and places."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from sequence_reference import (
    FEATURES,
    HISTORIES,
    ITEMS,
    SPEC,
    check_gradients,
    check_padding,
    check_positions,
    made,
    relu,
    vectors_of,
)

from feature_specs import CategoricalFeature, ColonnadeError, Identity
from trainer.layers import Inputs
from trainer.models.registry import make_model

DIM, LENGTH = 3, 4
SIZES = {"embedding_dim": DIM, "horizontal_filters": 2, "vertical_filters": 3, "max_length": LENGTH, "num_targets": 2}


def test_the_formula() -> None:
    model = made("caser", **SIZES)
    vectors, second = vectors_of(model.items), vectors_of(model.targets)
    layer = model.convolutions
    scores = model(FEATURES, [ITEMS])[0]
    users = model.users(FEATURES).numpy()
    for row, history in enumerate(HISTORIES):
        window = np.zeros((LENGTH, DIM))
        for back, item in enumerate(reversed(history[-LENGTH:]), 1):
            window[-back] = vectors[item]
        found = []
        for column in range(DIM):
            for filter_ in range(3):
                weights = layer.vertical.numpy()[:, filter_]
                found.append(sum(weights[t] * window[t, column] for t in range(LENGTH)) + layer.vertical_bias.numpy()[filter_])
        for height in range(1, LENGTH + 1):
            kernels = layer.kernels[height - 1].numpy().reshape(height, DIM, 2)
            for filter_ in range(2):
                bias = layer.biases.numpy()[height - 1, filter_]
                places = range(LENGTH - height + 1)
                found.append(max(relu(np.sum(window[p : p + height] * kernels[:, :, filter_]) + bias) for p in places))
        hidden = relu(np.array(found) @ model.dense.kernel.numpy() + model.dense.bias.numpy())
        query = np.concatenate([hidden, users[row]])
        np.testing.assert_allclose(scores[row], second[1:10, :-1] @ query + second[1:10, -1], rtol=1e-4, atol=1e-4)


def test_positions_are_cut_histories() -> None:
    check_positions(made("caser", **SIZES))
    check_positions(made("caser", **{**SIZES, "max_length": 9}))


def test_padding_and_other_users_change_nothing() -> None:
    check_padding(made("caser", **SIZES))


def test_every_variable_is_trained() -> None:
    check_gradients(made("caser", **{**SIZES, "embedding_dim": 8}, dropout=0.0))


def test_as_it_begins() -> None:
    """Biases of items begin at zero; a user without a vector is known by the history alone."""
    model = make_model("caser", Inputs(SPEC, {}, {}, {"genre": np.zeros(11, np.int64)}), SIZES)
    model(FEATURES, [ITEMS])
    np.testing.assert_array_equal(vectors_of(model.targets)[:, -1], np.zeros(11))
    assert vectors_of(model.targets)[1:, :-1].std() > 0.01
    query = model.query({**FEATURES, "user": tf.zeros(5, tf.int64)}).numpy()
    np.testing.assert_array_equal(query[:, DIM : 2 * DIM], np.zeros([5, DIM]))
    np.testing.assert_array_equal(query[:, -1], np.ones(5))


def test_number_of_parameters() -> None:
    """The authors' program: of the convolutions 5 * (h D (1 + ... + 5) / 5 + h) + 5 v + v, of the dense layer (v D + 5 h + 1) D."""
    model = made("caser")
    tables = sum(int(np.prod(v.shape)) for v in model.trainable_variables if v.path.endswith("table"))
    convolutions = 16 * 50 * 15 + 5 * 16 + 5 * 4 + 4
    dense = (4 * 50 + 5 * 16 + 1) * 50
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) - tables == convolutions + dense


def test_a_declared_width_is_refused() -> None:
    item = CategoricalFeature(name="item", dtype="int64", embedding_dim=6, encoding=Identity(num_buckets=9))
    user, _, _, history = SPEC.features
    spec = SPEC.model_copy(update={"features": (user, item, history), "item_features": ()})
    with pytest.raises(ColonnadeError, match="second vectors of items, those of candidates, should be 57 wide. Received: 6"):
        make_model("caser", Inputs(spec), {})
    with pytest.raises(ColonnadeError, match="vertical_filters should be at least 1. Received: 0"):
        made("caser", vertical_filters=0)
