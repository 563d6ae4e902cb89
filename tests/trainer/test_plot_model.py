"""The picture of a model: its boxes and arrows follow the calls of its layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from trainer.data import element_spec
from trainer.layers import Inputs
from trainer.matching.side import user_features
from trainer.models.registry import make_model
from trainer.plot_model import _listed, architecture, plot_model
from trainer.testing import SPEC
from trainer.testing_matching_data import SPEC as MATCHING
from trainer.testing_matching_data import catalogue, inputs

FEATURES = element_spec(SPEC)[0]


def _arrows(name: str, **hyper_parameters: object) -> set[tuple[str, str]]:
    boxes = architecture(make_model(name, Inputs(SPEC), hyper_parameters), FEATURES)
    return {(boxes[source].title, box.title) for box in boxes for source in box.sources}


def test_arrows_follow_the_calls() -> None:
    assert _arrows("wide_deep") == {
        ("features", "wide"),
        ("wide", "part: wide"),
        ("features", "vectors"),
        ("vectors", "hidden"),
        ("hidden", "projection"),
        ("projection", "part: deep"),
        ("part: wide", "logits"),
        ("part: deep", "logits"),
    }


def test_layers_in_lists_and_several_sources() -> None:
    arrows = _arrows("final_mlp")
    assert {("flat", "first_gate"), ("first_context", "first_gate"), ("first_hidden", "fusion"), ("second_hidden", "fusion")} <= arrows
    assert {(f"unit_{i}", f"unit_{i + 1}") for i in range(2)} <= _arrows("deep_crossing", residual_units=(4, 4, 4))


def test_boxes_tell_shapes_and_parameters() -> None:
    boxes = {box.title: box for box in architecture(make_model("mlp", Inputs(SPEC), {"hidden_units": (8,), "embedding_dim": 4}), FEATURES)}
    assert boxes["hidden"].lines[0] == "MLP  [B, 8]"
    assert boxes["projection"].lines == ["Dense  [B, 1]", "9 parameters"]
    assert [boxes[title].level for title in ("features", "flat", "hidden", "projection", "part: deep", "logits")] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("names", "lines"),
    [
        (["a", "b"], ["a, b"]),
        (list("abcdefgh"), ["a, b, c, d, e, f and 2 more"]),
        # As wide as the box: what does not fit is counted.
        ([f"a_long_name_{i}" for i in range(6)], ["a_long_name_0, a_long_name_1,", "a_long_name_2 and 3 more"]),
        (["x" * 80, "y"], ["2 features"]),
        ([], []),
    ],
)
def test_features_are_named_as_far_as_they_fit(names: list[str], lines: list[str]) -> None:
    shown = _listed({name: tf.TensorSpec([None], tf.float32) for name in names})
    assert shown == lines
    assert all(len(line) <= 38 for line in shown)


@pytest.mark.parametrize("name", ["lr", "deepfm"])
def test_files(name: str, tmp_path: Path) -> None:
    png, svg = plot_model(make_model(name, Inputs(SPEC), {}), FEATURES, tmp_path / name, name)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in svg.read_text()[:1000]


def test_both_sides_of_a_matching_model() -> None:
    items = {name: tf.TensorSpec([None, *values.shape[1:]], values.dtype) for name, values in catalogue().features.items()}
    model = make_model("two_tower", inputs(), {"embedding_dim": 4, "hidden_units": (8,), "output_dim": 6})
    boxes = architecture(model, user_features(MATCHING), items)
    arrows = {(boxes[source].title, box.title) for box in boxes for source in box.sources}
    assert {("users", "user_tower"), ("user_tower", "query"), ("item_tower", "candidates")} <= arrows
    assert {source for source, target in arrows if target == "scores"} == {"query", "candidates"}
    shapes = {box.title: box.lines[0] for box in boxes}
    assert (shapes["query"], shapes["candidates"], shapes["scores"]) == ("[B, 6]", "[C, 6]", "[B, C]")
