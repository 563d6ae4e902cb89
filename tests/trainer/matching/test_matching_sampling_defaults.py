"""Losses and numbers of negatives where none are asked for, and what would do nothing beside them."""

from __future__ import annotations

from typing import Any

import pytest

from feature_specs import ColonnadeError
from trainer.config import TrainingConfig
from trainer.matching.task import MatchingTask
from trainer.models.registry import make_model
from trainer.testing_matching_data import catalogue, inputs


@pytest.mark.parametrize(
    ("training", "own", "shared"),
    [
        ({}, 3, 0),  # as in Caser's paper
        ({"num_negatives": 2}, 2, 0),
        ({"loss": "bpr"}, 3, 0),
        # The paper's number is of one positive: a whole batch that shared it would hardly be told apart from anything.
        ({"loss": "sampled_softmax"}, 0, 512),
        ({"loss": "sampled_softmax", "num_negatives": 7}, 0, 7),
        ({"loss": "full_softmax"}, 0, 0),
    ],
)
def test_negatives_of_a_positive_and_of_a_batch(training: dict[str, Any], own: int, shared: int) -> None:
    model = make_model("caser", inputs(), {"embedding_dim": 4})
    sampling = MatchingTask(TrainingConfig.model_validate(training), catalogue()).sampling(model)
    assert (sampling.per_positive, sampling.shared) == (own, shared)


@pytest.mark.parametrize(
    ("model", "given", "training", "loss"),
    [
        ("bpr", {}, {}, "bpr"),
        ("bpr", {"mode": "distance"}, {}, "hinge"),
        ("bpr", {"mode": "distance"}, {"loss": "bpr"}, "bpr"),
        ("attrec", {"mode": "inner"}, {}, "hinge"),
    ],
)
def test_the_loss_is_that_of_the_paper_of_the_mode(model: str, given: dict[str, Any], training: dict[str, Any], loss: str) -> None:
    task = MatchingTask(TrainingConfig.model_validate(training), catalogue())
    assert task.loss_of(make_model(model, inputs(), {"embedding_dim": 4, **given})).name == loss


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"num_negatives": 2, "loss": "full_softmax"}, r"num_negatives would do nothing: the loss is full_softmax\. .* such as loss=bce\."),
        ({"margin": 2.0}, r"margin would do nothing: the loss is bce\. Leave it out\. Or name a loss that it is for, such as loss=hinge\."),
    ],
)
def test_a_loss_is_named_for_what_would_do_nothing(training: dict[str, Any], message: str) -> None:
    model = make_model("caser", inputs(), {"embedding_dim": 4})
    with pytest.raises(ColonnadeError, match=message):
        MatchingTask(TrainingConfig.model_validate(training), catalogue()).sampling(model)
