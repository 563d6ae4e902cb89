"""The training benchmark's page: which limits hold, on made-up cells; and the arithmetic of each model, by hand."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.training import ContenderError, Group, Plan, take_turns
from benchmarks.training_limits import Limit, gain, limits
from benchmarks.training_report import cells_of, picture, report
from benchmarks.training_shapes import FIELDS, NUMBERS, SIZES, TITLES, criteo_shaped, multiply_adds, step_flops, write_data

_TURNS_SOURCE = """
import sys
sys.path.insert(0, {folder!r})
from turns import serve, take_output
output = take_output()
print("a library says something")
serve(output, {{"table_bytes": 8}}, {{"run": lambda steps: [float(steps)] * steps, "rate": lambda repeats: {{"float32": repeats}}}})
"""


def _cell(subject: str, rows: int, ours: float, peer: float, **changed: Any) -> dict[tuple[str, str, int], dict[str, Any]]:
    """A cell in which the peer on scalars takes `peer` ms, the other one three times that, and bfloat16 three quarters of float32."""
    milliseconds = {"DeepCTR": [peer, peer - 1, peer + 1], "FuxiCTR": [3 * peer]}
    for shape in ("scalars", "embedded"):
        milliseconds |= {f"ours {shape} float32": [ours], f"ours {shape} bfloat16": [0.75 * ours]}
    cell = {
        "table": "1.05",
        "row": f"{subject} {rows}",
        "seed": 0,
        "subject": subject,
        "rows": rows,
        "milliseconds": milliseconds,
        "steps": dict.fromkeys(milliseconds, 10),
        "scores": {},
        "rates": {shape: [{"float32": 200.0, "bfloat16": 400.0}] for shape in ("scalars", "embedded")},
        "memory": {"ours scalars float32": 3_000_000_000, "DeepCTR": 4_000_000_000},
        "table_bytes": {"ours scalars float32": 2_000_000_000},
        "peers": {"DeepCTR": {"deepctr": "0.9.4"}},
        "failed": {},
        "machine": "2 cores",
        "date": "2026-01-01",
        "versions": {"keras": "3"},
        "threads": 2,
        **changed,
    }
    return {(cell["table"], cell["row"], 0): cell}


def test_the_page_says_what_holds_and_what_is_missed() -> None:
    memory = {"memory": {"10000000": 2_300_000_000}, "table_bytes": {"10000000": 1_000_000_000}}
    results = {
        **_cell("deepfm", 10_000, 80.0, 100.0),
        **_cell("deepfm", 10_000_000, 120.0, 600.0),
        **_cell("lazy_adam", 0, 0, 0, row="lazy_adam", milliseconds={"10000": [50.0], "10000000": [60.0]}, rates={}, **memory),
    }
    page = report(results)
    # The lower of 100 / 80 and 300 / 80.
    assert "| DeepFM, 10,000 rows: times as fast as the faster peer | 1.25 | at least 1 | holds |" in page
    assert "| DeepFM, 10,000,000 rows: times as fast as the faster peer | 5.00 | at least 6 | **missed**: its products alone " in page
    assert "would be 9.92 times as fast as DeepCTR; ours in bfloat16 is 6.67 times |" in page
    assert "bfloat16: times as fast as the faster peer | 1.67 | at least 1.3 | holds |" in page
    assert "bfloat16 pays on this machine: at 10,000 rows our steps take 0.75 of their time in float32." in page
    assert "our step at 10,000,000 rows to that at 10,000 | 1.50 | at most 1.25 | **missed**: 120.0 ms for 80.0 |" in page
    assert "| lazy_adam (nfm, embedded): our step at 10,000,000 rows to that at 10,000 | 1.20 | at most 1.25 | holds |" in page
    # 12.09 GFLOP at 200 GFLOP/s are 60.5 ms.
    assert "our step to its matrix products alone | 1.32 | at most 1.25 | **missed**: 80.0 ms for 60.5; 4.4 ms too many |" in page
    assert "| DeepFM | 10,000 | scalars | 12.1 | 200 | 60.5 | 1.32 | 400 | 30.2 | 1.98 |" in page
    assert "| DeepFM, 10,000,000 rows: our peak memory beyond tables and slots | 1.00 GB | at most 1.2 GB | holds |" in page
    assert "(nfm, embedded), 10,000,000 rows: our peak memory beyond tables and slots | 1.30 GB | at most 1.2 GB | **missed** |" in page
    assert "| DeepFM | 10,000 | 80.0 (80.0 - 80.0) | 60.0 (60.0 - 60.0) | 100.0 (99.0 - 101.0) |" in page
    assert "DeepCTR: deepctr 0.9.4" in page
    assert "### Prediction" not in page
    assert "**19 of 22 cells are still to be measured.**" in page


def test_prediction_is_compared_in_the_better_batch_of_a_peer() -> None:
    rates = {"ours scalars float32": {"8192": 120.0}, "DeepCTR": {"256": 80.0, "4096": 110.0}, "FuxiCTR": {"4096": 50.0}}
    scores = {name: [dict(rate), dict(rate)] for name, rate in rates.items()}
    results = _cell("deepfm", 1_000_000, 80.0, 160.0, scores=scores)
    found = [limit for limit in limits(cells_of(results, "1.05")) if limit.what.startswith("Prediction")]
    assert found == [Limit("Prediction, DeepFM, 1,000,000 rows: times as fast as the faster peer", pytest.approx(120 / 110), 1.2)]
    assert "| DeepFM | 1,000,000 | DeepCTR, scalars | 256 | 80 (80 - 80) |" in report(results)


def test_float32_is_chosen_where_bfloat16_does_not_pay() -> None:
    slow = {"ours scalars float32": [80.0], "ours scalars bfloat16": [100.0], "DeepCTR": [120.0]}
    results = _cell("nfm", 10_000, 0, 0, milliseconds=slow)
    assert gain(cells_of(results, "1.05")) == pytest.approx(0.8)
    page = report(results)
    assert "bfloat16 does not pay on this machine: at 10,000 rows our steps take 1.25 of their time in float32." in page
    assert "float32, since bfloat16 does not pay on this machine: times as fast as the faster peer | 1.50 | at least 1.3 | holds |" in page


def test_a_contender_that_failed_is_named() -> None:
    results = _cell("ipnn", 10_000, 0, 0, milliseconds={}, failed={"FuxiCTR": "ended with status -9: it said nothing"})
    assert "Failed: ipnn 10000, FuxiCTR: ended with status -9: it said nothing." in report(results)


def test_the_picture_has_a_panel_a_model(tmp_path: Path) -> None:
    picture({}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    picture({**_cell("deepfm", 10_000, 80.0, 100.0), **_cell("nfm", 10_000, 50.0, 60.0)}, tmp_path / "two.png")
    assert (tmp_path / "two.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("model", "shape", "expected"),
    [
        # 26 * 16 + 13 = 429 inputs; then 400 * 400 twice and 400.
        ("deepfm", "scalars", 429 * 400 + 320_400),
        ("deepfm", "embedded", 624 * 400 + 320_400),
        ("nfm", "scalars", 29 * 400 + 320_400),
        ("dcn_v2", "scalars", 3 * 429 * 429 + 429 + 429 * 400 + 320_400),
        # 26 * 25 / 2 = 325 products of 16 each, which the MLP takes too.
        ("ipnn", "scalars", 325 * 16 + (429 + 325) * 400 + 320_400),
        # First for two heads 16 x 16, scores and sums over 39 x 39 pairs of 16, values and residual of 16 x 64; then twice three 64 x 64,
        # and scores and sums of 64; 39 * 64 weights at the end.
        (
            "autoint",
            "embedded",
            39 * (2 * 16 * 16 + 2 * 16 * 64 + 6 * 64 * 64) + 2 * 39 * 39 * (2 * 16 + 2 * 64) + 39 * 64 + 624 * 400 + 320_400,
        ),
        # For each of 16 elements 26 x 26 products to 128 maps; then 128 x 26 sums over 16 products, to 128; 256 sums at the end.
        ("xdeepfm", "scalars", 16 * 26 * 26 * 128 + 16 * 128 * 26 + 128 * 26 * 128 + 256 + 429 * 400 + 320_400),
    ],
)
def test_multiply_adds(model: str, shape: str, expected: int) -> None:
    assert multiply_adds(model, shape) == expected
    assert step_flops(model, shape) == 6 * 4096 * expected


def test_every_model_has_its_arithmetic() -> None:
    assert all(multiply_adds(model, "embedded") > multiply_adds(model, "scalars") for model in TITLES if model != "nfm")
    with pytest.raises(ValueError, match="No formula for 'lr'"):
        multiply_adds("lr", "scalars")


def test_the_data_fits_the_spec(tmp_path: Path) -> None:
    write_data(tmp_path / "data.npz", 2600, 1.05)
    with np.load(tmp_path / "data.npz") as data:
        ids, numbers = data["ids"], data["numbers"]
    assert ids.shape[1:] == (FIELDS,)
    assert numbers.shape == (len(ids), NUMBERS)
    assert len(ids) % SIZES["batch_size"] == 0
    assert (ids.min(), ids.max()) == (1, 99)
    spec = criteo_shaped(2600, "scalars")
    # A padding row and 99 buckets.
    assert [feature.encoding.num_buckets for feature in spec.table_features] == [99] * FIELDS
    assert {feature.representation for feature in spec.features[FIELDS:]} == {"value"}


def test_workers_answer_line_by_line(tmp_path: Path) -> None:
    source = _TURNS_SOURCE.format(folder=str(Path(__file__).parent.parent / "benchmarks" / "peers"))
    with ExitStack() as stack:
        commands = {"ours": [sys.executable, "-c", source], "broken": [sys.executable, "-c", "raise SystemExit('no such model')"]}
        group = Group(commands, tmp_path, stack)
        assert group.failed == {"broken": "ended with status 1: no such model"}
        assert group.facts == {"ours": {"table_bytes": 8}}
        turns = take_turns(group, is_scored=False)
        assert turns["steps"] == {"ours": 19}
        assert turns["milliseconds"] == {"ours": [19.0] * 5}
        assert turns["rates"] == [{"float32": 5}] * 5
        assert group.ask_all("stop", 0)["ours"] > 1 << 20
        assert "a library says something" in (tmp_path / "ours.log").read_text()
        with pytest.raises(ContenderError, match="ended with status 0"):
            group.workers["ours"].ask("run", 1)


def test_settings_tell_cells_of_other_sizes_apart() -> None:
    settings = [Plan("", subject, 0, {}).settings for subject in ("nfm", "adagrad", "ftrl", "deepfm")]
    assert all(a != b for i, a in enumerate(settings) for b in settings[:i])
    assert settings[2]["model"] == "wide_deep"
    assert settings[2]["training"] == {"embedding_optimizer": "sgd", "wide_optimizer": "ftrl"}


def test_flags() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks.training", "--models", "deepfn"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'deepfn'" in done.stderr
