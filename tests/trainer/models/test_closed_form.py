"""EASE against its definition, solved item by item, and popularity against counts."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pair_reference import IDS_ONLY, ITEMS, Fitted

from feature_specs import ColonnadeError, FeatureSpec
from trainer.layers import Inputs, item_regression
from trainer.matching.catalogue import Catalogue
from trainer.models.base import MatchingModel
from trainer.models.registry import get_model

# Ids 3, 1 and 4 are what training has seen; the last two items share an id.
CATALOGUE = Catalogue((b"a", b"b", b"c", b"d", b"e"), np.array([3, 2, 1, 0, 0]), {"item": np.array([3, 1, 4, 7, 7])}, "item")
# The matrix of three users and items 0, 1, 2: [1 1 0], [1 0 0], [1 1 1].
TAKEN = Fitted(np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 0, 0, 2, 1]), 3)


def _item_by_item(x: NDArray, l2: float) -> NDArray:
    """Returns the ridge regression of each column on all others."""
    weights = np.zeros((x.shape[1], x.shape[1]))
    for j in range(x.shape[1]):
        others = np.delete(np.arange(x.shape[1]), j)
        inputs = x[:, others]
        weights[others, j] = np.linalg.solve(inputs.T @ inputs + l2 * np.eye(len(others)), inputs.T @ x[:, j])
    return weights


def _fitted(name: str, **hyper_parameters: float) -> MatchingModel:
    model = get_model(name)(Inputs(IDS_ONLY), **hyper_parameters)
    model.fit_closed_form(TAKEN, CATALOGUE)
    return model


def _scores(model: MatchingModel, history: list[list[int]], numbers: list) -> NDArray:
    items = CATALOGUE.take(tf.constant(numbers), CATALOGUE.tensors())
    return model({"history": tf.constant(history, tf.int64)}, [items], training=False)[0].numpy()


def test_regression_by_hand() -> None:
    # X = [1 1], [1 0]: from item 0 to 1, 1 / (2 + 1) of the one they have in common; back, 1 / (1 + 1).
    found = item_regression(np.array([0, 0, 1]), np.array([0, 1, 0]), 2, 1.0)
    np.testing.assert_allclose(found, [[0, 1 / 3], [1 / 2, 0]], rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 1 << 16), st.integers(1, 40), st.integers(1, 9), st.floats(0.1, 600))
def test_regression_item_by_item(seed: int, users: int, items: int, l2: float) -> None:
    x = np.random.default_rng(seed).random((users, items)) < 0.4
    x[0, 0] = True
    owners, ids = np.nonzero(x)
    twice = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(ids)), 2))  # what is repeated counts once
    found = item_regression(owners[twice], ids[twice] + 2, items + 3, l2)
    assert found.dtype == np.float32
    assert not np.diag(found).any()
    assert not found[:2].any()
    assert not found[:, :2].any()
    assert not found[-1:].any()
    np.testing.assert_allclose(found[2:-1, 2:-1], _item_by_item(x.astype(float), l2), rtol=1e-4, atol=1e-5)


def test_regression_of_more_users_than_fit_a_block() -> None:
    x = np.random.default_rng(0).random((2500, 6)) < 0.3
    np.testing.assert_allclose(item_regression(*np.nonzero(x), 6, 5.0), _item_by_item(x.astype(float), 5.0), rtol=1e-4, atol=1e-6)


def test_ease_scores_a_history() -> None:
    weights = _item_by_item(np.array([[1.0, 1, 0], [1, 0, 0], [1, 1, 1]]), 2.0)
    model = _fitted("ease", l2=2.0)
    # Histories are ids: items 1 and 2; item 0, taken twice; none; and one that training has not seen.
    histories = [[1, 4, 0], [3, 3, 0], [0, 0, 0], [7, 0, 0]]
    expected = np.zeros((4, 5))
    expected[0, :3], expected[1, :3] = weights[1] + weights[2], weights[0]
    np.testing.assert_allclose(_scores(model, histories, [0, 1, 2, 3, 4]), expected, rtol=1e-5)
    own = [[0, 3], [2, 1], [0, 1], [1, 4]]
    np.testing.assert_allclose(_scores(model, histories, own), np.take_along_axis(expected, np.array(own), 1), rtol=1e-5)


def test_ease_reads_the_whole_history() -> None:
    model = _fitted("ease")
    assert model.l2 == 500
    assert model.max_length > 10**9
    long = [[3] + [1] * 3000]
    np.testing.assert_allclose(_scores(model, long, [2]), _scores(model, [[1, 3]], [2]), rtol=1e-6)


def test_ease_refuses_what_cannot_be_held() -> None:
    features = [feature.model_dump() for feature in IDS_ONLY.features]
    features[1]["encoding"]["num_buckets"] = features[2]["encoding"] = 40_000
    features[2]["encoding"] = None
    spec = FeatureSpec.model_validate(IDS_ONLY.model_dump() | {"features": features})
    with pytest.raises(ColonnadeError, match="takes 30,000 ids at most. Received: 40,002"):
        get_model("ease")(Inputs(spec))


def test_ease_needs_a_history() -> None:
    spec = IDS_ONLY.model_copy(update={"features": IDS_ONLY.features[:2]})
    with pytest.raises(ColonnadeError, match="reads what a user did before, and the spec has no history of 'item'. Add a feature"):
        get_model("ease")(Inputs(spec))({"user": tf.constant([1], tf.int64)}, [{"item": ITEMS["item"]}])


def test_popularity_counts() -> None:
    scores = _scores(_fitted("popularity"), [[1], [0]], [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(scores, [[3, 2, 1, 0, 0]] * 2)


def test_popularity_of_items_that_share_an_id() -> None:
    # The rare items 1 and 2 share id 5, and are no more popular together than the one of them that is.
    shared = Catalogue((b"a", b"b", b"c"), np.array([3, 2, 1]), {"item": np.array([3, 5, 5])}, "item")
    model = get_model("popularity")(Inputs(IDS_ONLY))
    model.fit_closed_form(TAKEN, shared)
    items = {"item": tf.constant([3, 5], tf.int64)}
    np.testing.assert_array_equal(model({"history": tf.zeros([1, 1], tf.int64)}, [items])[0], [[3, 2]])
