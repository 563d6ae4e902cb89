"""A model in the user's own folder: checked, trained, exported and drawn by its module's name, with nothing in this tree touched."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trainer import task, testing

MODULE = '''
"""Field-weighted factorization machine, of my own."""

import keras
import tensorflow as tf

from trainer.layers import Bias
from trainer.layers.pairs import inner_products
from trainer.models.base import RankingModel
from trainer.models.registry import register


@register("my_fwfm")
class MyFwFM(RankingModel):
    """Weighs the product of each pair of fields."""

    def __init__(self, inputs, *, embedding_dim: int = 4):
        super().__init__()
        self.fields, self.bias = inputs.fields_and_first_order(embedding_dim), Bias(name="bias")
        self.weights_of_pairs = keras.layers.Dense(1, use_bias=False, name="pairs")

    def parts(self, features):
        vectors, first_order = self.fields(features)
        return {"first_order": self.bias(first_order), "pairs": tf.squeeze(self.weights_of_pairs(inner_products(vectors)), axis=1)}
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's current folder, with a package in it."""
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "my_fwfm.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    for name in ("my_package", "my_package.my_fwfm"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "CHECKS", (testing.check_logits, testing.check_gradients))
    testing.check_model("my_package.my_fwfm", embedding_dim=3)


def test_trained_and_drawn(folder: Path, tiny_data_dir: Path, capsys: pytest.CaptureFixture) -> None:
    asked = ["--model", "my_package.my_fwfm", "--spec", str(tiny_data_dir / "spec.json"), "--data_dir", str(tiny_data_dir)]
    asked += ["--hparams", "embedding_dim=6"]
    assert task.main([*asked, "--summary"]) == 0
    assert "\npairs " in capsys.readouterr().out
    assert task.main([*asked, "--plot_model"]) == 0
    assert (folder / "tiny-my_fwfm.png").is_file()
    assert task.main([*asked, "--max_steps", "2", "--run_dir", "run"]) == 0
    assert "my_package.my_fwfm on tiny" in capsys.readouterr().out
    assert (folder / "run" / "_SUCCESS").is_file()
