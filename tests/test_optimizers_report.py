"""What the tables of the optimizers say of results that are made up."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.optimizers_report import SEEDS, TRAININGS, report

_RUN = {"date": "2026-01-02", "versions": {"tensorflow": "2.21.0"}, "threads": 2}


def _speed(rows: int, ours: float, keras: float) -> dict[str, Any]:
    return {"part": "speed", "optimizer": "SGD", "rows": rows, "ours": [ours, 1, 9], "keras": [keras, 1, 99], **_RUN}


def _trained(update: str, seed: int, auc: float) -> dict[str, Any]:
    return {"part": "convergence", "recipe": TRAININGS[0].recipe, "update": update, "seed": seed, "auc": auc, **_RUN}


def test_times_are_held_against_the_smallest_table_and_against_keras() -> None:
    text = report([_speed(1000, 3.0, 30.0), _speed(10, 2.0, 2.0)])
    assert "2026-01-02, tensorflow 2.21.0" in text
    assert "| SGD | 10 | 2.0 (1.0 - 9.0) | 1.00 | 2.0 (1.0 - 99.0) | 1.0 |" in text
    assert "| SGD | 1,000 | 3.0 (1.0 - 9.0) | 1.50 | 30.0 (1.0 - 99.0) | 10.0 |" in text
    assert "dense Adam does" not in text


@pytest.mark.parametrize(("gap", "verdict"), [(0.0009, "+0.00090 | holds"), (-0.002, "-0.00200 | missed")])
def test_the_mean_difference_is_over_the_seeds_that_both_have(gap: float, verdict: str) -> None:
    results = [_trained("dense", seed, 0.9) for seed in range(SEEDS)] + [_trained("rowwise", seed, 0.9 + gap) for seed in range(2)]
    lines = [line for line in report(results).splitlines() if line.startswith(f"| {TRAININGS[0].recipe}")]
    assert len(lines) == 1
    assert f"| 0.90000 0.90000 | {0.9 + gap:.5f} {0.9 + gap:.5f} | {verdict} |" in lines[0]
