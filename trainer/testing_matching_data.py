"""Made-up interactions with features on both sides, for the checks in `trainer.testing_matching`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs.spec import FeatureSpec
from trainer.layers import Inputs
from trainer.matching.catalogue import Catalogue

SPEC = FeatureSpec.from_yaml("""
name: conformance
features:
- {kind: categorical, name: user, dtype: int64, encoding: {type: vocabulary}}
- {kind: categorical, name: city, encoding: {type: hash, num_buckets: 7}}
- {kind: numeric, name: age, missing_indicator: true}
- {kind: multi_valued, name: words, encoding: {type: hash, num_buckets: 8}, weights: counts}
- {kind: categorical, name: item, dtype: int64, encoding: {type: vocabulary}}
- {kind: multi_valued, name: tags, dtype: int64, encoding: {type: identity, num_buckets: 9}}
- {kind: numeric, name: profile, size: 3}
- {kind: bucketized, name: price, boundaries: [1, 2, 3]}
- {kind: crossed, name: price_by_tags, inputs: [price, tags], num_buckets: 11}
- {kind: sequence, name: history, dtype: int64, history_of: item, table: item, max_length: 3}
label: {implicit: true, task: matching}
keys: {user: user, item: item, time: time}
item_features: [tags, profile, price, price_by_tags]
""")
NUM_USERS, NUM_KNOWN = 32, 20
# Padding, what training has seen, and one bucket for all that it has not.
TABLE_ROWS = {"user": NUM_USERS + 2, "item": NUM_KNOWN + 2}
UNSEEN_USER, UNSEEN_ITEM = NUM_USERS + 1, NUM_KNOWN + 1
LARGEST_ID = {feature.name: SPEC.tables[feature.table_name].num_rows(0) - 1 for feature in SPEC.table_features}
LARGEST_ID |= {"user": UNSEEN_USER, "item": UNSEEN_ITEM, "history": UNSEEN_ITEM}
LONGEST = 5  # what the model reads is up to itself: the spec's max_length is for exports
USER_LISTS = ("words", "words_weights", "history")


class Interactions(NamedTuple):
    """As `trainer.matching.rows.Interactions`.

    Attributes:
        users: Rows, int64 `[N]`.
        items: Numbers, int64 `[N]`.
        num_users: Of all users.
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    num_users: int


def catalogue() -> Catalogue:
    """Returns 22 items; training has not seen the last two, which share an id."""
    rng = np.random.default_rng(0)
    features = _columns(SPEC.item_names[1:], NUM_KNOWN + 2, rng)
    features["item"] = np.array([*range(1, NUM_KNOWN + 1), UNSEEN_ITEM, UNSEEN_ITEM])
    counts = np.bincount(interactions().items, minlength=NUM_KNOWN + 2)
    return Catalogue(tuple(b"%d" % number for number in range(NUM_KNOWN + 2)), counts, features, "item")


def inputs() -> Inputs:
    """Returns the input layers of the made-up data."""
    return Inputs(SPEC, TABLE_ROWS, {}, catalogue().by_id(TABLE_ROWS["item"]))


def sequences() -> NDArray[np.int64]:
    """Returns the items that each user took, `[32, 6]`, whose order says which comes next: numbers go up by one, and from 19 to 0."""
    return (np.arange(NUM_USERS)[:, np.newaxis] * 7 + np.arange(LONGEST + 1)) % NUM_KNOWN


def interactions() -> Interactions:
    """Returns all that the users took."""
    users = np.repeat(np.arange(NUM_USERS), LONGEST + 1)
    return Interactions(users, sequences().reshape(-1), NUM_USERS)


def users(rows: int = NUM_USERS, next_items: int = 0) -> tuple[dict[str, NDArray], NDArray[np.int64]]:
    """Returns user features, histories included, and what the users took next.

    Args:
        rows: How many users.
        next_items: How many items follow each user's history, `[rows, next_items]`, -1 beyond the last. Histories are of 1 to 5 items.
            With 0 every item of a history but the first follows those before it: items that follow are `[rows, 5]`.
    """
    features = _columns(SPEC.user_names[1:], NUM_USERS, np.random.default_rng(1))
    features = {name: values[:rows] for name, values in features.items()}
    features["user"] = np.arange(1, rows + 1)
    lengths = 1 + np.arange(rows)[:, np.newaxis] % LONGEST
    steps, taken = np.arange(LONGEST), sequences()[:rows]
    features["history"] = np.where(steps < lengths, taken[:, :-1] + 1, 0)
    if not next_items:
        return features, np.where(steps < lengths, taken[:, 1:], -1)
    places = lengths + np.arange(next_items)
    following = np.take_along_axis(taken, np.minimum(places, LONGEST), axis=1)
    return features, np.where(places <= LONGEST, following, -1)


def items(of: Catalogue, numbers: NDArray) -> dict[str, tf.Tensor]:
    """Returns the features of items by their numbers, of any shape."""
    return of.take(tf.constant(numbers), of.tensors())


def rows_of(features: Mapping[str, tf.Tensor], rows: list[int]) -> dict[str, tf.Tensor]:
    """Returns some rows."""
    return {name: tf.gather(values, rows) for name, values in features.items()}


def padded(values: tf.Tensor, padding: float) -> tf.Tensor:
    """Returns lists `[B, T]` with more padding."""
    return tf.pad(values, [[0, 0], [0, 3]], constant_values=padding)


def tensors(columns: dict[str, NDArray]) -> dict[str, tf.Tensor]:
    """Returns columns as tensors."""
    return {name: tf.constant(values) for name, values in columns.items()}


def _columns(names: tuple[str, ...], rows: int, rng: np.random.Generator) -> dict[str, NDArray]:
    """Returns transformed columns of some features; lists are `[rows, 3]` with 0 to 3 values."""
    found: dict[str, NDArray] = {}
    for feature in (feature for feature in SPEC.features if feature.name in names):
        present = np.arange(3) < (np.arange(rows) % 4)[:, np.newaxis]
        for column in feature.outputs:
            shape = {"single": (rows,), "vector": (rows, column.size), "list": (rows, 3)}[column.layout]
            values = rng.integers(1, LARGEST_ID[column.name] + 1, shape) if column.name in LARGEST_ID else rng.integers(1, 4, shape) / 2
            padded = np.where(present, values, SPEC.paddings[column.name]) if column.layout == "list" else values
            found[column.name] = padded.astype(column.dtype)
    return found
