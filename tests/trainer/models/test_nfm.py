"""NFM against the paper's formulas."""

from __future__ import annotations

import numpy as np
import pytest
from model_reference import DIM, FEATURES, SPEC, dense, logits, made, relu_mlp, with_weights

from trainer.layers import Inputs
from trainer.models.ranking.nfm import NFM

PLAIN = {"embedding_dim": DIM, "pooled_dropout": 0.0, "dropout": 0.0, "batch_norm": False}


def test_without_hidden_layers_and_with_a_projection_of_ones_it_is_an_fm() -> None:
    model = made("nfm", hidden_units=(), **PLAIN)
    model.projection.set_weights([np.ones((DIM, 1)), np.array([0.25])])
    factors, linear = with_weights(model.fields)
    pairs = [sum(row[i] @ row[j] for i in range(4) for j in range(i + 1, 4)) for row in factors]
    np.testing.assert_allclose(logits(model), 0.25 + linear + pairs, rtol=1e-4)


def test_the_paper_s_formula_with_one_hidden_layer() -> None:
    model = made("nfm", hidden_units=(3,), **PLAIN)
    factors, linear = with_weights(model.fields)
    # Equation 3, as a double loop over fields.
    pooled = sum(factors[:, i] * factors[:, j] for i in range(4) for j in range(i + 1, 4))
    np.testing.assert_allclose(logits(model), linear + dense(model.projection, relu_mlp(model.hidden, pooled)), rtol=1e-4)


def test_parts_add_up_to_the_logits() -> None:
    model = made("nfm", embedding_dim=DIM)
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
    model = made("nfm", embedding_dim=DIM, pooled_dropout=0.0, dropout=0.0)
    alone = model({name: values[:1] for name, values in FEATURES.items()}, training=False)
    np.testing.assert_allclose(alone, model(FEATURES, training=False)[:1], rtol=1e-5)
    assert np.abs(model(FEATURES, training=True) - model(FEATURES, training=False)).max() > 1e-3
