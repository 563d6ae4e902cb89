"""Settings that a model cannot be made with, found before anything is preprocessed: it is made once, on tables of a few rows."""

from __future__ import annotations

import json
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from feature_specs.base import Column
from feature_specs.spec import FeatureSpec
from trainer.config import RunConfig
from trainer.data import element_spec
from trainer.estimator import Estimator
from trainer.layers import Inputs
from trainer.matching.catalogue import Catalogue
from trainer.matching.side import check_length, user_features
from trainer.matching.task import MatchingTask
from trainer.tasks import Task, task_of

_TOKENS = 20
_MOST_BUCKETS = 64


def try_settings(config: RunConfig, spec: FeatureSpec) -> None:
    """Makes the model, its task and its optimizers as a run would, and forgets them.

    Raises:
        ColonnadeError: They cannot be made with these settings.
    """
    small = FeatureSpec.from_json(json.dumps(_made_small(json.loads(spec.to_json()))))
    rows = {table: encoding.num_rows(_TOKENS) for table, encoding in small.tables.items()}
    task: Task
    elements: tuple[dict[str, Any], Any]
    if small.is_matching:
        catalogue = _some_items(small, rows)
        task, elements = MatchingTask(config.training, catalogue), (user_features(small), None)
        inputs = Inputs(small, rows, {}, catalogue.by_id(rows[small.item_feature.table_name]))
    else:
        task, elements, inputs = task_of(small, config.training), element_spec(small), Inputs(small, rows)
    trial = Estimator.__new__(Estimator)
    try:
        trial._make_model(config, task, inputs, elements)
        if small.is_matching:
            check_length(spec, trial.loop.model.max_length)
    finally:
        # Layers and variables of the run itself are called as if there had been no trial.
        keras.utils.clear_session(free_memory=False)


def _made_small(tree: Any) -> Any:  # noqa: ANN401 (any JSON)
    """Returns a spec's JSON with hashes and ranges of a few ids, as tables may be of gigabytes, and without vectors from files."""
    if isinstance(tree, dict):
        few = {"num_buckets": min(tree["num_buckets"], _MOST_BUCKETS)} if isinstance(tree.get("num_buckets"), int) else {}
        return {key: _made_small(value) for key, value in tree.items() if key != "pretrained"} | few
    return [_made_small(each) for each in tree] if isinstance(tree, list) else tree


def _some_items(spec: FeatureSpec, rows: dict[str, int]) -> Catalogue:
    """Returns items of different ids, with features that say nothing."""
    count = min(_TOKENS, rows[spec.item_feature.table_name] - 1)
    columns = [column for feature in spec.features if feature.name in spec.item_names for column in feature.outputs]
    features = {column.name: _ones(column, count) for column in columns}
    features[spec.item_feature.name] = np.arange(1, count + 1)
    return Catalogue(tuple(b"%d" % number for number in range(count)), np.ones(count, np.int64), features, spec.item_feature.name)


def _ones(column: Column, count: int) -> NDArray:
    shape = {"single": (count,), "vector": (count, column.size), "list": (count, 1)}[column.layout]
    return np.ones(shape, column.dtype)
