"""Whole runs on weighted rows: from raw files by the main job, and from input_fns. Rows of weight 0 say the opposite of the others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import feature_column as fc

from feature_specs import FeatureSpec
from preprocessing.pipeline import build
from trainer.estimator import Estimator, EvalSpec, RunConfig, TrainingConfig, TrainSpec, train_and_evaluate
from trainer.task import main

SPEC = """
name: opposites
features:
- {kind: categorical, name: item, encoding: {type: vocabulary, tokens: [a, b, c, d]}}
label: {column: clicked, weight: importance}
split: {type: files, train: 'rows*', valid: 'valid*', test: 'test*'}
"""
ITEMS = np.array(["a", "b", "c", "d"] * 60)
SAYS = np.isin(ITEMS, ["a", "b"])
WEIGHTS = np.arange(240) % 8 < 4  # as many rows of each item with a weight as without
LABELS = np.where(WEIGHTS, SAYS, ~SAYS).astype(np.float32)


def _write(folder: Path) -> Path:
    rows = "".join(f"{item},{label:g},{weight:d}\n" for item, label, weight in zip(ITEMS, LABELS, WEIGHTS, strict=True))
    (folder / "rows.csv").write_text("item,clicked,importance\n" + rows)
    return folder / "rows.csv"


def _follows_the_weighted_rows(probabilities: np.ndarray) -> bool:
    return bool(np.all((probabilities > 0.9) == SAYS) and np.all((probabilities < 0.1) == ~SAYS))


def test_the_main_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "opposites.yaml").write_text(SPEC)
    rows = _write(tmp_path)
    files = [str(rows)]
    for split in ("valid", "test"):
        (tmp_path / f"{split}.csv").write_bytes(rows.read_bytes())
        files.append(str(tmp_path / f"{split}.csv"))
    build(FeatureSpec.load(tmp_path / "opposites.yaml"), tmp_path / "data", files, show_progress=False)
    flags = f"--model lr --spec {tmp_path}/opposites.yaml --data_dir {tmp_path}/data --run_dir {tmp_path}/run --epochs 12 --batch_size 60"
    assert main([*flags.split(), "--learning_rate", "0.2", "--hparams", "patience=40", "threshold=0.3"]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["threshold"] == 0.3
    assert "  precision @0.3 " in capsys.readouterr().out
    # Half of the rows say so, and half the opposite: each counts once here.
    assert result["metrics"]["test"]["auc"] == pytest.approx(0.5)
    estimator = Estimator.load(tmp_path / "run")
    estimator.loop.restore(estimator.run.last)
    (features, *_), *_ = estimator.batches("test").batches()
    logits = estimator.loop.model({name: tf.constant(values) for name, values in features.items()}, training=False).numpy()
    assert _follows_the_weighted_rows(1 / (1 + np.exp(-logits)))
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["loss"] < 0.1


def test_input_fns(tmp_path: Path) -> None:
    tf.get_logger().setLevel("ERROR")
    column = fc.categorical_column_with_vocabulary_list("item", ["a", "b", "c", "d"])

    def read() -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(({"item": ITEMS}, LABELS, WEIGHTS)).batch(60)

    config = RunConfig(training=TrainingConfig(learning_rate=0.2, patience=40))
    estimator = Estimator(config, tmp_path / "run", model="lr", columns=[column])
    metrics = train_and_evaluate(estimator, TrainSpec(read, epochs=12), EvalSpec(read))
    assert metrics["auc"] == pytest.approx(0.5)
    estimator.loop.restore(estimator.run.last)
    logits = np.concatenate([estimator.loop.model(features, training=False) for features, *_ in estimator.batches(read).dataset()])
    assert _follows_the_weighted_rows(1 / (1 + np.exp(-logits)))
    assert sum(len(batch["probabilities"]) for batch in estimator.predict(read)) == 240
    assert estimator.run.epochs()[-1]["loss"] < 0.1
