"""Published parameter counts: a check of each model's structure.

BARS (Zhu et al., SIGIR 2022, https://openbenchmark.github.io/BARS) counts, on Frappe_x1, 5,379 training values and 10 rows for what is out
of vocabulary; padding rows and the moving statistics of batch normalisation are not counted.
"""

from __future__ import annotations

import numpy as np
import pytest

from feature_specs import CategoricalFeature, FeatureSpec, Hash, Keys, Label
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
    model = get_model(name)(Inputs(FRAPPE), **hyper_parameters)
    model({feature.name: np.ones(2, np.int64) for feature in FRAPPE.features})
    total = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    tables = [layer for layer in model._flatten_layers() if isinstance(layer, StackedTable)]
    assert sum(len(table.rows) for table in tables) % 2 == 0  # ten fields, and two contexts
    assert total - sum(len(table.rows) * table.dim for table in tables) == published
