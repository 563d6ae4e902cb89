"""The other libraries of the accuracy table have the metrics that ours have, by the same definitions."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest

from trainer.evaluation import group_codes
from trainer.metrics import grouped_auc

_FILE = Path(__file__).parent.parent / "benchmarks" / "peers" / "ranking_baselines.py"


@pytest.fixture
def baselines(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, which runs in the peers' environment; LightGBM is there alone, and is not called here."""
    monkeypatch.setitem(sys.modules, "lightgbm", ModuleType("lightgbm"))
    spec = importlib.util.spec_from_file_location("ranking_baselines", _FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_gauc_is_ours(baselines: ModuleType) -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 300).astype(np.float32), rng.integers(0, 9, 300).astype(np.float32)
    names = [f"u{each}".encode() if each else None for each in rng.integers(0, 60, 300)]
    groups = pa.chunked_array([pa.array(names[:100]), pa.array(names[100:])])
    ours = grouped_auc(labels, scores, group_codes(groups))
    assert baselines.grouped_auc(labels, scores, groups) == pytest.approx(ours, abs=1e-12)


def test_gauc_by_hand(baselines: ModuleType) -> None:
    # a: 1 of 2 pairs right, three rows; b: its one pair right, two rows; c: one class; a row without a group is in none.
    groups = pa.chunked_array([pa.array([b"a", b"b", b"a", b"c", b"a"]), pa.array([b"b", None, b"c", None], pa.binary())])
    labels = np.array([1, 0, 0, 1, 0, 1, 1, 1, 0], np.float32)
    scores = np.array([2, 0, 3, 0, 1, 1, 0, 0, 9], np.float32)
    assert baselines.grouped_auc(labels, scores, groups) == pytest.approx((3 * 0.5 + 2 * 1.0) / 5)
    one_class = baselines.grouped_auc(np.ones(9, np.float32), scores, groups)
    assert np.isnan(one_class)


def test_metrics_are_those_of_the_tables(baselines: ModuleType) -> None:
    table = pa.table({"label": np.array([0.0, 1.0, 0.0, 1.0])})
    scores = np.array([0.1, 0.4, 0.35, 0.8])
    assert set(baselines._metrics(table, scores, True)) == {"auc", "log_loss"}
    grouped = table.append_column("_group", pa.array([b"a", b"a", b"b", b"b"]))
    assert baselines._metrics(grouped, scores, True)["gauc"] == 1.0
    assert set(baselines._metrics(grouped, scores, False)) == {"rmse", "mae"}
