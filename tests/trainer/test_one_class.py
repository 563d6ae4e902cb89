"""A split whose labels are all the same: for validation it is refused before the first epoch, for the test it is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import feature_column as fc

from feature_specs import ColonnadeError, FeatureSpec
from preprocessing.pipeline import build
from trainer.estimator import Estimator, EvalSpec, RunConfig, TrainingConfig, TrainSpec, train_and_evaluate
from trainer.finish import _protocol
from trainer.task import main

SPEC = """
name: one_class
features:
- {kind: categorical, name: item, encoding: {type: vocabulary}}
label: {column: clicked}
split: {type: files, train: 'train*', valid: 'valid*', test: 'test*'}
"""


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags of a run whose test rows have all been clicked."""
    folder = tmp_path_factory.mktemp("one_class")
    (folder / "spec.yaml").write_text(SPEC)
    files = []
    for split, labels in (("train", "1011"), ("valid", "01"), ("test", "1")):
        rows = "".join(f"{'abcd'[row % 4]},{labels[row % len(labels)]}\n" for row in range(60))
        files.append(folder / f"{split}.csv")
        files[-1].write_text("item,clicked\n" + rows)
    build(FeatureSpec.load(folder / "spec.yaml"), folder / "data", [str(path) for path in files], show_progress=False)
    asked = f"--model lr --spec {folder}/spec.yaml --data_dir {folder}/data --run_dir {folder}/run --epochs 2 --batch_size 20"
    return asked.split()


def test_a_test_split_of_one_class_is_scored_and_said(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags) == 0
    printed = capsys.readouterr().out
    assert "All 60 rows of the test split have label 1: auc and others will be undefined on it." in printed
    assert "undefined" in next(line for line in printed.splitlines() if line.startswith("  auc "))
    result = json.loads((Path(flags[flags.index("--run_dir") + 1]) / "result.json").read_text())
    assert result["metrics"]["test"]["auc"] is None
    assert result["metrics"]["test"]["recall"] is not None
    assert result["metrics"]["valid"]["auc"] is not None
    assert result["best_epoch"] >= 1


def test_a_validation_split_of_one_class_is_refused_before_training(flags: list[str], tmp_path: Path) -> None:
    shutil.copytree(flags[flags.index("--data_dir") + 1], tmp_path / "data")
    statistics = json.loads((tmp_path / "data" / "statistics.json").read_text())
    statistics["labels"]["valid"] = {**statistics["labels"]["valid"], "min": 0.0, "max": 0.0}
    (tmp_path / "data" / "statistics.json").write_text(json.dumps(statistics))
    message = (
        "The valid split of '.*data' cannot pick the best epoch: all of its 60 rows have label 0, .* Change `split` in the spec .* more"
    )
    with pytest.raises(ColonnadeError, match=message):
        main([*flags, "--data_dir", str(tmp_path / "data"), "--run_dir", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()
    spec = FeatureSpec.from_yaml(SPEC)
    config = RunConfig(model="lr", dataset=spec.name, fingerprint=spec.fingerprint, data_dir=str(tmp_path / "data"))
    estimator = Estimator(config, tmp_path / "run")
    with pytest.raises(ColonnadeError, match=message):
        train_and_evaluate(estimator, TrainSpec(epochs=1), EvalSpec())
    assert int(estimator.loop.step) == 0
    assert estimator.train(max_steps=1) == 1, "without evaluation there is nothing to pick"
    assert _protocol(estimator) == "files split; last epoch, as none was picked by validation; test scored once"


def test_an_input_fn_of_one_class_is_refused_at_the_first_evaluation(tmp_path: Path) -> None:
    tf.get_logger().setLevel("ERROR")

    def read(labels: str) -> tf.data.Dataset:
        values = np.array([*labels], np.float32)
        return tf.data.Dataset.from_tensor_slices(({"item": ["abcd"[row % 4] for row in range(len(labels))]}, values)).batch(20)

    column = fc.categorical_column_with_vocabulary_list("item", [*"abcd"])
    estimator = Estimator(RunConfig(training=TrainingConfig()), tmp_path / "run", model="lr", columns=[column])
    with pytest.raises(ColonnadeError, match="Evaluation 1: auc is not defined, as the rows have labels of one class alone. .* more rows"):
        train_and_evaluate(estimator, TrainSpec(lambda: read("1011" * 10)), EvalSpec(lambda: read("1" * 40)))
