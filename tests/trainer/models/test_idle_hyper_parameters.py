"""Hyper-parameters that would do nothing beside the others are refused; `hidden_units=` leaves the MLP out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from feature_specs import ColonnadeError, FeatureSpec
from trainer.layers import Inputs
from trainer.models.registry import get_model, hyper_parameters, list_models, make_model, resolve_hyper_parameters

SPEC = FeatureSpec.from_yaml("""
name: two
label: {column: y}
features:
- {kind: categorical, name: a, encoding: {type: hash, num_buckets: 5}}
- {kind: categorical, name: b, encoding: {type: hash, num_buckets: 5}}
""")
WITH_AN_MLP = [info.name for info in list_models() if info.task == "ranking" and "hidden_units" in hyper_parameters(get_model(info.name))]


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("autoint", {"dropout": 0.3, "batch_norm": True, "activation": "mish"}, "dropout and batch_norm and activation .* hidden_units"),
        ("afm", {"pooling": "max", "attention_units": 8, "attention_dropout": 0.1}, "attention_units and .*dropout .* pooling=attention"),
        ("dcn", {"hidden_units": (), "activation": "mish"}, "activation .* hidden_units"),
        ("dcn_v2", {"hidden_units": (), "structure": "parallel", "dropout": 0.1}, "dropout and structure .* hidden_units"),
        ("dcn_v2", {"num_layers": 0, "low_rank": 2, "num_experts": 2}, "low_rank and num_experts .* num_layers"),
        ("deep_crossing", {"residual_units": (), "dropout": 0.1}, "dropout .* residual_units"),
        ("din", {"hidden_units": (), "dropout": 0.1}, "dropout .* hidden_units"),
        ("din", {"hidden_units": (), "attention_units": (), "activation": "mish"}, "activation .* attention_units or hidden_units"),
        ("dlrm", {"top_units": (), "dropout": 0.1}, "dropout .* top_units"),
        ("final_mlp", {"first_units": (), "second_units": (), "batch_norm": True}, "batch_norm .* first_units or second_units"),
        ("nfm", {"hidden_units": (), "dropout": 0.1}, "dropout .* hidden_units"),
        ("xdeepfm", {"hidden_units": (), "dropout": 0.1}, "dropout .* hidden_units"),
        ("two_tower", {"hidden_units": (), "dropout": 0.1}, "dropout .* hidden_units"),
    ],
)
def test_what_would_do_nothing_is_refused(name: str, given: dict[str, Any], message: str) -> None:
    message = f"{message.replace(' .* ', ' would do nothing without ')}[.] Leave (it|them) out, or give "
    with pytest.raises(ColonnadeError, match=message):
        resolve_hyper_parameters(get_model(name), given)
    if name != "two_tower":
        with pytest.raises(ColonnadeError, match=f"Model '{name}' cannot be made with .*{message}"):
            make_model(name, Inputs(SPEC), given)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("afm", {"attention_units": 8}),
        ("autoint", {"hidden_units": (4,), "dropout": 0.1}),
        ("dcn", {"hidden_units": (), "batch_norm": False}),  # nothing is asked for
        ("deepfm", {"hidden_units": ()}),  # defaults are not asked for
        ("din", {"hidden_units": (), "activation": "mish"}),  # of the attention
        ("dlrm", {"top_units": (), "activation": "mish"}),  # of the MLP over the numbers
        ("final_mlp", {"first_units": (), "dropout": 0.1}),
        ("nfm", {"hidden_units": (), "batch_norm": False}),  # of the pooled vector
    ],
)
def test_what_does_something_is_not(name: str, given: dict[str, Any]) -> None:
    resolved = resolve_hyper_parameters(get_model(name), given)
    assert {key: resolved[key] for key in given} == given


@pytest.mark.parametrize("name", [info.name for info in list_models()])
def test_needs_name_hyper_parameters(name: str) -> None:
    model = get_model(name)
    if "needs" in vars(model):
        named = {*model.needs, *(each.partition("=")[0] for needed in model.needs.values() for each in needed)}
        assert named <= {*hyper_parameters(model)}


@pytest.mark.parametrize("name", WITH_AN_MLP)
def test_without_hidden_layers(name: str) -> None:
    given = resolve_hyper_parameters(get_model(name), {"hidden_units": "", "embedding_dim": 2})
    assert given["hidden_units"] == ()
    model = make_model(name, Inputs(SPEC), given)
    assert np.isfinite(model({"a": tf.constant([1, 2], tf.int64), "b": tf.constant([3, 1], tf.int64)})).all()
