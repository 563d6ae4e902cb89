"""Three users and four items with a side feature each, and their vectors looked up one by one, for the matching models' double loops."""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs import FeatureSpec
from trainer.layers import Inputs
from trainer.models.base import MatchingModel
from trainer.models.registry import get_model

SPEC = FeatureSpec.from_yaml("""
name: tiny
features:
- {kind: categorical, name: user, dtype: int64, encoding: {type: identity, num_buckets: 5}}
- {kind: numeric, name: age}
- {kind: categorical, name: item, dtype: int64, encoding: {type: identity, num_buckets: 6}}
- {kind: categorical, name: genre, dtype: int64, encoding: {type: identity, num_buckets: 2}}
- {kind: sequence, name: history, dtype: int64, history_of: item, table: item}
label: {implicit: true, task: matching}
keys: {user: user, item: item, time: time}
item_features: [genre]
""")
IDS_ONLY = SPEC.model_copy(update={"features": (SPEC.features[0], SPEC.features[2], SPEC.features[4]), "item_features": ()})
USERS = {
    "user": tf.constant([1, 4, 2], tf.int64),
    "age": tf.constant([0.5, -1.0, 2.0]),
    "history": tf.constant([[3, 1], [2, 0], [0, 0]], tf.int64),
}
ITEMS = {"item": tf.constant([1, 2, 5, 6], tf.int64), "genre": tf.constant([2, 1, 1, 0], tf.int64)}
GENRES = np.array([0, 2, 1, 2, 0, 1, 0, 0])  # of each item id
INPUTS = Inputs(SPEC, {}, {}, {"genre": GENRES})


class Fitted(NamedTuple):
    """Training interactions."""

    users: NDArray
    items: NDArray
    num_users: int


def made(name: str, seed: int = 0, inputs: Inputs = INPUTS, **hyper_parameters: object) -> MatchingModel:
    """Returns a registered model whose trained variables are random, also those that begin at zero."""
    keras.utils.set_random_seed(seed)
    model = get_model(name)(inputs, **hyper_parameters)
    model(USERS, [ITEMS])
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(scale=0.7, size=variable.shape).astype(np.float32))
    return model


def scores(model: MatchingModel) -> NDArray:
    """Returns the score of each user and item, `[3, 4]`."""
    return model(USERS, [ITEMS], training=False)[0].numpy()


def own_scores(model: MatchingModel) -> NDArray:
    """Returns the same, all items given to each user as candidates of their own."""
    own = {name: tf.stack([values] * 3) for name, values in ITEMS.items()}
    return model(USERS, [own], training=False)[0].numpy()


def fields_of_users(model: MatchingModel) -> list[list[NDArray]]:
    """Returns the vectors of each user's fields."""
    tokens, numbers = _tables(model.users)
    return [[tokens[int(user)], float(age) * numbers[0]] for user, age in zip(USERS["user"], USERS["age"], strict=True)]


def fields_of_item(model: MatchingModel, item: int, genre: int) -> list[NDArray]:
    """Returns the vectors of an item's fields; zero for a missing one."""
    tokens, _ = _tables(model.items)
    return [tokens[item], tokens[8 + genre] * (genre > 0)]


def user_vectors(model: MatchingModel) -> NDArray:
    """Returns `[3, D]`."""
    return np.array([sum(fields) for fields in fields_of_users(model)])


def item_vectors(model: MatchingModel) -> NDArray:
    """Returns `[4, D]`."""
    pairs = zip(ITEMS["item"].numpy(), ITEMS["genre"].numpy(), strict=True)
    return np.array([sum(fields_of_item(model, item, genre)) for item, genre in pairs])


def _tables(layer: keras.layers.Layer) -> tuple[NDArray, NDArray]:
    parts = layer._flatten_layers()
    table = next(part.table for part in parts if hasattr(part, "table"))
    return table.numpy(), next((part.vectors.numpy() for part in layer._flatten_layers() if hasattr(part, "vectors")), np.zeros((1, 1)))
