"""NFM against the paper's formulas."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from feature_specs import CategoricalFeature, FeatureSpec, Identity, Label, MultiValuedFeature, NumericFeature
from trainer.layers import Inputs
from trainer.models.ranking.nfm import NFM

SPEC = FeatureSpec(
    name="tiny",
    features=(
        CategoricalFeature(name="a", dtype="int64", encoding=Identity(num_buckets=4)),
        CategoricalFeature(name="b", dtype="int64", encoding=Identity(num_buckets=3)),
        MultiValuedFeature(name="tags", dtype="int64", encoding=Identity(num_buckets=5), combiner="mean"),
        NumericFeature(name="x"),
    ),
    label=Label(column="y"),
)
FEATURES = {
    "a": tf.constant([1, 4, 0], tf.int64),
    "b": tf.constant([2, 2, 3], tf.int64),
    "tags": tf.constant([[1, 2, 3], [5, 0, 0], [0, 0, 0]], tf.int64),
    "x": tf.constant([0.5, -2.0, 1.5]),
}
DIM = 4


def _randomised(model: keras.Model, seed: int = 0) -> keras.Model:
    model(FEATURES)
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape).astype(np.float32))
    return model


def _fields(layer: keras.layers.Layer) -> tuple[np.ndarray, np.ndarray]:
    """Returns vectors `[3, 4, D]` and weights `[3, 4]` of the four fields, looked up one by one."""
    dim = DIM + 1
    layers = {sub.name: sub for sub in layer._flatten_layers() if sub is not layer}
    stack = next(sub for name, sub in layers.items() if name == f"tables_{dim}")
    numbers = next(sub for name, sub in layers.items() if name == f"numbers_{dim}")
    table, vectors = stack.table.numpy(), numbers.vectors.numpy()
    result = np.zeros((3, 4, dim))
    for row in range(3):
        for field, name in enumerate(("a", "b")):
            if (found := int(FEATURES[name][row])) > 0:
                result[row, field] = table[stack.offsets[name] + found]
        ids = [int(i) for i in FEATURES["tags"][row] if i > 0]
        if ids:
            result[row, 2] = np.mean([table[stack.offsets["tags"] + i] for i in ids], axis=0)
        result[row, 3] = float(FEATURES["x"][row]) * vectors[0]
    return result[:, :, :-1], result[:, :, -1]


def _pairwise(vectors: np.ndarray) -> np.ndarray:
    """Equation 3, as a double loop over fields: sum over i < j of v_i * v_j, `[B, D]`."""
    fields = vectors.shape[1]
    return sum(vectors[:, i] * vectors[:, j] for i in range(fields) for j in range(i + 1, fields))


def test_without_hidden_layers_and_with_a_projection_of_ones_it_is_an_fm() -> None:
    model = _randomised(NFM(Inputs(SPEC), embedding_dim=DIM, hidden_units=(), dropout=0.0, batch_norm=False))
    model.projection.set_weights([np.ones((DIM, 1)), np.array([0.25])])
    factors, weights = _fields(model.fields)
    fm = [0.25 + weights[r].sum() + sum(factors[r, i] @ factors[r, j] for i in range(4) for j in range(i + 1, 4)) for r in range(3)]
    np.testing.assert_allclose(model(FEATURES), fm, rtol=1e-4)


def test_the_paper_s_formula_with_one_hidden_layer() -> None:
    model = _randomised(NFM(Inputs(SPEC), embedding_dim=DIM, hidden_units=(3,), dropout=0.0, batch_norm=False))
    factors, linear = _fields(model.fields)
    pooled = _pairwise(factors)
    kernel, bias = (weights for weights in model.hidden.get_weights())
    weights, constant = model.projection.get_weights()
    hidden = np.maximum(pooled @ kernel + bias, 0.0)
    expected = linear.sum(1) + (hidden @ weights)[:, 0] + constant[0]
    np.testing.assert_allclose(model(FEATURES), expected, rtol=1e-4)


def test_parts_add_up_to_the_logits() -> None:
    model = _randomised(NFM(Inputs(SPEC), embedding_dim=DIM))
    parts = model.parts(FEATURES)
    assert list(parts) == ["first_order", "interaction"]
    np.testing.assert_allclose(sum(parts.values()), model(FEATURES), rtol=1e-5)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_parameters(batch_norm: bool) -> None:
    model = NFM(Inputs(SPEC), embedding_dim=DIM, hidden_units=(6,), batch_norm=batch_norm)
    model(FEATURES)
    rows = (4 + 2) + (3 + 2) + (5 + 2)  # identity tables: padding, values, out of range
    linear, factors = rows + 1, (rows + 1) * DIM
    mlp, projection = DIM * 6 + 6, 6 + 1
    norms = 2 * DIM + 2 * 6 if batch_norm else 0
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == linear + factors + mlp + projection + norms


def test_batch_norm_uses_moving_statistics_in_evaluation() -> None:
    model = _randomised(NFM(Inputs(SPEC), embedding_dim=DIM, dropout=0.0))
    alone = model({name: values[:1] for name, values in FEATURES.items()}, training=False)
    np.testing.assert_allclose(alone, model(FEATURES, training=False)[:1], rtol=1e-5)
    assert np.abs(model(FEATURES, training=True) - model(FEATURES, training=False)).max() > 1e-3
