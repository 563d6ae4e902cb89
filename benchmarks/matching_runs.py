"""Trains and scores runs of the matching table: `python -m benchmarks.matching_runs FOLDER RECIPE DATA_DIR ROW:SEED ...`.

`benchmarks.matching` starts it. A finished run is one JSON file in FOLDER; a killed one whose settings are still the same goes on from its
last checkpoint. The directories of runs that others start from are kept.
"""

from __future__ import annotations

import hashlib
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.matching_tables import WARM_STARTS
from benchmarks.runs import Run, circumstances, digest, finish, run_config, run_settings
from preprocessing.artifacts import DataDirectory
from trainer.config import RunConfig


def settings(recipe: str, run: Run) -> dict[str, Any]:
    """Returns what has to be equal for two runs to be one, with that of the runs that it starts from."""
    before = {row: settings(recipe, (row, run[1])) for row in WARM_STARTS.get((recipe, run[0]), ())}
    own = run_settings(run_config(recipe, *run, data_dir=""))
    return {**own, "warm_start": before} if before else own


def run_dir(folder: Path, recipe: str, run: Run) -> Path:
    """Returns where a run is while it is trained, and afterwards where others start from it."""
    return folder / f"{recipe}-{run[0]}-{run[1]}-{digest(settings(recipe, run))}"


def train(folder: Path, recipe: str, run: Run, data_dir: str) -> dict[str, Any]:
    """Trains with early stopping by validation, scores the test split once, and returns what the table takes."""
    from trainer.estimator import Estimator, EvalSpec, TrainSpec, train_and_evaluate
    from trainer.finish import scores_by_protocol

    first = tuple(str(_trained(folder, recipe, (row, run[1]), data_dir)) for row in WARM_STARTS.get((recipe, run[0]), ()))
    config: RunConfig = run_config(recipe, *run, data_dir).model_copy(update={"warm_start": first})
    estimator = Estimator(config, run_dir(folder, recipe, run))
    train_and_evaluate(estimator, TrainSpec(), EvalSpec())
    epochs = estimator.run.epochs()
    valid, test = scores_by_protocol(estimator)
    started = time.perf_counter()
    estimator.evaluate_by_protocol("valid")
    return {
        "settings": settings(recipe, run),
        "parameters": estimator.loop.parameters,
        "valid": valid,
        "test": test,
        "test_pairs": pairs_digest(estimator.data),
        "best_epoch": estimator.loop.position.best_epoch,
        "epochs": len(epochs),
        "seconds_per_epoch": statistics.median(line["seconds"]["train"] for line in epochs),
        "seconds_per_evaluation": time.perf_counter() - started,
        **circumstances(),
    }


def pairs_digest(data: DataDirectory) -> str:
    """Returns a digest of the users and items of the test split, as RecBole's program makes it."""
    items = pq.read_table(data.path / "items.parquet", columns=["_item"])["_item"].to_pylist()
    tables = [pq.read_table(path, columns=["_user", "_targets"]) for path in data.shards("test")]
    rows = [row for table in tables for row in table.to_pylist()]
    pairs = sorted(b"%s\t%s\n" % (row["_user"], items[number]) for row in rows for number in row["_targets"])
    return hashlib.sha256(b"".join(pairs)).hexdigest()


def _trained(folder: Path, recipe: str, run: Run, data_dir: str) -> Path:
    """Returns the directory of a run that another one starts from; trained, and refitted, where it is gone or unfinished."""
    import keras

    from trainer.estimator import Estimator, EvalSpec, TrainSpec, train_and_evaluate
    from trainer.matching.refit import refit

    path = run_dir(folder, recipe, run)
    estimator = Estimator(run_config(recipe, *run, data_dir), path)
    train_and_evaluate(estimator, TrainSpec(), EvalSpec())
    refit(estimator)
    keras.backend.clear_session()
    return path


def main(folder: Path, recipe: str, data_dir: str, runs: list[str]) -> None:
    """Trains each `ROW:SEED`."""
    import keras

    DataDirectory.open(data_dir)
    starts = {row for (name, _), rows in WARM_STARTS.items() if name == recipe for row in rows}
    for text in runs:
        row, _, seed = text.rpartition(":")
        run = (row, int(seed))
        finish(folder, run_dir(folder, recipe, run), recipe, run, train(folder, recipe, run, data_dir), keep=row in starts)
        keras.backend.clear_session()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
