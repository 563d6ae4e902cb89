"""DIN: a history is pooled by its attention to the target, without normalisation."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from model_reference import dense, relu_mlp

from feature_specs import CategoricalFeature, FeatureSpec, Identity, Label, MultiValuedFeature, NumericFeature, SequenceFeature
from trainer.layers import Inputs
from trainer.models.ranking.din import DIN

DIM = 3
SPEC = FeatureSpec(
    name="shop",
    features=(
        CategoricalFeature(name="item", dtype="int64", encoding=Identity(num_buckets=6)),
        SequenceFeature(name="seen", dtype="int64", table="item"),
        MultiValuedFeature(name="tags", dtype="int64", encoding=Identity(num_buckets=4)),
        NumericFeature(name="price"),
    ),
    label=Label(column="clicked"),
)
FEATURES = {
    "item": tf.constant([2, 5], tf.int64),
    "seen": tf.constant([[1, 2, 6], [3, 0, 0]], tf.int64),
    "tags": tf.constant([[1, 4], [0, 0]], tf.int64),
    "price": tf.constant([0.5, -1.0]),
}


def _made() -> DIN:
    model = DIN(Inputs(SPEC), embedding_dim=DIM, attention_units=(4,), hidden_units=(5,), activation="relu")
    model(FEATURES)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(scale=0.7, size=variable.shape).astype(np.float32))
    return model


def _table(model: DIN) -> tuple[np.ndarray, dict[str, int], np.ndarray]:
    layers = list(model.sequences._flatten_layers())
    stack = next(layer for layer in layers if hasattr(layer, "offsets"))
    return stack.table.numpy(), stack.offsets, next(layer for layer in layers if hasattr(layer, "vectors")).vectors.numpy()


def test_the_target_is_the_feature_that_shares_the_history_s_table() -> None:
    assert Inputs(SPEC).targets == {"seen": "item"}


def test_the_formula() -> None:
    model = _made()
    table, offsets, numbers = _table(model)
    attention = model.attention["seen"]
    rows = []
    for row in range(2):
        item = table[offsets["item"] + int(FEATURES["item"][row])]
        seen = [table[offsets["item"] + int(i)] for i in FEATURES["seen"][row] if i > 0]
        tags = [table[offsets["tags"] + int(i)] for i in FEATURES["tags"][row] if i > 0]
        interest = np.zeros(DIM)
        for step in seen:
            hidden = relu_mlp(attention.hidden, np.concatenate([step, item, step - item, step * item])[None])
            interest += dense(attention.score, hidden)[0] * step
        mean = np.mean(tags, axis=0) if tags else np.zeros(DIM)
        rows.append(np.concatenate([item, interest, mean, float(FEATURES["price"][row]) * numbers[0]]))
    expected = dense(model.projection, relu_mlp(model.hidden, np.array(rows)))
    np.testing.assert_allclose(model(FEATURES), expected, rtol=2e-4)


def test_dice_follows_the_moments_of_its_inputs() -> None:
    from trainer.layers.activations import activation_layer

    dice = activation_layer("dice", "dice")
    dice.build((None, 1))
    dice.alpha.assign([0.5])
    x = np.array([[-1.0], [1.0], [3.0]], np.float32)
    share = 1 / (1 + np.exp(-(x - x.mean()) / np.sqrt(x.var() + 1e-8)))
    np.testing.assert_allclose(dice(x, training=True), share * x + (1 - share) * 0.5 * x, rtol=1e-5)
    assert isinstance(activation_layer("mish", "a"), keras.layers.Activation)
