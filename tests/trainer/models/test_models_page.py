"""docs/models.md names every model and hyper-parameter with its default, docs/training.md every setting of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainer.config import TrainingConfig
from trainer.layers.activations import activation_layer
from trainer.models.registry import get_model, hyper_parameters, list_models

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "models.md").read_text(encoding="utf-8")
_MATCHING = (DOCS / "matching.md").read_text(encoding="utf-8")
PAGES = {"ranking": PAGE, "matching": _MATCHING.partition("## Models")[2].partition("## Losses")[0]}
MODELS = {info.name: info.task for info in list_models()}


def _written(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_and_hyper_parameter(name: str) -> None:
    lines = [line for line in PAGES[MODELS[name]].splitlines() if line.startswith(f"| `{name}` |")]
    assert len(lines) == 2, "one in the table of papers, one in that of hyper-parameters"
    paper = next(info.paper for info in list_models() if info.name == name)
    link = lines[0].partition("](")[2].partition(")")[0]
    assert link in paper, "the same link as in the file"
    for hyper_parameter, parameter in hyper_parameters(get_model(name)).items():
        assert f"`{hyper_parameter}={_written(parameter.default)}`" in lines[1], hyper_parameter


@pytest.mark.parametrize("task", PAGES)
def test_no_other_model_is_named(task: str) -> None:
    named = {line.split("`")[1] for line in PAGES[task].splitlines() if line.startswith("| `")}
    assert named == {name for name, its in MODELS.items() if its == task}


def test_every_activation() -> None:
    named = PAGE.partition("**Activations**:")[2].partition("**Widths.**")[0].split("`")[1::2]
    for activation in named:
        activation_layer(activation, "a")
    with pytest.raises(ValueError, match="Known: ") as raised:
        activation_layer("none_such", "a")
    assert set(str(raised.value).partition("Known: ")[2].rstrip(".").split(", ")) == set(named)


@pytest.mark.parametrize("setting", TrainingConfig.model_fields)
def test_every_setting_of_training(setting: str) -> None:
    assert f"`{setting}`" in (DOCS / "training.md").read_text(encoding="utf-8")
