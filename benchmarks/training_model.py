"""Our side of the training benchmark: a model with its training loop and batches in memory, in a process of its own.

It is started by benchmarks/training.py, with what to train as JSON.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.turns import serve, take_output
from benchmarks.training_shapes import FIELDS, MODELS, NUMBERS, SIZES, criteo_shaped
from feature_specs.command import load_tensorflow
from trainer.huge_pages import restart_with_huge_pages


class InMemory:
    """Batches for `Loop.score`, without their end where they are for training."""

    def __init__(self, path: Path, batch_size: int, batches: int = -1) -> None:
        import tensorflow as tf

        from trainer.pipelines import untuned

        with np.load(path) as data:
            ids, numbers, labels = data["ids"], data["numbers"], data["labels"]
        features = {f"c{i}": ids[:, i] for i in range(FIELDS)} | {f"i{i}": numbers[:, i] for i in range(NUMBERS)}
        stacked = tf.nest.map_structure(lambda values: tf.constant(values.reshape(-1, batch_size)), (features, labels))
        self._dataset = untuned(tf.data.Dataset.from_tensor_slices(stacked).take(batches))

    def dataset(self) -> Any:  # noqa: ANN401 (a tf.data.Dataset)
        """Returns the batches."""
        return self._dataset

    def errors_of_reading(self) -> AbstractContextManager[None]:
        """There are none."""
        return contextlib.nullcontext()


class Contender:
    """A model in training.

    Args:
        data: What `write_data` has written.
        model: Registered name.
        rows: Of all tables.
        shape: Of the numbers: "scalars" or "embedded".
        precision: As `--mixed_precision` takes it.
        optimizers: Settings of the training beside those.
    """

    def __init__(self, data: Path, model: str, rows: int, shape: str, precision: str, optimizers: Mapping[str, str]) -> None:
        import tensorflow as tf

        from trainer.config import TrainingConfig
        from trainer.data import element_spec
        from trainer.layers import Inputs
        from trainer.loop import Loop
        from trainer.models.registry import get_model
        from trainer.precision import precision_policy
        from trainer.tasks import BinaryTask

        tf.config.experimental.enable_op_determinism()  # as estimators do
        tf.random.set_seed(0)
        spec = criteo_shaped(rows, shape)
        config = TrainingConfig.model_validate(
            {"batch_size": SIZES["batch_size"], "clip_norm": 0, "mixed_precision": precision, **optimizers}
        )
        common = {
            "embedding_dim": SIZES["embedding_dim"],
            "hidden_units": tuple(SIZES["hidden_units"]),
            "dropout": 0.0,
            "batch_norm": False,
        }
        with precision_policy(precision):
            network = get_model(model)(Inputs(spec), **common, **MODELS[model])
            self.loop = Loop(network, BinaryTask(), config, element_spec(spec))
        self.data = data
        self.iterator = iter(InMemory(data, SIZES["batch_size"]).dataset().repeat())

    def table_bytes(self) -> int:
        """Returns the size of the tables and of their optimizers' slots."""
        rowwise = [group.rowwise for group in self.loop._groups]
        tables = [table.table.value for each in rowwise for table in each.tables]
        slots = [variable for each in rowwise for variable in each.variables]
        return int(sum(np.prod(variable.shape) * variable.dtype.size for variable in [*tables, *slots]))

    def run(self, steps: int) -> list[float]:
        """Returns the milliseconds of a step, the mean of so many in one call, as training does."""
        started = time.perf_counter()
        self.loop.train(self.iterator, steps)
        return [1000 * (time.perf_counter() - started) / steps]

    def score(self, batches: int) -> dict[int, float]:
        """Returns examples a second, in batches as large as evaluation's."""
        from trainer.evaluation import SCORING_BATCH

        data = InMemory(self.data, SCORING_BATCH, batches * SIZES["batch_size"] // SCORING_BATCH)
        started = time.perf_counter()
        scores = self.loop.score(data)
        return {SCORING_BATCH: len(scores.logits) / (time.perf_counter() - started)}


def matrix_rates(repeats: int) -> dict[str, float]:
    """Returns the best rate of products as large as an MLP's, forward and backward, in GFLOP/s by the type of the arithmetic."""
    import tensorflow as tf

    batch, units = SIZES["batch_size"], SIZES["hidden_units"][0]
    inputs = (FIELDS + NUMBERS) * SIZES["embedding_dim"]
    shapes = [(batch, inputs, units), (batch, units, units), (inputs, batch, units), (batch, units, inputs)]
    best = {}
    for dtype in ("float32", "bfloat16"):
        rates = []
        for rows, inner, columns in shapes:
            left, right = (tf.cast(tf.random.normal(shape), dtype) for shape in ([rows, inner], [inner, columns]))
            tf.matmul(left, right)
            started = time.perf_counter()
            for _ in range(repeats):
                tf.matmul(left, right)
            rates.append(2e-9 * rows * inner * columns * repeats / (time.perf_counter() - started))
        best[dtype] = max(rates)
    return best


def main() -> None:
    """Builds a model and takes its turns."""
    restart_with_huge_pages("benchmarks.training_model")  # as trainer.task does
    output = take_output()
    job = json.loads(sys.argv[1])
    load_tensorflow()
    contender = Contender(Path(job["data"]), job["model"], job["rows"], job["shape"], job["precision"], job["optimizers"])
    facts = {"table_bytes": contender.table_bytes()}
    serve(output, facts, {"run": contender.run, "score": contender.score, "rate": matrix_rates})


if __name__ == "__main__":
    main()
