"""How many negatives there are where no number is asked for."""

from __future__ import annotations

from typing import Any

import pytest

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
