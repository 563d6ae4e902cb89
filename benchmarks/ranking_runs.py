"""Trains and scores runs of the accuracy table: `python -m benchmarks.ranking_runs FOLDER RECIPE DATA_DIR ROW:SEED ...`.

`benchmarks.ranking` starts it. A finished run is one JSON file in FOLDER; a killed one whose settings are still the same goes on from its
last checkpoint.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Any

import keras

from benchmarks.runs import circumstances, digest, finish, run_config, run_settings
from preprocessing.artifacts import DataDirectory
from trainer.config import RunConfig
from trainer.estimator import Estimator, EvalSpec, TrainSpec, train_and_evaluate


def train(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Trains with early stopping by validation, scores the test split once, and returns what the table takes."""
    estimator = Estimator(config, folder)
    valid = train_and_evaluate(estimator, TrainSpec(), EvalSpec())
    test = estimator.evaluate("test")
    epochs = estimator.run.epochs()
    return {
        "settings": run_settings(config),
        "parameters": estimator.loop.parameters,
        "valid": valid,
        "test": test,
        "best_epoch": estimator.loop.position.best_epoch,
        "epochs": len(epochs),
        "seconds_per_epoch": statistics.median(line["seconds"]["train"] for line in epochs),
        **circumstances(),
    }


def main(folder: Path, recipe: str, data_dir: str, runs: list[str]) -> None:
    """Trains each `ROW:SEED`."""
    DataDirectory.open(data_dir)
    for run in runs:
        row, _, seed = run.rpartition(":")
        config = run_config(recipe, row, int(seed), data_dir)
        run_dir = folder / f"{recipe}-{row}-{seed}-{digest(run_settings(config))}"
        finish(folder, run_dir, recipe, (row, int(seed)), train(config, run_dir))
        keras.backend.clear_session()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
