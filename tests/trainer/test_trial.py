"""What a model cannot be made with is refused before anything is preprocessed, and the trial leaves no trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from feature_specs import ColonnadeError, FeatureSpec
from tests.serving.tiny_matching import STRINGS
from trainer import task
from trainer.config import RunConfig, TrainingConfig
from trainer.estimator import Estimator
from trainer.models.registry import get_model, resolve_hyper_parameters
from trainer.trial import try_settings

MATCHING = FeatureSpec.from_yaml(STRINGS)
# As large as tables get, with vectors in files that nobody has looked at.
LARGE = FeatureSpec.from_yaml("""
name: large
features:
- {kind: categorical, name: a, encoding: {type: hash, num_buckets: 2000000000}}
- {kind: categorical, name: b, dtype: int64, encoding: {type: identity, num_buckets: 2000000000}}
- {kind: crossed, name: a_by_b, inputs: [a, b], num_buckets: 2000000000}
- kind: categorical
  name: word
  encoding: {type: vocabulary}
  pretrained: {file: none_such.npy, tokens: none_such.txt}
  trainable: false
label: {column: y}
""")


def _config(model: str, spec: FeatureSpec, given: dict[str, Any], data_dir: str = "", **training: Any) -> RunConfig:
    names = {"model": model, "dataset": spec.name, "fingerprint": spec.fingerprint, "data_dir": data_dir}
    return RunConfig(**names, hyper_parameters=resolve_hyper_parameters(get_model(model), given), training=TrainingConfig(**training))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["embedding_dim=0"], "embedding_dim should be at least 1. Received: 0."),
        (["embedding_dim=6", "dropout=2"], "dropout=2"),
        (["embedding_dim=6", "wide_l1=0.1"], "wide_l1"),  # the model has no wide side: the optimizers notice
    ],
)
def test_the_job_does_not_begin(flags: list[str], message: str, tiny_spec: FeatureSpec, tiny_files: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(tiny_spec.to_yaml(), encoding="utf-8")
    places = ["--data_dir", str(tmp_path / "data"), "--run_dir", str(tmp_path / "run"), "--input", str(tiny_files)]
    with pytest.raises(ColonnadeError, match=message):
        task.main(["--model", "nfm", "--spec", str(tmp_path / "tiny.yaml"), *places, "--hparams", *flags])
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


@pytest.mark.parametrize(
    ("model", "given", "training", "message"),
    [
        ("sasrec", {"num_heads": 7, "embedding_dim": 8, "max_length": 5}, {}, "num_heads"),
        ("sasrec", {"max_length": 7}, {}, "max_length should be 6 or less"),
        ("bpr", {"embedding_dim": 0}, {}, "embedding_dim should be at least 1"),
        ("ease", {}, {"num_negatives": 3}, "num_negatives would do nothing"),
    ],
)
def test_matching(model: str, given: dict[str, Any], training: dict[str, Any], message: str) -> None:
    with pytest.raises(ColonnadeError, match=message):
        try_settings(_config(model, MATCHING, given, **training), MATCHING)


@pytest.mark.parametrize("model", ["sasrec", "gru4rec", "caser", "attrec", "ease"])
def test_a_spec_without_a_history(model: str) -> None:
    spec = MATCHING.model_copy(update={"features": tuple(f for f in MATCHING.features if f != MATCHING.history)})
    with pytest.raises(ColonnadeError) as error:
        try_settings(_config(model, spec, {}), spec)
    assert str(error.value).startswith("This model reads what a user did before, and the spec has no history of"), "and Keras adds nothing"
    try_settings(_config("two_tower", spec, {}), spec)


def test_large_tables_cost_nothing_and_their_files_are_not_read() -> None:
    try_settings(_config("wide_deep", LARGE, {}), LARGE)
    try_settings(_config("two_tower", MATCHING, {"max_length": 6}), MATCHING)


def test_a_run_is_the_same_after_a_trial(tiny_spec: FeatureSpec, tiny_data_dir: Path, tmp_path: Path) -> None:
    config = _config("nfm", tiny_spec, {"embedding_dim": 6}, str(tiny_data_dir))
    keras.utils.clear_session(free_memory=False)
    first = Estimator(config, tmp_path / "first").loop.model
    try_settings(config, tiny_spec)
    second = Estimator(config, tmp_path / "second").loop.model
    assert [variable.path for variable in first.variables] == [variable.path for variable in second.variables]
    for ours, theirs in zip(first.variables, second.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)
