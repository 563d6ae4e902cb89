"""Every registered matching model has the properties that the rest of the project relies on."""

from __future__ import annotations

from typing import Any

import pytest
from settled import cases

from trainer.models.registry import list_models
from trainer.testing_matching import CHECKS, Check, check_export, check_mixed_precision, check_seed

MODELS = [info.name for info in list_models() if info.task == "matching"]
# Small, so that all models take minutes; what is not named here has its defaults.
SMALL: dict[str, dict[str, Any]] = {
    "attrec": {"embedding_dim": 8},
    "bpr": {"embedding_dim": 8},
    "caser": {"embedding_dim": 8},
    "gru4rec": {"embedding_dim": 8},
    "neumf": {"gmf_dim": 4, "mlp_dim": 8, "dropout": 0.1},
    "sasrec": {"embedding_dim": 8, "max_length": 6},
    "two_tower": {"embedding_dim": 8, "hidden_units": (16,), "output_dim": 8},
}
# The checks that take most of the time are marked slow for models that have long passed them. A model of two towers and one of distances
# and histories, attrec, have all, as has a new one.
DEAR, SETTLED = {check_export, check_mixed_precision, check_seed}, "bpr caser ease gmf gru4rec mlp_ncf neumf popularity sasrec"


@pytest.mark.parametrize(("name", "check"), cases(MODELS, CHECKS, DEAR, SETTLED))
def test_every_model(name: str, check: Check) -> None:
    check(name, SMALL.get(name, {}))
