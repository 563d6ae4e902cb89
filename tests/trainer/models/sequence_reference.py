"""Users with histories of items that have a side feature, and what models of sequences share in their NumPy loops."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs import CategoricalFeature, FeatureSpec, Identity, Keys, Label, SequenceFeature
from trainer.layers import Inputs
from trainer.models.base import MatchingModel
from trainer.models.registry import make_model

SPEC = FeatureSpec(
    name="shop",
    features=(
        CategoricalFeature(name="user", dtype="int64", encoding=Identity(num_buckets=4)),
        CategoricalFeature(name="item", dtype="int64", encoding=Identity(num_buckets=9)),
        CategoricalFeature(name="genre", dtype="int64", encoding=Identity(num_buckets=3)),
        SequenceFeature(name="history", dtype="int64", table="item", history_of="item"),
    ),
    label=Label(implicit=True, task="matching"),
    keys=Keys(user="user", item="item", time="time"),
    item_features=("genre",),
)
NUM_IDS = 11  # padding, nine items, and the bucket of all others
GENRES = np.array([0, 1, 2, 3, 1, 2, 3, 1, 2, 3, 0])
INPUTS = Inputs(SPEC, {}, {}, {"genre": GENRES})
HISTORIES = ([3, 1, 4, 1, 5], [2, 7], [9], [], [8, 2, 8, 1, 8, 2, 8])
LONGEST = 7
FEATURES = {
    "user": tf.constant([1, 2, 3, 4, 0], tf.int64),
    "history": tf.constant([row + [0] * (LONGEST - len(row)) for row in HISTORIES], tf.int64),
}
ITEMS = {"item": tf.range(1, 10, dtype=tf.int64), "genre": tf.constant(GENRES[1:10])}


def made(name: str, **hyper_parameters: Any) -> MatchingModel:
    """Returns a registered model whose trained variables are random, also those that begin at zero."""
    keras.utils.set_random_seed(0)
    model: MatchingModel = make_model(name, INPUTS, hyper_parameters)
    model(FEATURES, [ITEMS])
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(scale=0.7, size=variable.shape).astype(np.float32))
    return model


def vectors_of(items: Any) -> NDArray:
    """Returns the vectors of all item ids, `[NUM_IDS, D]`."""
    return items.of_ids(tf.range(NUM_IDS)).numpy()


def cut(history: list[list[int]] | tuple[list[int], ...], user: NDArray | None = None, padding: int = 0) -> dict[str, tf.Tensor]:
    """Returns the features of users with other histories, with `padding` more columns."""
    width = max(len(row) for row in history) + padding
    ids = tf.constant([row + [0] * (width - len(row)) for row in history], tf.int64, shape=[len(history), width])
    return {"user": FEATURES["user"] if user is None else tf.constant(user), "history": ids}


def check_positions(model: MatchingModel, *, from_the_start: bool = True) -> None:
    """Asserts what holds for the queries at all positions, of every model of sequences.

    Args:
        model: The model.
        from_the_start: Whether a position's query is that of the history up to there; not where positions are counted from the end.
    """
    close = {"rtol": 1e-4, "atol": 1e-5}
    whole = model.query(FEATURES, all_positions=True).numpy()
    last = model.query(FEATURES).numpy()
    assert whole.shape == (len(HISTORIES), min(LONGEST, model.max_length), last.shape[1])
    for row, history in enumerate(HISTORIES):
        kept = history[-model.max_length :]
        if kept:
            np.testing.assert_allclose(whole[row, len(kept) - 1], last[row], **close)
        for position in range(len(kept)):
            user = FEATURES["user"][row : row + 1]
            if from_the_start:
                np.testing.assert_allclose(model.query(cut([kept[: position + 1]], user))[0], whole[row, position], **close)
            changed = kept[: position + 1] + [10 - item for item in kept[position + 1 :]]
            found = model.query(cut([changed], user), all_positions=True).numpy()[0, : position + 1]
            np.testing.assert_allclose(found, whole[row, : position + 1], **close)
    assert np.isfinite(whole).all()
    assert np.isfinite(last).all()


def check_padding(model: MatchingModel) -> None:
    """Asserts that neither padding nor the other users change a query, and that what is older than `max_length` does not count."""
    last = model.query(FEATURES).numpy()
    np.testing.assert_allclose(model.query(cut(HISTORIES, padding=4)), last, rtol=1e-4, atol=1e-5)
    for row, history in enumerate(HISTORIES):
        alone = cut([[6] * 3 + history if len(history) >= model.max_length else history], FEATURES["user"][row : row + 1])
        np.testing.assert_allclose(model.query(alone)[0], last[row], rtol=1e-4, atol=1e-5)


def check_gradients(model: MatchingModel, all_positions: bool = False) -> None:
    """Asserts that every trainable variable has a gradient that is finite and not all zero, and that every matrix' is so."""
    with tf.GradientTape() as tape:
        (scores,) = model(FEATURES, [ITEMS], all_positions=all_positions, training=True)
        loss = tf.reduce_sum(scores * tf.random.stateless_normal(tf.shape(scores), [0, 1]))
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(loss, [v.value for v in model.trainable_variables]), strict=True
    ):
        dense = tf.convert_to_tensor(gradient).numpy()
        assert np.isfinite(dense).all(), variable.path
        assert dense.any(), variable.path


def softmax(x: NDArray) -> NDArray:
    """Returns the softmax of a vector."""
    shares = np.exp(x - x.max())
    return shares / shares.sum()


def relu(x: NDArray) -> NDArray:
    """Returns max(x, 0)."""
    return np.maximum(x, 0)


def sigmoid(x: NDArray) -> NDArray:
    """Returns 1 / (1 + e^-x)."""
    return 1 / (1 + np.exp(-x))
