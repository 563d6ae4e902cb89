"""The table of a model's layers leaves nothing out, whatever holds the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import tensorflow as tf

from trainer.config import RunConfig
from trainer.layers import Inputs
from trainer.models.ranking.lr import LR
from trainer.models.registry import register
from trainer.summary import summarise


@register("owns_weights")
class OwnsWeights(LR):
    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.scale = self.add_weight(shape=(3,), name="scale")
        self.start = self.add_weight(shape=(2, 2), trainable=False, name="start")

    def parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"first_order": super().parts(features)["first_order"] * tf.reduce_sum(self.scale)}


@pytest.mark.parametrize(
    ("name", "given", "row"),
    [
        ("owns_weights", {}, ["(model)", "OwnsWeights", "3", "3"]),
        ("final_mlp", {}, ["fusion", "BilinearFusion", "5x80x20", "8,000"]),  # it holds layers and weights of its own
        ("mlp", {"activation": "dice", "hidden_units": (8,)}, ["hidden/activation_0", "Dice", "8", "8"]),
        ("dcn_v2", {"low_rank": 2, "num_layers": 2}, ["hidden/dense_1", "Dense", "400x400", "400", "160,400"]),
    ],
)
def test_the_rows_add_up(name: str, given: dict, row: list[str], tiny_data_dir: Path) -> None:
    config = RunConfig(model=name, dataset="tiny", data_dir=str(tiny_data_dir), hyper_parameters=given)
    rows = [line.split() for line in summarise(config).splitlines()[1:]]
    parameters = [int(each[-1].replace(",", "")) for each in rows]
    assert sum(parameters[:-1]) == parameters[-1]
    assert row in rows
    places = [["flat", "cross", "hidden", "projection", "total"].index(each[0].partition("/")[0]) for each in rows if name == "dcn_v2"]
    assert places == sorted(places), "in the order of the calls"
