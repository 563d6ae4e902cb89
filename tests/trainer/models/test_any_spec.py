"""Every model takes any spec, or says in one sentence why not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import known_models
import numpy as np
import pytest
import tensorflow as tf

from feature_specs import ColonnadeError, FeatureSpec
from trainer.data import element_spec
from trainer.layers import Inputs
from trainer.models.base import RankingModel
from trainer.models.registry import list_models, make_model

MODELS = [info.name for info in list_models() if info.task == "ranking"]
HASH = "encoding: {type: hash, num_buckets: 5}"
PAIRS = {"afm", "dlrm", "ffm", "ipnn", "opnn"}
ONE_WIDTH = {"afm", "autoint", "deepfm", "dlrm", "ffm", "fm", "ipnn", "nfm", "opnn", "xdeepfm"}


def spec_of(*features: str) -> FeatureSpec:
    return FeatureSpec.from_yaml("name: odd\nlabel: {column: y}\nfeatures:\n" + "\n".join(f"- {{{feature}}}" for feature in features))


def scored(name: str, spec: FeatureSpec, pretrained: dict[str, Path] | None = None, **hyper_parameters: Any) -> RankingModel:
    """Returns the model, which has scored rows of ones."""
    model = make_model(name, Inputs(spec, {}, pretrained or {}), hyper_parameters)
    features = {
        key: tf.ones([3 if size is None else size for size in each.shape], each.dtype) for key, each in element_spec(spec)[0].items()
    }
    logits = model(features)
    assert logits.shape == (3,)
    assert np.isfinite(logits).all()
    return model


def refusal(name: str, spec: FeatureSpec) -> str:
    """Returns why a model refuses a spec; nothing where it scores rows."""
    try:
        scored(name, spec)
    except ColonnadeError as error:
        return str(error)
    return ""


NUMBERS = spec_of("kind: numeric, name: a", "kind: numeric, name: b")
ONE = spec_of(f"kind: categorical, name: a, {HASH}")
LIST = spec_of(f"kind: multi_valued, name: a, {HASH}")
MIXED = spec_of(f"kind: categorical, name: a, embedding_dim: 6, {HASH}", f"kind: categorical, name: b, {HASH}", "kind: numeric, name: c")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("spec", "refused"), [(NUMBERS, {"dlrm"}), (ONE, PAIRS), (LIST, PAIRS)], ids=["numbers", "one", "list"])
def test_few_fields(name: str, spec: FeatureSpec, refused: set[str]) -> None:
    why = refusal(name, spec)
    assert not why or re.search("pairs fields: it needs two or more. Received: (a|the numbers). Declare another", why)
    assert bool(why) == (name in refused) or name not in known_models.RANKING


@pytest.mark.parametrize("name", MODELS)
def test_mixed_widths(name: str) -> None:
    why = refusal(name, MIXED)
    assert not why or re.search(r"needs equal widths. Received: 6 \(a\); \d+ \(b.*Leave `embedding_dim`", why)
    assert bool(why) == (name in ONE_WIDTH) or name not in known_models.RANKING


def test_widths_that_the_spec_declares() -> None:
    spec = spec_of(
        f"kind: categorical, name: a, embedding_dim: 6, {HASH}", "kind: numeric, name: b", "kind: categorical, name: c, table: a"
    )
    assert scored("dlrm", spec).bottom.compute_output_shape((None, 1)) == (None, 6)
    wide = spec_of(f"kind: categorical, name: a, embedding_dim: 6, {HASH}", "kind: categorical, name: c, table: a")
    with pytest.raises(ColonnadeError, match=r"their width is 4, embedding_dim \* \(fields - 1\). The spec declares 6. Leave"):
        scored("ffm", wide)


def test_dlrm_takes_numbers_beside_pretrained_vectors(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((6, 4), np.float32))
    vectors = "embedding_dim: 4, pretrained: {file: a.npy, tokens: a.txt}, encoding: {type: vocabulary, tokens: [u, v, w, x]}"
    scored("dlrm", spec_of(f"kind: categorical, name: a, {vectors}", "kind: numeric, name: b"), {"a": tmp_path / "a.npy"})


def test_the_deep_side_of_wide_and_deep_sees_no_crosses() -> None:
    parts = (f"kind: categorical, name: a, {HASH}", f"kind: categorical, name: b, {HASH}")
    cross = "kind: crossed, name: ab, inputs: [a, b], num_buckets: 9"
    model = scored("wide_deep", spec_of(*parts, cross), embedding_dim=4)
    assert model.vectors.field_names == ("a", "b")
    assert model.wide._input.names == ("a", "b", "ab")
    only = scored("wide_deep", spec_of(*(f"{part}, only_crossed: true" for part in parts), cross), embedding_dim=4)
    assert only.vectors.field_names == ("ab",), "there is nothing else"


def test_a_cross_network_alone_is_called_so() -> None:
    model = make_model("dcn_v2", Inputs(NUMBERS), {"hidden_units": ()})
    assert list(model.parts({"a": tf.ones(2), "b": tf.ones(2)})) == ["cross"]


@pytest.mark.parametrize("activation", ["mish", "leaky_relu", "dice"])
@pytest.mark.parametrize("name", ["autoint", "deepfm", "final_mlp"])
def test_activations(name: str, activation: str) -> None:
    widths = {"first_units": (4,), "second_units": (2,), "num_heads": 2} if name == "final_mlp" else {"hidden_units": (4,)}
    scored(name, NUMBERS, activation=activation, **widths)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("deepfm", {"activation": "mihs"}, "activation=mihs: Unknown activation 'mihs'. Did you mean 'mish'[?] Known: dice, elu"),
        ("ipnn", {"factorized": True, "hidden_units": ()}, "Give hidden_units one width or more"),
        ("xdeepfm", {"cin_units": ()}, "Give cin_units at least one number"),
        ("xdeepfm", {"cin_units": (8, -3)}, "cin_units should be at least 1. Received: -3"),
        ("xdeepfm", {"cin_units": (0,)}, "cin_units should be at least 1. Received: 0"),
        ("autoint", {"num_heads": 0}, "multiple of num_heads. Received: 64 and 0"),
        ("autoint", {"attention_units": 0}, "attention_units should be at least 1, and a multiple of num_heads. Received: 0 and 2"),
        ("autoint", {"attention_units": -64}, "attention_units should be at least 1, and a multiple of num_heads. Received: -64 and 2"),
        ("autoint", {"num_layers": -1}, "num_layers should be at least 1. Received: -1"),
        ("dcn", {"num_layers": -1}, "num_layers should be at least 0. Received: -1"),
        ("deep_crossing", {"residual_units": (8, 0)}, "residual_units should be at least 1. Received: 0"),
        ("deep_crossing", {"residual_units": (-5,)}, "residual_units should be at least 1. Received: -5"),
        ("ffm", {"embedding_dim": -2}, "embedding_dim should be at least 1. Received: -2"),
        ("fm", {"embedding_dim": 0}, "embedding_dim should be at least 1. Received: 0"),
        ("mlp", {"hidden_units": (8, 0)}, "expected a positive integer. Received: units=0"),
        ("final_mlp", {"num_heads": 7}, "num_heads=7: num_heads should divide the widths of both streams. Received: 7, 400, 100"),
        ("final_mlp", {"num_heads": 0}, "num_heads should divide"),
        ("dcn_v2", {"num_experts": 3}, "Give low_rank a value above 0"),
        ("dcn_v2", {"low_rank": -1}, "low_rank should be at least 0, num_experts at least 1. Received: 3, -1 and 1"),
    ],
)
def test_hyper_parameters_that_no_model_can_have(name: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ColonnadeError, match=f"Model '{name}' cannot be made with .*{message}"):
        make_model(name, Inputs(NUMBERS), given)
