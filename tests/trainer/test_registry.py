"""Models and hyper-parameters are found by name, and misspelt ones are answered with the nearest."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from feature_specs import ColonnadeError
from trainer.config import TrainingConfig
from trainer.models import registry
from trainer.models.registry import find_model, get_model, list_models, register, resolve_hyper_parameters


def test_every_model_is_listed_with_its_paper() -> None:
    models = {info.name: info for info in list_models()}
    assert models["nfm"].task == "ranking"
    for info in models.values():
        assert "http" in info.paper, f"{info.name}: the second paragraph of the file names the paper"
        assert get_model(info.name).__module__.endswith(f".{info.name}")


def test_unknown_names() -> None:
    with pytest.raises(ColonnadeError, match="Unknown model 'deepfn'. Did you mean 'deepfm'[?] Registered: .*nfm.* See --list_models."):
        find_model("deepfn")


OWN = """
from trainer.models.ranking.lr import LR
from trainer.models.registry import register

@register("{name}")
class Own(LR):
    \'\'\'A model of my own.\'\'\'
"""


def test_a_model_of_ones_own_is_named_by_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "my_module.py").write_text(OWN.format(name="my_model"))
    (tmp_path / "my_package" / "two.py").write_text(OWN.format(name="one") + OWN.format(name="other"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    assert find_model("my_package.my_module") == ("my_package.my_module", "ranking", "A model of my own.")
    assert get_model("my_package.my_module") is get_model("my_model")
    with pytest.raises(ColonnadeError, match="There is no module 'my_package.mine' .* Start the command in the folder that holds it"):
        find_model("my_package.mine")
    with pytest.raises(ColonnadeError, match="'my_package.two' should register one model.* It registers 2: Own, Own"):
        find_model("my_package.two")


def test_a_matching_model_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "for_matching").mkdir()
    text = OWN.format(name="my_matching_model").replace("ranking.lr import LR", "matching.bpr import BPR").replace("(LR)", "(BPR)")
    (tmp_path / "for_matching" / "mine.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    assert find_model("for_matching.mine").task == "matching"


def test_a_name_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ColonnadeError, match="'nfm' is taken by trainer.models.ranking.nfm. Register Other under another name"):
        register("nfm")(type("Other", (), {}))
    monkeypatch.setattr(registry, "_REGISTRY", {})  # nothing has been imported yet
    with pytest.raises(ColonnadeError, match="'bpr' is taken by trainer.models.matching.bpr. Register Other under another name"):
        register("bpr")(type("Other", (), {}))
    register("mine")(type("Mine", (), {"__module__": "my_package.one", "__init__": lambda self, inputs: None}))  # noqa: ARG005
    with pytest.raises(ColonnadeError, match="'mine' is taken by my_package.one"):
        register("mine")(type("Mine", (), {"__module__": "my_package.two"}))


SHOULD_BE = "'width' of Own should be keyword-only, with a type and a default. Write: def __init__(self, inputs: Inputs, *, {})."
NO_NAMES = "Own takes {}, in which hyper-parameters have no names. Write each as *, name: type = default."


@pytest.mark.parametrize(
    ("taken", "message"),
    [
        ("self, inputs, *, width", SHOULD_BE.format("width: TYPE = DEFAULT")),
        ("self, inputs, *, width=8", SHOULD_BE.format("width: int = 8")),
        ("self, inputs, *, width: int", SHOULD_BE.format("width: int = DEFAULT")),
        ("self, inputs, width: tuple[int, ...] = (8,)", SHOULD_BE.format("width: tuple[int, ...] = (8,)")),
        ("self, inputs, width", SHOULD_BE.format("width: TYPE = DEFAULT")),
        ("self, inputs, **settings", NO_NAMES.format("**settings")),
        ("self, inputs, *widths", NO_NAMES.format("*widths")),
        ("self", "Own should take the input layers first. Write: def __init__(self, inputs: Inputs, ...)."),
        ("self, *, width: int = 8", "Own should take the input layers first. Write: def __init__(self, inputs: Inputs, ...)."),
    ],
)
@pytest.mark.parametrize("future", ["", "from __future__ import annotations"])
def test_a_constructor_that_takes_something_else(taken: str, message: str, future: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REGISTRY", {})
    names: dict[str, Any] = {"__name__": "my_package.own"}
    exec(f"{future}\nclass Own:\n    def __init__({taken}): pass", names)
    with pytest.raises(ColonnadeError, match=f"{re.escape(message)}$"):
        register("own")(names["Own"])
    assert not registry._REGISTRY


def test_hyper_parameters_are_typed() -> None:
    resolved = resolve_hyper_parameters(get_model("nfm"), {"hidden_units": "128,64", "dropout": ".3", "batch_norm": "false"})
    assert resolved == {
        "embedding_dim": 64,
        "hidden_units": (128, 64),
        "pooled_dropout": 0.5,
        "dropout": 0.3,
        "batch_norm": False,
        "activation": "relu",
    }
    assert resolve_hyper_parameters(get_model("nfm"), {"hidden_units": "[8]"})["hidden_units"] == (8,)
    assert resolve_hyper_parameters(get_model("nfm"), {"hidden_units": "8"})["hidden_units"] == (8,)
    for nothing in ("", " ", "[]"):
        assert resolve_hyper_parameters(get_model("nfm"), {"hidden_units": nothing})["hidden_units"] == ()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("hidden_unit", "3", "Unknown hyper-parameter 'hidden_unit' of NFM. Did you mean 'hidden_units'"),
        ("dropout", "a", "'dropout' should be of type float. Received: 'a'"),
        ("hidden_units", "a,b", "'hidden_units' should be of type tuple.int, [.]{3}[]]. Received: 'a,b'"),
        ("hidden_units", "8,", "'hidden_units' should be of type tuple"),
        ("embedding_dim", "[", "'embedding_dim' should be of type int"),
    ],
)
def test_wrong_hyper_parameters(name: str, value: str, message: str) -> None:
    with pytest.raises(ColonnadeError, match=message):
        resolve_hyper_parameters(get_model("nfm"), {name: value})


def test_training_settings_have_one_default() -> None:
    assert TrainingConfig.model_validate({"learning_rate": "1e-3"}) == TrainingConfig()
