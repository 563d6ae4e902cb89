"""DIN: a history is pooled by its attention to the target, without normalisation."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from model_reference import dense, relu_mlp

from feature_specs import CategoricalFeature, FeatureSpec, Identity, Label, MultiValuedFeature, NumericFeature, SequenceFeature
from trainer.layers import Inputs
from trainer.layers.activations import Dice
from trainer.layers.target_attention import TargetAttention
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
    layers = list(model.fields._flatten_layers())
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


TWO = FeatureSpec.from_yaml("""
name: two_histories
features:
- {kind: categorical, name: item, dtype: int64, encoding: {type: identity, num_buckets: 6}}
- {kind: categorical, name: shop, dtype: int64, embedding_dim: 2, encoding: {type: identity, num_buckets: 4}}
- {kind: sequence, name: items, dtype: int64, table: item, combiner: attention}
- {kind: sequence, name: shops, dtype: int64, table: shop, padding: left, combiner: sum}
- {kind: sequence, name: pages, dtype: int64, combiner: sqrtn, encoding: {type: identity, num_buckets: 4}}
- {kind: multi_valued, name: tags, dtype: int64, combiner: sum, encoding: {type: identity, num_buckets: 4}}
- {kind: multi_valued, name: topics, dtype: int64, weights: counts, encoding: {type: identity, num_buckets: 4}}
label: {column: clicked}
""")
ROWS = {
    "item": tf.constant([2, 5], tf.int64),
    "shop": tf.constant([1, 3], tf.int64),
    "items": tf.constant([[1, 2, 6], [3, 0, 0]], tf.int64),
    "shops": tf.constant([[1, 4], [2, 0]], tf.int64),
    "pages": tf.constant([[1, 2, 3, 4], [0, 0, 0, 0]], tf.int64),
    "tags": tf.constant([[1, 3], [2, 0]], tf.int64),
    "topics": tf.constant([[1, 2], [3, 4]], tf.int64),
    "topics_weights": tf.constant([[1.0, 3.0], [2.0, 0.5]]),
}


def test_two_histories_and_lists_pooled_as_they_declare() -> None:
    """Of two widths; histories are no matter of combiners, other lists and sequences are."""
    inputs = Inputs(TWO)
    assert inputs.targets == {"items": "item", "shops": "shop"}
    layer = inputs.fields_and_histories(DIM)
    found = layer(ROWS)
    assert tuple(found) == TWO.fields
    assert {name: tuple(each.shape[1:]) for name, each in found.items()} == {
        "item": (1, 3),
        "shop": (1, 2),
        "items": (3, 3),
        "shops": (2, 2),
        "pages": (1, 3),
        "tags": (1, 3),
        "topics": (1, 3),
    }
    tables = {name: stack.table.numpy()[first:] for stack in layer._flatten_layers() if hasattr(stack, "offsets") and hasattr(stack, "table") for name, first in stack.offsets.items()}  # fmt: skip  # noqa: E501
    close = np.testing.assert_allclose
    close(found["shops"][1], [np.zeros(2), tables["shop"][2]], atol=1e-6)
    close(found["pages"][:, 0], [tables["pages"][1:5].sum(axis=0) / 2, np.zeros(3)], atol=1e-6)
    close(found["tags"][0, 0], tables["tags"][1] + tables["tags"][3], atol=1e-6)
    close(found["topics"][1, 0], (2 * tables["topics"][3] + 0.5 * tables["topics"][4]) / 2.5, atol=1e-6)
    assert not [variable.path for variable in layer.trainable_variables if "attention" in variable.path]
    model = DIN(inputs, embedding_dim=DIM, attention_units=(4,), hidden_units=(5,))
    assert np.isfinite(model(ROWS, training=True)).all()


def test_padding_counts_in_no_moments() -> None:
    """Longer padding changes neither what is learned nor the moments that evaluation uses."""
    keras.utils.set_random_seed(0)
    attention = TargetAttention((4,))
    history, target = tf.random.stateless_normal([3, 2, DIM], [0, 1]), tf.random.stateless_normal([3, DIM], [2, 3])
    padded = tf.pad(history, [[0, 0], [0, 7], [0, 0]])
    short, long = (attention(each, target, training=True) for each in (history, padded))
    np.testing.assert_allclose(short, long, rtol=1e-5)
    (dice,) = [layer for layer in attention._flatten_layers() if isinstance(layer, Dice)]
    seen = tf.concat([history, tf.repeat(target[:, None], 2, 1), history - target[:, None], history * target[:, None]], 2)
    expected = tf.reduce_mean(attention.hidden.blocks[0](seen), [0, 1])
    np.testing.assert_allclose(dice.norm.moving_mean, expected * (0.1 + 0.09), rtol=1e-4)


def test_a_batch_without_any_history_trains() -> None:
    nothing = TargetAttention((4,))(tf.zeros([3, 0, DIM]), tf.ones([3, DIM]), training=True)
    np.testing.assert_array_equal(nothing, np.zeros([3, DIM]))
