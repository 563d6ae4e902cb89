"""The page of the serving benchmark says what was met and what was missed."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.measure import Measured
from benchmarks.serving_clients import Latencies, Load
from benchmarks.serving_model import CONTENDERS, Taken
from benchmarks.serving_report import Results, report


def results(grpc_ms: float, long: Latencies, csv_seconds: float, csv_cpu_seconds: float) -> Results:
    found = Results(rounds=1, seconds=2.0, long_seconds=60.0, train_rows=1000, cores=2)
    found.add(Load("in-process", 1, 1), Latencies(np.array([1.0, 2.0, 3.0]), [], 1.0))
    found.add(Load("gRPC", 1, 1), Latencies(np.array([grpc_ms]), [], 1.0))
    found.add_long(Load("gRPC", 1, 32), long)
    for contender in CONTENDERS:
        found.add_batch(contender, Taken(100, 1.0, 2.0))
    found.taken["text to CSV"] = [Taken(100, csv_seconds, csv_cpu_seconds)]
    found.add_stages({"read": 1.0, "write": 3.0})
    return found


def test_all_is_met() -> None:
    page = report(results(3.5, Latencies(np.full(100, 5.0), [], 60.0), 2.0, 4.0))
    assert "in-process | +1.50 ms | met |" in page
    assert "the bare model's | 0.50; by CPU time 0.50 | met |" in page
    assert "p50 | 0 errors, 1.0 times | met |" in page
    assert "| in-process | 1 | 1 | 2.00 | 2.98 | 3 | 3 | 0 |" in page
    assert "| `serving.predict`, text to CSV | 50 | 0.50 | 40000.0 | 0.50 |" in page
    assert "| write | 3.0 | 75% |" in page
    assert "Memory" not in page


def test_memory_of_both_commands() -> None:
    found = results(3.5, Latencies(np.full(100, 5.0), [], 60.0), 2.0, 4.0)
    for command, few, many in (("predict", 894, 895), ("recommend", 846, 1867)):
        found.memory[f"serving.{command}"] = {2000: Measured(1.0, 1.0, 1, few * 10**6), 20_000: Measured(1.0, 1.0, 1, many * 10**6)}
    page = report(found)
    assert "| command | 2,000 rows | 20,000 rows |\n| --- | --- | --- |\n" in page
    assert "| `serving.predict`, CSV to CSV | 894 MB | 895 MB |" in page
    assert "| `serving.recommend`, CSV to JSON lines | 846 MB | 1,867 MB |" in page


@pytest.mark.parametrize(
    ("missed", "found"),
    [
        ("in-process | +2.50 ms", results(4.5, Latencies(np.full(9, 5.0), [], 60.0), 2.0, 4.0)),
        ("the bare model's | 0.40; by CPU time 0.50", results(1.0, Latencies(np.full(9, 5.0), [], 60.0), 2.5, 4.0)),
        ("the bare model's | 0.50; by CPU time 0.40", results(1.0, Latencies(np.full(9, 5.0), [], 60.0), 2.0, 5.0)),
        ("p50 | 1 errors, 1.0 times", results(1.0, Latencies(np.full(9, 5.0), ["refused"], 60.0), 2.0, 4.0)),
        ("p50 | 0 errors, 10.0 times", results(1.0, Latencies(np.array([1.0] * 90 + [10.0] * 10), [], 60.0), 2.0, 4.0)),
    ],
)
def test_one_is_missed(missed: str, found: Results) -> None:
    page = report(found)
    assert f"{missed} | **missed** |" in page
    assert page.count("**missed**") == 1
    assert ("Error: `refused`" in page) == ("1 errors" in missed)
