"""Time and memory of the exact metrics: `python -m benchmarks.metrics`, writes benchmarks/metrics.md; two minutes.

Ten million rows, all scores distinct or a thousand distinct ones; memory is what is allocated beside the arguments.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from trainer import metrics

ROWS, GROUPS, TURNS = 10_000_000, 200_000, 5
OUTPUT = Path(__file__).with_suffix(".md")


def seconds(call: Callable[[], object], turns: int = TURNS) -> float:
    """Returns the median of the times that a call takes."""
    times = []
    for _ in range(turns):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def peak_megabytes(call: Callable[[], object]) -> float:
    """Returns the most that a call has allocated at one time."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def main() -> None:
    """Measures and writes the table."""
    rng = np.random.default_rng(0)
    labels = (rng.random(ROWS) < 0.25).astype(np.float32)
    logits = rng.normal(-1, 1, ROWS).astype(np.float32)
    groups = rng.integers(0, GROUPS, ROWS, np.int32)
    lines = []
    for kind, scores in (("distinct", logits), ("a thousand", np.clip(np.round(logits * 100) / 100, -6, 4))):
        probabilities = metrics.sigmoid(scores)
        calls: dict[str, Callable[[], object]] = {
            "auc": lambda scores=scores: metrics.auc(labels, scores),
            "log_loss": lambda scores=scores: metrics.log_loss(labels, scores),
            "ece": lambda probabilities=probabilities: metrics.expected_calibration_error(labels, probabilities),
            "gauc": lambda scores=scores: metrics.grouped_auc(labels, scores, groups),
            "all of a binary task": lambda scores=scores: metrics.binary_metrics(labels, scores, groups),
        }
        for name, call in calls.items():
            lines.append(f"| {name} | {kind} | {seconds(call):.2f} | {peak_megabytes(call):,.0f} |")
            print(lines[-1], flush=True)
        expected: list[float] = []
        theirs = seconds(lambda scores=scores, found=expected: found.append(float(roc_auc_score(labels, scores))), turns=1)
        lines.append(f"| auc by scikit-learn | {kind} | {theirs:.2f} | |")
        gap = abs(metrics.auc(labels, scores) - expected[0])
        print(f"{lines[-1]} differs from ours by {gap:.1e}", flush=True)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "scikit-learn"))
    text = [
        "# Exact metrics of ten million rows",
        "",
        f"`python -m benchmarks.metrics`, {datetime.date.today()}, {versions}, Python {platform.python_version()}, one core.",
        f"float32 logits, a quarter positive, {GROUPS:,} groups of {ROWS // GROUPS} or so. Median of {TURNS} calls (scikit-learn: one);",
        "MB are the most that a call has allocated beside its arguments. Wanted: the AUC in under 3 s and 1,000 MB.",
        "",
        "| metric | scores | seconds | MB |",
        "| --- | --- | --- | --- |",
        *lines,
    ]
    OUTPUT.write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
