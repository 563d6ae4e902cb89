"""Seconds of one evaluation: `python -m benchmarks.matching_evaluation`, writes benchmarks/matching_evaluation.md.

As many users and items as MovieLens-1M has, random vectors, and as many seen items as its users have ratings. Beside it one of the metrics
from a loop over users, and from scikit-learn, on scores that one matrix product gives; all have to agree.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import ndcg_score

from trainer.data import Lists
from trainer.matching.catalogue import Catalogue
from trainer.matching.evaluation import EvaluationRows, Evaluator
from trainer.models.base import MatchingModel

USERS, ITEMS, WIDTH, RATINGS, K, ROUNDS = 6040, 3706, 64, 1_000_209, 10, 5


class InnerProduct(MatchingModel):
    """Random vectors."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        self.users = tf.constant(rng.normal(size=(USERS, WIDTH)), tf.float32)
        self.items = tf.constant(rng.normal(size=(ITEMS, WIDTH)), tf.float32)

    def query(self, features: Mapping[str, tf.Tensor], all_positions: bool = False) -> tf.Tensor:  # noqa: ARG002
        """Rows of a table."""
        return tf.gather(self.users, features["user"])

    def candidates(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Rows of a table."""
        return tf.gather(self.items, features["item"])


class LayersOnPairs(InnerProduct):
    """Layers of 64, 32 and 16 units on each pair, the first of them split between its two sides."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(rng)
        self.hidden = [keras.layers.Dense(units, "relu") for units in (32, 16)]
        self.last = keras.layers.Dense(1)

    def score(self, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """A network of each pair."""
        hidden = tf.nn.relu(query[:, None] + candidates)
        for layer in self.hidden:
            hidden = layer(hidden)
        return self.last(hidden)[..., 0]


def lists(rng: np.random.Generator) -> tuple[Lists, Lists]:
    """Returns what users have seen, 20 or more items with a long tail as in MovieLens, and one target each."""
    sizes = np.clip(rng.lognormal(4.5, 1.0, USERS), 20, ITEMS // 2)
    sizes = np.maximum(20, sizes * RATINGS / sizes.sum()).astype(np.int64).clip(20, ITEMS // 2)
    values = np.concatenate([rng.choice(ITEMS, size, replace=False) for size in sizes]).astype(np.int32)
    ends = np.cumsum(sizes)
    return Lists(values, ends - sizes, sizes - 1), Lists(values, ends - 1, np.ones(USERS, np.int64))


def by_a_loop(model: InnerProduct, seen: Lists, targets: Lists) -> float:
    """Returns ndcg@10 from a loop over users that masks and sorts scores."""
    scores, total = model.users.numpy() @ model.items.numpy().T, 0.0
    for user in range(USERS):
        row = scores[user]
        row[seen.values[seen.starts[user] : seen.starts[user] + seen.lengths[user]]] = -np.inf
        place = np.flatnonzero(np.argsort(-row)[:K] == targets.values[targets.starts[user]])
        total += float(1 / np.log2(2 + place[0])) if len(place) else 0.0
    return total / USERS


def by_scikit_learn(model: InnerProduct, seen: Lists, targets: Lists) -> float:
    """Returns ndcg@10."""
    scores = model.users.numpy() @ model.items.numpy().T
    scores[np.repeat(np.arange(USERS), seen.lengths), seen.take(np.arange(USERS)).values] = scores.min() - 1
    relevant = np.zeros(scores.shape, np.int8)
    relevant[np.arange(USERS), targets.values[targets.starts]] = 1
    return float(ndcg_score(relevant, scores, k=K))


def measure(run: Callable[[], float], rounds: int) -> tuple[float, str]:
    """Returns what `run` gives, and its median time, range and CPU time in seconds, as cells of a table."""
    seconds, cpu = [], []
    for _ in range(rounds):
        started, cpu_started = time.perf_counter(), time.process_time()
        value = run()
        seconds.append(time.perf_counter() - started)
        cpu.append(time.process_time() - cpu_started)
    return value, f"{statistics.median(seconds):.2f} | {min(seconds):.2f} - {max(seconds):.2f} | {statistics.median(cpu):.2f}"


def main() -> None:
    """Measures, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    seen, targets = lists(rng)
    counts = np.bincount(seen.take(np.arange(USERS)).values, minlength=ITEMS)
    catalogue = Catalogue(tuple(b"%d" % number for number in range(ITEMS)), counts, {"item": np.arange(ITEMS)}, "item")
    rows = EvaluationRows(lambda begin, end: {"user": np.arange(begin, end)}, seen, targets)
    table = []
    for name, model in {"inner product": InnerProduct(rng), "layers on pairs": LayersOnPairs(rng)}.items():
        evaluator = Evaluator(model, catalogue)
        for protocol in ("full", "sampled:100"):

            def run(evaluator: Evaluator = evaluator, protocol: str = protocol) -> float:
                return evaluator.evaluate(rows, (protocol,), (5, K, 20))[protocol][f"ndcg@{K}"]

            _, first = measure(run, 1)
            _, cells = measure(run, ROUNDS)
            table.append(f"| {name}, {protocol}, all metrics at 5, 10 and 20 | {cells} | {first.split(' ')[0]} |")
    model = InnerProduct(np.random.default_rng(1))
    ours = Evaluator(model, catalogue).evaluate(rows, ("full",), (K,))["full"][f"ndcg@{K}"]
    for name, peer in {"loop over users, NumPy, ndcg@10 alone": by_a_loop, "scikit-learn, ndcg@10 alone": by_scikit_learn}.items():
        value, cells = measure(lambda peer=peer: peer(model, seen, targets), 3)  # type: ignore[misc]
        np.testing.assert_allclose(value, ours, rtol=1e-6)
        table.append(f"| {name} | {cells} | |")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("tensorflow", "numpy", "scikit-learn"))
    head = [
        "# Seconds of one evaluation",
        "",
        f"`python -m benchmarks.matching_evaluation`, {datetime.datetime.now(datetime.timezone.utc).date()}, {versions},",
        f"Python {platform.python_version()}, {len(os.sched_getaffinity(0))} cores, load average {os.getloadavg()[0]:.1f} at the end.",
        f"{USERS:,} users x {ITEMS:,} items, {int(seen.lengths.sum()):,} seen items masked, vectors of width {WIDTH}, float32.",
        f"Median of {ROUNDS} evaluations (of 3 for the others), their range, the median of the CPU time of all cores, which depends less",
        "on what else the machine does, and the first evaluation, which traces graphs. The last two rows compute one metric; the number",
        "is ours to 6 digits.",
        "",
        "| what | seconds | range | CPU seconds | first |",
        "| --- | --- | --- | --- | --- |",
    ]
    arguments.output.write_text("\n".join([*head, *table, ""]), encoding="utf-8")
    print("\n".join(table))


if __name__ == "__main__":
    main()
