"""A model in the user's own folder: checked, trained, exported and drawn by its module's name, with nothing in this tree touched."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

import trainer.recipes
from feature_specs import ColonnadeError
from trainer import task, testing
from trainer.config import TrainingConfig
from trainer.data import element_spec
from trainer.layers import Inputs
from trainer.loop import Loop
from trainer.models.ranking.lr import LR
from trainer.models.registry import get_model, hyper_parameters, resolve_hyper_parameters
from trainer.recipes import load_recipe
from trainer.tasks import task_of
from trainer.testing import SPEC, random_batch

# What that page has to begin with.
PAGE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
MODULE = PAGE.partition("```python\n")[2].partition("```")[0].replace('"fwfm"', '"my_fwfm"')


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's current folder, with a package in it."""
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "my_model.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    for name in ("my_package", "my_package.my_model"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


class _Unused(LR):
    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.unused = self.add_weight(shape=(2, 2), name="unused")


@pytest.mark.parametrize("settings", [{}, {"clip_norm": 0}, {"dense_l2": 0.1}, {"mixed_precision": "float16"}])
def test_a_variable_that_the_loss_does_not_depend_on_is_named(settings: dict[str, Any]) -> None:
    loop = Loop(_Unused(Inputs(SPEC)), task_of(SPEC), TrainingConfig.model_validate(settings), element_spec(SPEC))
    batches = tf.data.Dataset.from_tensors(random_batch(4))
    with pytest.raises(ColonnadeError, match="The loss does not depend on .*unused, so it cannot be trained"):
        loop.train(iter(batches), 1)


@pytest.mark.usefixtures("folder")
def test_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "CHECKS", (testing.check_logits, testing.check_gradients))
    testing.check_model("my_package.my_model", embedding_dim=3)


@pytest.mark.slow
@pytest.mark.parametrize("check", testing.CHECKS)
@pytest.mark.usefixtures("folder")
def test_what_the_page_begins_with_passes_each_check(check: testing.Check) -> None:
    check("my_package.my_model", {"embedding_dim": 8})


def test_the_recipe_that_the_page_begins_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_data.yaml").write_text(PAGE.partition("```yaml\n")[2].partition("```")[0])
    monkeypatch.setattr(trainer.recipes, "_FOLDER", tmp_path)
    for row, model in {"deepfm": "deepfm", "autoint+": "autoint"}.items():
        recipe = load_recipe(f"my_data:{row}", None, None)
        assert (recipe.model, recipe.dataset) == (model, "my_data")
        known = hyper_parameters(get_model(model))
        assert resolve_hyper_parameters(get_model(model), {name: v for name, v in recipe.values.items() if name in known})
        assert TrainingConfig.model_validate({name: v for name, v in recipe.values.items() if name not in known}).batch_size == 256


def test_trained_and_drawn(folder: Path, tiny_data_dir: Path, capsys: pytest.CaptureFixture) -> None:
    asked = ["--model", "my_package.my_model", "--spec", str(tiny_data_dir / "spec.json"), "--data_dir", str(tiny_data_dir)]
    asked += ["--hparams", "embedding_dim=6"]
    assert task.main([*asked, "--summary"]) == 0
    assert "\nweights_of_pairs " in capsys.readouterr().out
    assert task.main([*asked, "--summary", "--plot_model"]) == 0
    printed = capsys.readouterr().out
    assert "\nweights_of_pairs " in printed, "both were asked for"
    assert "tiny-my_model.svg" in printed
    assert (folder / "tiny-my_model.png").is_file()
    assert task.main([*asked, "--max_steps", "2", "--run_dir", "run"]) == 0
    assert "my_package.my_model on tiny" in capsys.readouterr().out
    assert (folder / "run" / "_SUCCESS").is_file()
