"""Every model refuses numbers that it cannot work with as it is made, and scores with those that it takes."""

from __future__ import annotations

import math
from typing import Any, get_args, get_origin

import numpy as np
import pytest

from feature_specs import ColonnadeError
from trainer import testing_data, testing_matching_data
from trainer.layers import Inputs
from trainer.models.base import MatchingModel
from trainer.models.registry import get_model, hyper_parameters, list_models, make_model


def _wrong(name: str, annotation: Any) -> list[Any]:
    """Returns values that no hyper-parameter of this name and type can work with."""
    if get_origin(annotation) is tuple:  # widths
        return [(value,) for value in (*_wrong(name, get_args(annotation)[0]), 0)]
    kinds = {annotation, *get_args(annotation)}
    floats = [-0.5, math.inf, math.nan, *([1.0, 1.5] if "dropout" in name else [])] if float in kinds else []
    return floats + ([-1] if int in kinds else [])


def _made(name: str, given: dict[str, Any]) -> Any:
    model = get_model(name)
    inputs = testing_matching_data.inputs() if issubclass(model, MatchingModel) else Inputs(testing_data.SPEC)
    # So that what is of hidden layers does something.
    hidden = {"hidden_units": (4,)} if "hidden_units" in hyper_parameters(model) else {}
    return make_model(name, inputs, {**hidden, **given})


def _is_refused(name: str, given: dict[str, Any]) -> bool:
    try:
        _made(name, given)
    except ColonnadeError:
        return True
    return False


def _scores(model: Any) -> Any:
    if not isinstance(model, MatchingModel):
        return model(testing_data.random_batch(4)[0], training=False)
    users, items = testing_matching_data.users(4)[0], testing_matching_data.catalogue()
    return model(testing_matching_data.tensors(users), [testing_matching_data.items(items, np.arange(items.num_items))], training=False)[0]


@pytest.mark.parametrize("name", [info.name for info in list_models()])
def test_wrong_numbers_are_refused(name: str) -> None:
    known = hyper_parameters(get_model(name)).items()
    tried = [{given: value} for given, parameter in known for value in _wrong(given, parameter.annotation)]
    assert [given for given in tried if not _is_refused(name, given)] == []


@pytest.mark.parametrize("name", [info.name for info in list_models()])
def test_nothing_is_refused_or_scores(name: str) -> None:
    for given, parameter in hyper_parameters(get_model(name)).items():
        if {int, float} & {parameter.annotation, *get_args(parameter.annotation)} and parameter.default:
            assert _is_refused(name, {given: 0}) or np.isfinite(_scores(_made(name, {given: 0}))).all(), f"{name} with {given}=0"


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("afm", {"attention_dropout": 1.0}, "attention_dropout should be at least 0 and below 1. Received: 1.0"),
        ("nfm", {"pooled_dropout": 1.0}, "pooled_dropout should be at least 0 and below 1. Received: 1.0"),
        ("sasrec", {"dropout": 1.0}, "dropout should be at least 0 and below 1. Received: 1.0"),
        ("two_tower", {"temperature": 0.0}, "temperature should be above 0, and finite. Received: 0.0"),
        ("ease", {"l2": 0.0}, "l2 should be above 0, and finite. Received: 0.0"),
        ("bpr", {"initial_stddev": 0.0}, "initial_stddev should be above 0, and finite. Received: 0.0"),
        ("attrec", {"initial_stddev": 0.0}, "initial_stddev should be above 0, and finite. Received: 0.0"),
        ("caser", {"embedding_dim": 0}, "embedding_dim should be at least 1. Received: 0"),
        ("neumf", {"gmf_dim": 0}, "gmf_dim should be at least 1. Received: 0"),
        ("neumf", {"mlp_dim": 0}, "mlp_dim should be at least 1. Received: 0"),
    ],
)
def test_what_is_wrong_is_named(name: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ColonnadeError, match=message):
        _made(name, given)


def test_a_history_may_be_left_out_of_two_towers() -> None:
    model = _made("two_tower", {"max_length": 0})
    assert model.max_length == 0
    assert model.users.width == model.user_tower.hidden.blocks[0].kernel.shape[0]
