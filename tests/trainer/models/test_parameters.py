"""Parameter counts, as published or worked by hand: a check of each model's structure.

BARS (Zhu et al., SIGIR 2022, https://openbenchmark.github.io/BARS) counts, on Frappe_x1, 5,379 training values and 10 rows for what is out
of vocabulary; padding rows and the moving statistics of batch normalisation are not counted.
"""

from __future__ import annotations

import known_models
import numpy as np
import pytest

from feature_specs import CategoricalFeature, FeatureSpec, Hash, Keys, Label, NumericFeature, SequenceFeature
from feature_specs.features import AnyFeature
from trainer.layers import Inputs, StackedTable
from trainer.models.registry import get_model

# Values and one row out of vocabulary of user, item and eight fields of context, 5,389 in all.
_ROWS = {"user": 958, "item": 4080} | {f"context_{i}": 43 for i in range(7)} | {"context_7": 50}
FRAPPE = FeatureSpec(
    name="frappe_shaped",
    features=tuple(CategoricalFeature(name=name, encoding=Hash(num_buckets=rows)) for name, rows in _ROWS.items()),
    label=Label(column="label"),
    keys=Keys(user="user", item="item"),
)
MLP = {"embedding_dim": 10, "hidden_units": (400, 400, 400)}
NORM = {**MLP, "batch_norm": True}
ATTENTION = {"embedding_dim": 10, "attention_units": 128, "num_heads": 4}


@pytest.mark.parametrize(
    ("name", "hyper_parameters", "published"),
    [
        ("lr", {}, 5_390),
        ("fm", {"embedding_dim": 10}, 59_280),
        ("ffm", {"embedding_dim": 10}, 490_400),
        ("afm", {"embedding_dim": 10, "attention_units": 128}, 60_826),
        ("nfm", {**MLP, "batch_norm": False}, 384_880),
        ("deepfm", NORM, 423_280),
        ("ipnn", MLP, 433_491),
        ("ipnn", {**MLP, "factorized": True}, 419_491),
        ("dcn", {**NORM, "num_layers": 3}, 418_591),
        ("dcn_v2", {**NORM, "num_layers": 4, "structure": "parallel"}, 458_391),
        ("xdeepfm", {**NORM, "cin_units": (64,)}, 429_809),
        ("autoint", {**ATTENTION, "num_layers": 6}, 306_051),
        ("autoint", {**ATTENTION, "num_layers": 5, "layer_norm": True, "scale": True, **NORM}, 622_180),
        ("mlp", NORM, 417_891),
        ("final_mlp", {"embedding_dim": 10, "batch_norm": True}, 253_272),
        # Published: 423,280, without a bias on the wide side; ours has it there, and none on the deep side.
        ("wide_deep", NORM, 423_280),
    ],
)
def test_parameters_on_frappe(name: str, hyper_parameters: dict, published: int) -> None:
    assert _parameters(name, FRAPPE, hyper_parameters) == published


# Of the models without a published number. Each layer is (inputs + 1 for its bias) * outputs; 5,389 vectors of width 10 come first.
VECTORS = 5_389 * 10
# 10 vectors and 45 products of pairs: 145 inputs.
HIDDEN_OF_PNN = (145 + 1) * 400 + 2 * (400 + 1) * 400 + (400 + 1)
RESIDUAL_UNITS = sum((100 + 1) * units + (units + 1) * 100 for units in (64, 32))
# One more vector, of the numbers, makes 11 and 55 pairs. The second MLP takes that vector and the products.
BOTTOM, TOP = (2 + 1) * 512 + (512 + 1) * 256 + (256 + 1) * 64 + (64 + 1) * 10, (10 + 55 + 1) * 512 + (512 + 1) * 256 + (256 + 1)
TOP_ALONE = (45 + 1) * 512 + (512 + 1) * 256 + (256 + 1)
# Attention sees four vectors; `dice` has a slope a unit. 10 vectors, and the history's as an eleventh.
ATTENTION_OF_DIN = (4 * 10 + 1) * 80 + 80 + (80 + 1) * 40 + 40 + (40 + 1)
HIDDEN_OF_DIN = (110 + 1) * 200 + 200 + (200 + 1) * 80 + 80 + (80 + 1)
NUMBERS = tuple(NumericFeature(name=name) for name in ("age", "price"))
HISTORY = SequenceFeature(name="history", table="item")


@pytest.mark.parametrize(
    ("name", "more", "hyper_parameters", "worked"),
    [
        ("opnn", (), MLP, VECTORS + 45 * 10 * 10 + HIDDEN_OF_PNN),
        ("opnn", (), {**MLP, "kernel": "vector"}, VECTORS + 45 * 10 + HIDDEN_OF_PNN),
        ("deep_crossing", (), {"embedding_dim": 10, "residual_units": (64, 32)}, VECTORS + RESIDUAL_UNITS + (100 + 1)),
        ("dlrm", NUMBERS, {"embedding_dim": 10}, VECTORS + BOTTOM + TOP),
        # Without numbers there is no first MLP, and nothing that Keras would warn of.
        ("dlrm", (), {"embedding_dim": 10}, VECTORS + TOP_ALONE),
        ("din", (HISTORY,), {"embedding_dim": 10}, VECTORS + ATTENTION_OF_DIN + HIDDEN_OF_DIN),
    ],
)
def test_parameters_by_hand(name: str, more: tuple[AnyFeature, ...], hyper_parameters: dict, worked: int) -> None:
    assert _parameters(name, FRAPPE.model_copy(update={"features": (*FRAPPE.features, *more)}), hyper_parameters) == worked


def test_every_known_model_is_counted() -> None:
    marks = [mark for test in (test_parameters_on_frappe, test_parameters_by_hand) for mark in test.pytestmark]
    assert {row[0] for mark in marks for row in mark.args[1]} == known_models.RANKING


def _parameters(name: str, spec: FeatureSpec, hyper_parameters: dict) -> int:
    """Returns the number of trained parameters, but for padding rows."""
    model = get_model(name)(Inputs(spec), **hyper_parameters)
    shapes = {f.name: (2, 3) if isinstance(f, SequenceFeature) else (2,) for f in spec.features}
    model({f.name: np.ones(shapes[f.name], np.float32 if isinstance(f, NumericFeature) else np.int64) for f in spec.features})
    tables = [layer for layer in model._flatten_layers() if isinstance(layer, StackedTable)]
    assert sum(len(table.rows) for table in tables) % 2 == 0  # ten fields, and two contexts
    total = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    return total - sum(len(table.rows) * table.dim for table in tables)
