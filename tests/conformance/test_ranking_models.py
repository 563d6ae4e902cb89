"""Every registered ranking model has the properties that the rest of the project relies on."""

from __future__ import annotations

from typing import Any

import pytest
from settled import cases

from trainer.models.registry import list_models
from trainer.testing import CHECKS, Check, check_checkpoint, check_export, check_mixed_precision, check_seed

MODELS = [info.name for info in list_models() if info.task == "ranking"]
# Small, so that all models take minutes; what is not named here has its defaults.
SMALL: dict[str, dict[str, Any]] = {
    "afm": {"embedding_dim": 8, "attention_units": 8},
    "autoint": {"embedding_dim": 8, "attention_units": 8, "hidden_units": (8,)},
    "dcn": {"embedding_dim": 8, "num_layers": 2, "hidden_units": (16,)},
    "dcn_v2": {"embedding_dim": 8, "structure": "parallel", "low_rank": 4, "num_experts": 2, "hidden_units": (16,)},
    "deep_crossing": {"embedding_dim": 8, "residual_units": (16, 16)},
    "deepfm": {"embedding_dim": 8, "hidden_units": (16,)},
    "din": {"embedding_dim": 8, "attention_units": (8,), "hidden_units": (16,)},
    "dlrm": {"embedding_dim": 8, "bottom_units": (16,), "top_units": (16,)},
    "final_mlp": {"embedding_dim": 8, "first_units": (10,), "second_units": (10,), "gate_units": 8},
    "ipnn": {"embedding_dim": 8, "hidden_units": (64,)},
    "mlp": {"embedding_dim": 8, "hidden_units": (64,)},
    "opnn": {"embedding_dim": 8, "hidden_units": (64,)},
    "wide_deep": {"embedding_dim": 8, "hidden_units": (16,)},
    "xdeepfm": {"embedding_dim": 8, "cin_units": (8, 8), "hidden_units": (16,)},
}
# The checks that take most of the time are marked slow for models that have long passed them. A new model has all; so have three that
# stand for the others: lists as they are (din), batch normalisation and dropout (nfm), experts in a Python list (dcn_v2).
DEAR = {check_checkpoint, check_seed, check_mixed_precision, check_export}
SETTLED = "afm autoint dcn deep_crossing deepfm dlrm ffm final_mlp fm ipnn lr mlp opnn wide_deep xdeepfm"


# Structures that these do not have, in the slow set.
VARIANTS: dict[str, dict[str, Any]] = {
    "afm:max": {"embedding_dim": 8, "pooling": "max"},
    "afm:mean": {"embedding_dim": 8, "pooling": "mean"},
    "afm:sum": {"embedding_dim": 8, "pooling": "sum"},
    "autoint:alone": {"embedding_dim": 8, "attention_units": 8},
    "dcn_v2:full": {"embedding_dim": 8, "structure": "parallel", "hidden_units": (16,)},
    "dcn_v2:stacked": {"embedding_dim": 8, "structure": "stacked", "low_rank": 4, "hidden_units": (16,)},
    "final_mlp:without_gates": {"embedding_dim": 8, "first_units": (10,), "second_units": (10,), "gate_units": 0},
    "ipnn:factorized": {"embedding_dim": 8, "hidden_units": (64,), "factorized": True},
    "opnn:vector": {"embedding_dim": 8, "hidden_units": (64,), "kernel": "vector"},
}


@pytest.mark.parametrize(("name", "check"), cases(MODELS, CHECKS, DEAR, SETTLED))
def test_every_model(name: str, check: Check) -> None:
    check(name, SMALL.get(name, {}))


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "check"), cases(VARIANTS, CHECKS, (), ""))
def test_every_variant(variant: str, check: Check) -> None:
    check(variant.partition(":")[0], VARIANTS[variant])
