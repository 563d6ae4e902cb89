"""Two towers over all fields of each side, and the history's mean."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from pair_reference import GENRES, IDS_ONLY, INPUTS, ITEMS, SPEC, USERS, fields_of_item, fields_of_users, made, own_scores, scores

from feature_specs import ColonnadeError, FeatureSpec
from trainer.layers import Inputs
from trainer.layers.tower import Tower
from trainer.models.registry import get_model

SMALL = {"embedding_dim": 2, "hidden_units": (4,), "output_dim": 3}


def _tower(tower: Tower, inputs: NDArray) -> NDArray:
    kernel, bias = tower.hidden.get_weights()
    last, last_bias = tower.output_layer.get_weights()
    return np.maximum(inputs @ kernel + bias, 0) @ last + last_bias


@pytest.mark.parametrize("normalize", [True, False])
def test_the_product_of_both_towers(normalize: bool) -> None:
    model = made("two_tower", normalize=normalize, temperature=0.5, **SMALL)
    items = [np.concatenate(fields_of_item(model, i, g)) for i, g in zip(ITEMS["item"].numpy(), ITEMS["genre"].numpy(), strict=True)]
    expected = np.zeros((3, 4))
    for row, (fields, history) in enumerate(zip(fields_of_users(model), USERS["history"].numpy(), strict=True)):
        taken = [np.concatenate(fields_of_item(model, i, GENRES[i])) for i in history if i > 0]
        mean = np.mean(taken, axis=0) if taken else np.zeros(4)
        user = _tower(model.user_tower, np.concatenate([*fields, mean]))
        for column, item in enumerate(items):
            candidate = _tower(model.item_tower, item)
            lengths = np.linalg.norm(user) * np.linalg.norm(candidate) if normalize else 1
            expected[row, column] = user @ candidate / lengths / 0.5
    np.testing.assert_allclose(scores(model), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(own_scores(model), expected, rtol=1e-4, atol=1e-5)
    if normalize:
        assert np.abs(expected).max() <= 1 / 0.5 + 1e-6


def test_only_the_last_items_count() -> None:
    model = made("two_tower", max_length=2, **SMALL)
    assert model.max_length == 2
    long, short = ({**USERS, "history": tf.constant([history] * 3, tf.int64)} for history in ([1, 4, 2, 5], [2, 5]))
    np.testing.assert_allclose(model(long, [ITEMS])[0], model(short, [ITEMS])[0], rtol=1e-6)


def test_users_whom_training_has_not_seen_have_their_history() -> None:
    features = IDS_ONLY.model_dump()["features"]
    features[0]["encoding"] = {"type": "vocabulary"}
    with_history = FeatureSpec.model_validate(IDS_ONLY.model_dump() | {"features": features})
    model = made("two_tower", inputs=Inputs(with_history, {"user": 7}), **SMALL)
    unseen = {**USERS, "user": tf.constant([6, 6, 6], tf.int64)}
    found = model(unseen, [ITEMS])[0].numpy()
    assert np.ptp(found, axis=0).min() > 0
    without = FeatureSpec.model_validate(IDS_ONLY.model_dump() | {"features": features[:2]})
    model = made("two_tower", inputs=Inputs(without, {"user": 7}), **SMALL)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Use a model that reads the history .* or features of users"):
        model(unseen, [ITEMS])


def test_a_history_alone_is_enough_and_nothing_is_not() -> None:
    history_alone = IDS_ONLY.model_copy(update={"features": IDS_ONLY.features[1:]})
    assert made("two_tower", inputs=Inputs(history_alone), **SMALL).users is None
    with pytest.raises(ColonnadeError, match="no feature on the user's side. Add one that reads the column 'user'"):
        get_model("two_tower")(Inputs(IDS_ONLY.model_copy(update={"features": IDS_ONLY.features[1:2]})))


def test_widths_may_differ_and_numbers_be_as_they_are() -> None:
    features = SPEC.model_dump()["features"]
    features[1]["representation"] = "value"
    features[3]["embedding_dim"] = 5
    spec = FeatureSpec.model_validate(SPEC.model_dump() | {"features": features})
    model = made("two_tower", inputs=Inputs(spec, {}, {}, {"genre": GENRES}), **SMALL)
    assert (model.users.width, model.items.width) == (2 + 1, 2 + 5)
    assert np.isfinite(scores(model)).all()


def test_defaults() -> None:
    model = get_model("two_tower")(INPUTS)
    assert (model.loss, model.examples, model.max_length) == ("in_batch_softmax", "pairs", 50)
