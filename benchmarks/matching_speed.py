"""Times training of the matching models, alone on the machine: `python -m benchmarks.matching_speed FOLDER DATA_DIR NAME`.

What TIMED has under NAME is trained for some epochs, with the sizes that RecBole is timed with; the first epoch, which traces
the graph, does not count. It prints a JSON line: examples (positives and negatives) or sequences a second, reading and sampling included.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.runs import circumstances, run_config
from preprocessing.artifacts import DataDirectory

EPOCHS = 4


@dataclass(frozen=True)
class Timed:
    """One row of the table of speed.

    Attributes:
        recipe: File in trainer/recipes.
        row: Of the file.
        hyper_parameters: Where they differ from the row's.
        training: Settings, where they differ from the row's.
        text: What is timed.
        peers: RecBole's rows of the same sizes.
        tried: Where it misses its target, what was found.
    """

    recipe: str
    row: str
    text: str
    peers: tuple[str, ...]
    hyper_parameters: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    tried: str = ""


TARGET = 2.0  # times as many examples or sequences a second as RecBole
# RecBole's batch of 2,048 examples is one of 409 positives with their four negatives each.
TIMED = {
    "NeuMF": Timed(
        recipe="movielens_1m_implicit",
        row="neumf",
        text="vectors of 32 and 128, layers of 128, 64 and 32, four negatives a positive, 2,045 examples a step",
        peers=("RecBole NeuMF",),
        training={"batch_size": 409, "num_negatives": 4},
        tried=(
            "with one thread an operation (TF_NUM_INTRAOP_THREADS=1) a step takes 6.7 ms, and 10 ms of CPU time, 3.0 of them matrix "
            "products, 1.6 TensorFlow's executor and .8 the data, beside it. Small operations do not gain from two threads: that is "
            "283,000 examples a second in place of 222,000, but an evaluation then takes 8.3 s in place of 5.2, so that the default "
            "stays. RecBole was timed with its own default, two threads"
        ),
    ),
    "SASRec": Timed(
        recipe="movielens_1m_implicit",
        row="sasrec",
        text="200 positions, two blocks, width 50, one head, one negative a position, 128 sequences a step",
        peers=("RecBole SASRec", "RecBole SASRec, full softmax"),
        training={"batch_size": 128, "num_negatives": 1},
    ),
}


def count(data: DataDirectory, max_length: int) -> dict[str, int]:
    """Returns what an epoch goes through: positives, and whole sequences with their positions (the first item predicts only)."""
    lists = [pq.read_table(path, columns=["_items"])["_items"] for path in data.shards("train")]
    lengths = np.concatenate([chunk.value_lengths().to_numpy() for column in lists for chunk in column.chunks])
    positions = np.minimum(lengths - 1, max_length)
    return {"positives": int(lengths.sum()), "sequences": int((positions > 0).sum()), "positions": int(positions.sum())}


def rates(counts: dict[str, int], seconds: float, negatives: int, sequences: bool) -> dict[str, float]:
    """Returns what goes through in a second, by an epoch's counts and seconds."""
    if sequences:
        return {f"{name}_per_second": counts[name] / seconds for name in ("sequences", "positions")}
    return {"examples_per_second": counts["positives"] * (1 + negatives) / seconds}


def main(folder: Path, data_dir: str, name: str) -> None:
    """Trains, and prints the line."""
    from trainer.estimator import Estimator, EvalSpec, TrainSpec, train_and_evaluate

    timed, data = TIMED[name], DataDirectory.open(data_dir)
    config = run_config(timed.recipe, timed.row, 0, data_dir)
    given = {**timed.training, "epochs": EPOCHS, "patience": EPOCHS, "protocols": ("full",)}
    training = config.training.model_copy(update=given)
    config = config.model_copy(
        update={"training": training, "hyper_parameters": {**config.hyper_parameters, **timed.hyper_parameters}, "data_dir": data_dir}
    )
    run_dir = folder / f"speed-{name}"
    shutil.rmtree(run_dir, ignore_errors=True)
    estimator = Estimator(config, run_dir)
    train_and_evaluate(estimator, TrainSpec(), EvalSpec())
    epochs = estimator.run.epochs()[1:]
    seconds = statistics.median(line["seconds"]["train"] for line in epochs)
    is_sequence = estimator.loop.model.examples == "sequences"
    through = rates(count(data, getattr(estimator.loop.model, "max_length", 0) or 1), seconds, training.num_negatives or 0, is_sequence)
    result = {
        "row": name,
        "seconds": seconds,
        **through,
        "seconds_per_evaluation": statistics.median(line["seconds"]["evaluate"] for line in epochs),
        "parameters": estimator.loop.parameters,
        "given": timed.training,
        **circumstances(),
    }
    print(json.dumps(result), flush=True)
    shutil.rmtree(run_dir)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
