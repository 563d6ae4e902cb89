"""Trains and scores runs of the accuracy table: `python -m benchmarks.ranking_runs FOLDER RECIPE DATA_DIR ROW:SEED ...`.

`benchmarks.ranking` starts it. A finished run is one JSON file in FOLDER; a killed one whose settings are still the same goes on from its
last checkpoint.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import os
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import keras

from feature_specs.datasets import get_dataset
from preprocessing.artifacts import DataDirectory
from trainer.config import TrainingConfig
from trainer.estimator import Estimator, EvalSpec, RunConfig, TrainSpec, train_and_evaluate
from trainer.models.registry import get_model, hyper_parameters, resolve_hyper_parameters
from trainer.recipes import load_recipe


def run_config(recipe: str, row: str, seed: int, data_dir: str) -> RunConfig:
    """Returns what `python -m trainer.task --recipe RECIPE:ROW --seed SEED` trains."""
    tuned = load_recipe(f"{recipe}:{row}", None, None)
    model, spec = str(tuned.model), get_dataset(str(tuned.dataset))
    own = hyper_parameters(get_model(model))
    training = {name: value for name, value in tuned.values.items() if name not in own}
    return RunConfig(
        model=model,
        dataset=spec.name,
        fingerprint=spec.fingerprint,
        data_dir=data_dir,
        hyper_parameters=resolve_hyper_parameters(get_model(model), {name: tuned.values[name] for name in tuned.values if name in own}),
        training=TrainingConfig(**training, seed=seed),
    )


def settings(config: RunConfig) -> dict[str, Any]:
    """Returns what has to be equal for two runs to be one; values that are the defaults of training are left out."""
    return {
        "model": config.model,
        "spec": config.fingerprint,
        "hyper_parameters": config.model_dump(mode="json")["hyper_parameters"],
        "training": config.training.model_dump(mode="json", exclude_defaults=True),
    }


def train(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Trains with early stopping by validation, scores the test split once, and returns what the table takes."""
    estimator = Estimator(config, folder)
    valid = train_and_evaluate(estimator, TrainSpec(), EvalSpec())
    test = estimator.evaluate("test")
    epochs = estimator.run.epochs()
    return {
        "settings": settings(config),
        "parameters": estimator.loop.parameters,
        "valid": valid,
        "test": test,
        "best_epoch": estimator.loop.position.best_epoch,
        "epochs": len(epochs),
        "seconds_per_epoch": statistics.median(line["seconds"]["train"] for line in epochs),
        "date": str(datetime.date.today()),
        "versions": {name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "numpy")},
        "threads": int(os.environ.get("TF_NUM_INTRAOP_THREADS", 0)) or os.cpu_count(),
    }


def main(folder: Path, recipe: str, data_dir: str, runs: list[str]) -> None:
    """Trains each `ROW:SEED`."""
    DataDirectory.open(data_dir)
    for run in runs:
        row, _, seed = run.rpartition(":")
        name, config = f"{recipe}-{row}-{seed}", run_config(recipe, row, int(seed), data_dir)
        digest = hashlib.sha256(json.dumps(settings(config), sort_keys=True).encode()).hexdigest()[:8]
        result = {"table": recipe, "row": row, "seed": int(seed), **train(config, folder / f"{name}-{digest}")}
        partial = folder / f"{name}.json.tmp"
        partial.write_text(json.dumps(result), encoding="utf-8")
        partial.rename(folder / f"{name}.json")
        shutil.rmtree(folder / f"{name}-{digest}")
        keras.backend.clear_session()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
