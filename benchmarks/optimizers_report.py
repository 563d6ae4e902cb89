"""The tables of benchmarks/optimizers.md."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PARTS = ("speed", "convergence")
SEEDS = 3
WANTED = 0.001


@dataclass(frozen=True)
class Training:
    """A training that is done with lazy and with dense Adam.

    Attributes:
        recipe: File in trainer/recipes.
        row: Of the recipe.
        input: Its raw files, under the folder COLONNADE_DATA.
        steps: Of each.
    """

    recipe: str
    row: str
    input: str
    steps: int


TRAININGS = (
    Training("frappe", "deepfm", "frappe/frappe.*.libfm*", 500),
    Training("movielens_1m", "nfm", "ml-1m/ml-1m.zip", 800),
)


def report(results: Sequence[dict[str, Any]]) -> str:
    """Returns both tables, as far as there are results."""
    last = max(results, key=lambda result: result["date"])
    versions = ", ".join(f"{name} {version}" for name, version in last["versions"].items())
    lines = [
        "# Optimizers on their own",
        "",
        f"`make benchmark-optimizers`, {last['date']}, {versions}, Python {platform.python_version()}, {last['threads']} threads.",
        "",
        *_speed([result for result in results if result["part"] == "speed"]),
        *_convergence([result for result in results if result["part"] == "convergence"]),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _speed(results: Sequence[dict[str, Any]]) -> list[str]:
    if not results:
        return []
    table = []
    for result in sorted(results, key=lambda result: (result["optimizer"], result["rows"])):
        base = min((other for other in results if other["optimizer"] == result["optimizer"]), key=lambda other: other["rows"])
        cells = [f"{median:.1f} ({low:.1f} - {high:.1f})" for median, low, high in (result["ours"], result["keras"])]
        ours, keras = result["ours"][0], result["keras"][0]
        table.append(
            f"| {result['optimizer']} | {result['rows']:,} | {cells[0]} | {ours / base['ours'][0]:.2f} | {cells[1]} | {keras / ours:.1f} |"
        )
    return [
        "## Milliseconds a step",
        "",
        "One table of width 16, 4,096 x 26 ids a step (Zipf, exponent 1.05): a gather, the gradient of its rows, and the update. Keras",
        "gets the gradient as a gather gives it (`tf.IndexedSlices`). In turns in one process; median and range of 7 turns of 4 steps.",
        "",
        "| row-wise | table rows | ours | to the smallest | Keras | Keras / ours |",
        "| --- | --- | --- | --- | --- | --- |",
        *table,
        "",
    ]


def _convergence(results: Sequence[dict[str, Any]]) -> list[str]:
    table = []
    for training in TRAININGS:
        auc = {(result["update"], result["seed"]): result["auc"] for result in results if result["recipe"] == training.recipe}
        seeds = [seed for seed in range(SEEDS) if ("dense", seed) in auc and ("rowwise", seed) in auc]
        if seeds:
            dense, lazy = ([auc[update, seed] for seed in seeds] for update in ("dense", "rowwise"))
            gap = statistics.mean(lazy) - statistics.mean(dense)
            cells = [" ".join(f"{value:.5f}" for value in values) for values in (dense, lazy)]
            held = "holds" if abs(gap) <= WANTED else "missed"
            name = f"{training.recipe}, {training.row}"
            table.append(f"| {name} | {training.steps:,} | {cells[0]} | {cells[1]} | {gap:+.5f} | {held} |")
    if not table:
        return []
    return [
        "## Lazy Adam ends where dense Adam does",
        "",
        "Test AUC of the last weights after equal steps, for each of three seeds: same initial weights, batches and dropout, no L2 of",
        "rows. Lazy Adam makes up for the steps that a row has missed: only rounding tells them apart, which training amplifies. Wanted:",
        f"means within {WANTED}.",
        "",
        "| data and model | steps | dense Adam | lazy Adam | mean difference | |",
        "| --- | --- | --- | --- | --- | --- |",
        *table,
        "",
    ]
