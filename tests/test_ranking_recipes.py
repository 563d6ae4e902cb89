"""What the runs of a row came to is written above it in the recipe, and nothing else of the file is touched."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.ranking import RECIPES, RESULTS, current, settings, write
from benchmarks.ranking_recipes import with_summaries
from benchmarks.ranking_tables import TABLES, Table
from benchmarks.runs import Results
from trainer.recipes import list_rows


def _run(table: str, row: str, seed: int, **test: float) -> dict[str, Any]:
    common = {"settings": {}, "parameters": 9, "date": "2026-01-01", "versions": {}, "threads": 1 + seed}
    return {"table": table, "row": row, "seed": seed, "test": test, "epochs": 15 + 2 * seed, "seconds_per_epoch": 97.04 - seed, **common}


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    """Copies of the tables' recipes, without the lines that were written into them."""
    for table in TABLES:
        text = (RECIPES / f"{table.recipe}.yaml").read_bytes().decode()
        (tmp_path / f"{table.recipe}.yaml").write_bytes(with_summaries(text, {}).encode())
    return tmp_path


def test_a_row_has_its_line_and_all_else_stays(recipes: Path) -> None:
    before = {path.name: path.read_bytes() for path in recipes.iterdir()}
    runs = [
        _run("frappe", "autoint+", 0, auc=0.98513, log_loss=0.2),
        _run("frappe", "autoint+", 1, auc=0.98517, log_loss=0.2),
        _run("movielens_1m_ratings", "deepfm", 0, rmse=10.5, mae=0.7),
        {**_run("frappe", "LightGBM", 0, auc=0.97), "settings": None},
    ]
    page = recipes / "page.txt"
    write({(run["table"], run["row"], run["seed"]): run for run in runs}, page, recipes)
    assert "| autoint+ | 2 |" in page.read_text()
    # Mean, deviation and epochs of both runs; seconds and threads of the faster one.
    said = {
        "frappe.yaml": b"  # Ours: test AUC .98515 +- .00003 (2 seeds), 16 epochs of 96.0 s (2 threads).\n",
        "movielens_1m_ratings.yaml": b"  # Ours: test RMSE 10.50000 (1 seed), 15 epochs of 97.0 s (1 thread).\n",
    }
    for name, text in before.items():
        row = b"  deepfm:" if "ratings" in name else b"  autoint+:"
        assert (recipes / name).read_bytes() == (text.replace(row, said[name] + row) if name in said else text), name


def test_lines_from_before_are_replaced() -> None:
    recipe = "training:\n  lr: 1\nrows:\n  # A paper.\n  lr: {}\n# A remark.\n  fm:\n    {lr: 1}\n  fm2: {}"
    first = with_summaries(recipe, {"lr": "one", "fm": "two", "gone": "three"})
    assert first == recipe.replace("  lr: {", "  # Ours: one\n  lr: {").replace("  fm:", "  # Ours: two\n  fm:")
    assert with_summaries(first, {"lr": "one", "fm": "two"}) == first
    # A row whose runs are gone has no line.
    assert with_summaries(first, {"fm2": "four"}) == recipe.replace("  fm2:", "  # Ours: four\n  fm2:")


def test_every_row_with_runs_has_its_line(recipes: Path) -> None:
    results = current(Results(RESULTS))
    write(results, recipes / "page.txt", recipes)
    written = {path.name: path.read_bytes() for path in recipes.glob("*.yaml")}
    write(results, recipes / "page.txt", recipes)
    assert written == {path.name: path.read_bytes() for path in recipes.glob("*.yaml")}
    for table in TABLES:
        rows = list_rows(table.recipe)
        text = written[f"{table.recipe}.yaml"].decode()
        has_line = {row for row in rows if re.search(rf"\n  # Ours: test .*\n  {re.escape(row)}:", text)}
        assert has_line == {row for recipe, row, _ in results if recipe == table.recipe} & set(rows)
        assert yaml.safe_load(text) == yaml.safe_load((RECIPES / f"{table.recipe}.yaml").read_bytes())


def test_runs_with_other_settings_do_not_count(tmp_path: Path) -> None:
    results = Results(tmp_path / "runs.jsonl")
    other = {"table": "frappe", "row": "LightGBM", "seed": 0, "settings": None}
    results.add({"table": "frappe", "row": "lr", "seed": 0, "settings": settings("frappe", ("lr", 0))})
    results.add({"table": "frappe", "row": "lr", "seed": 1, "settings": {**settings("frappe", ("lr", 1)), "training": {}}})
    results.add({"table": "frappe", "row": "lr", "seed": 9, "settings": settings("frappe", ("lr", 9))})  # of no table
    results.add(other)
    assert set(current(results)) == {("frappe", "lr", 0), ("frappe", "LightGBM", 0)}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.recipe)
def test_every_row_names_its_paper(table: Table) -> None:
    lines = [line for line in (RECIPES / f"{table.recipe}.yaml").read_text().splitlines() if not line.startswith("  # Ours: ")]
    for row in list_rows(table.recipe):
        above = lines[: next(number for number, line in enumerate(lines) if line.startswith(f"  {row}:"))]
        comment = list(itertools.takewhile(lambda line: line.startswith("  # "), reversed(above)))
        assert comment, row
        assert re.search(r"  # [A-Z].*, .*\b20\d\d\b", comment[-1]), row
