"""Step time of a model over the size of its tables: `python -m benchmarks.step_time`, writes benchmarks/step_time.md.

Criteo-shaped batches in memory (26 tokens, 13 numbers), one set of tables a size, measured in turns in one process, so that a busy
machine slows all of them alike. Ids follow a Zipf law, as clicks do, or are uniform, the hardest case: nearly every one is another row.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import itertools
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.training_shapes import FIELDS, NUMBERS, criteo_shaped, draw
from feature_specs.command import load_tensorflow

STEPS, ROUNDS = 10, 9


class Contender:
    """A model with its training loop and batches in memory."""

    def __init__(self, model: str, rows: int, batch_size: int, optimizer: str, exponent: float) -> None:
        import tensorflow as tf

        from trainer.config import TrainingConfig
        from trainer.data import element_spec
        from trainer.layers import Inputs
        from trainer.loop import Loop
        from trainer.models.registry import get_model
        from trainer.tasks import BinaryTask

        spec = criteo_shaped(rows)
        config = TrainingConfig(batch_size=batch_size, embedding_optimizer=optimizer, clip_norm=0)
        network = get_model(model)(Inputs(spec), embedding_dim=16, hidden_units=(400, 400, 400), dropout=0.0, batch_norm=False)
        self.loop = Loop(network, BinaryTask(), config, element_spec(spec))
        rng = np.random.default_rng(0)
        table = rows // FIELDS - 1
        batches = []
        for _ in range(STEPS):
            features = {f"c{i}": tf.constant(draw(rng, table, batch_size, exponent)) for i in range(FIELDS)}
            features |= {f"i{i}": tf.constant(rng.normal(size=batch_size).astype(np.float32)) for i in range(NUMBERS)}
            batches.append((features, tf.constant(rng.integers(0, 2, batch_size).astype(np.float32))))
        stacked = tf.nest.map_structure(lambda *values: tf.stack(values), *batches)
        self.dataset = tf.data.Dataset.from_tensor_slices(stacked).repeat()
        self.iterator = iter(self.dataset)
        self.milliseconds: list[float] = []

    def run(self) -> None:
        """Times STEPS steps in one call."""
        started = time.perf_counter()
        self.loop.train(self.iterator, STEPS)
        self.milliseconds.append((time.perf_counter() - started) / STEPS * 1000)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nfm")
    parser.add_argument("--batch_size", type=int, default=4096)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000, 10_000_000])
    parser.add_argument("--exponents", type=float, nargs="+", default=[1.05, 0.0], help="of the Zipf law of the ids; 0 is uniform")
    parser.add_argument("--optimizers", nargs="+", default=["lazy_adam", "adagrad"])
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    flags = parser.parse_args(arguments)
    load_tensorflow()
    lines = []
    for optimizer, exponent in itertools.product(flags.optimizers, flags.exponents):
        contenders = {rows: Contender(flags.model, rows, flags.batch_size, optimizer, exponent) for rows in flags.rows}
        for turn in range(ROUNDS + 2):
            for contender in contenders.values():
                contender.run()
                if turn < 2:  # tracing and the first touch of memory
                    contender.milliseconds.clear()
        base = statistics.median(contenders[flags.rows[0]].milliseconds)
        for rows, contender in contenders.items():
            times = sorted(contender.milliseconds)
            median = statistics.median(times)
            spread = f"{times[0]:.1f} - {times[-1]:.1f}"
            lines.append(f"| {optimizer} | {exponent:g} | {rows:,} | {median:.1f} | {spread} | {median / base:.2f} |")
            print(lines[-1], flush=True)
        del contenders
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("tensorflow", "keras", "numpy"))
    text = [
        "# Step time over the size of the tables",
        "",
        f"`python -m benchmarks.step_time`, {datetime.date.today()}, {versions}, Python {platform.python_version()}, 2 cores.",
        f"Model {flags.model}, batch {flags.batch_size}, {FIELDS} tokens and {NUMBERS} numbers, width 16, MLP 400-400-400, float32,",
        "data in memory. Ids follow a Zipf law with the given exponent; 0 is uniform, the hardest case: nearly every id is another row.",
        f"Median of {ROUNDS} turns of {STEPS} steps.",
        "",
        "| optimizer of the tables | exponent | table rows | ms a step | range | to the first |",
        "| --- | --- | --- | --- | --- | --- |",
        *lines,
    ]
    flags.output.write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
