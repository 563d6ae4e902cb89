"""Every registered ranking model has the properties that the rest of the project relies on."""

from __future__ import annotations

import pytest

from trainer.models.registry import list_models
from trainer.testing import CHECKS, Check

MODELS = [info.name for info in list_models() if info.task == "ranking"]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", MODELS)
def test_every_model(name: str, check: Check) -> None:
    check(name, {})
