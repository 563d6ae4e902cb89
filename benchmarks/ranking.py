"""The accuracy table of the ranking models: `make benchmark-ranking`, or `python -m benchmarks.ranking [--tables frappe] [--rows nfm]`.

Every run (a row of a recipe, with a seed) is a process of its own and independent of the others. What is finished is kept in
ranking.jsonl, beside this file, and is trained again only where its settings have changed, or with --again; a killed run goes on from its
last checkpoint. After each run ranking.md is written, and what the runs of a row came to, above the row of its recipe.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.ranking_recipes import write_recipes
from benchmarks.ranking_report import report
from benchmarks.ranking_tables import TABLES, Table
from benchmarks.runs import ROOT, Job, Results, Run, chunks, preprocess, run_config, run_settings, train_all

RESULTS = Path(__file__).with_suffix(".jsonl")
PAGE = Path(__file__).with_suffix(".md")
RECIPES = ROOT / "trainer" / "recipes"
BASELINES = Path(__file__).parent / "peers" / "ranking_baselines.py"


@functools.cache
def settings(recipe: str, run: Run) -> dict[str, Any]:
    """Returns what has to be equal for a run to be that of today."""
    return run_settings(run_config(recipe, *run, data_dir=""))


def current(results: Results) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Returns the runs that count: those of other libraries, and ours with the settings of today; the rest are to be trained again."""
    wanted = {(table.recipe, *run) for table in TABLES for run in table.runs}
    return {
        (recipe, row, seed): run
        for (recipe, row, seed), run in results.runs.items()
        if run["settings"] is None or ((recipe, row, seed) in wanted and results.has(recipe, (row, seed), settings(recipe, (row, seed))))
    }


def baselines(table: Table, data: Path, peers: Path) -> list[dict[str, Any]]:
    """Returns the results of other libraries on the same rows; those before one that failed count too."""
    print(f"{table.recipe}: scikit-learn and LightGBM, on all cores ...", flush=True)
    done = subprocess.run([str(peers), str(BASELINES), str(data)], check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"{table.recipe}: scikit-learn and LightGBM failed (status {done.returncode}).", flush=True)
    lines = done.stdout.splitlines()
    return [{"table": table.recipe, "seed": 0, "settings": None, **json.loads(line)} for line in lines]


def write(results: Mapping[tuple[str, str, int], Mapping[str, Any]], page: Path = PAGE, recipes: Path = RECIPES) -> None:
    """Writes what follows from the results: the page, and a line above each row of the recipes in the folder `recipes`."""
    page.write_text(report(results), encoding="utf-8")
    write_recipes(results, recipes)


def main() -> int:
    """Runs what is missing and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", choices=[table.recipe for table in TABLES], default=[table.recipe for table in TABLES])
    rows = sorted({row for table in TABLES for row, _ in table.runs})
    parser.add_argument("--rows", nargs="+", choices=rows, metavar="ROW", help="rows of the recipes; all where not given")
    parser.add_argument("--seeds", type=int, help="the first so many of each row alone; all where not given")
    parser.add_argument("--again", action="store_true", help="train also what is finished")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="runs at a time, each with its share of the cores")
    inputs = os.environ.get("COLONNADE_DATA", ROOT / "../shared/data")
    parser.add_argument("--inputs", type=Path, default=inputs, help="folder of the raw data; or set COLONNADE_DATA")
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark-ranking"), help="for preprocessed data and unfinished runs")
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers/bin/python"), help="Python of make benchmark-peers")
    flags = parser.parse_args()
    results = Results(RESULTS)
    flags.folder.mkdir(parents=True, exist_ok=True)
    jobs: list[Job] = []
    unread: list[str] = []
    for table in [table for table in TABLES if table.recipe in flags.tables]:
        try:
            data = preprocess(table.recipe, table.runs[0][0], [str(flags.inputs / name) for name in table.inputs], flags.folder)
        except subprocess.CalledProcessError:
            unread.append(table.recipe)  # what is missing has been said; other tables do not need it
            continue
        # The other libraries have run where the last of them has.
        if flags.peers.exists() and (flags.again or (table.recipe, table.baselines[-1], 0) not in results.runs):
            for result in baselines(table, data, flags.peers):
                results.add(result)
        asked = [run for run in table.runs if run[0] in (flags.rows or (run[0],)) and run[1] < (flags.seeds or run[1] + 1)]
        wanted = [run for run in asked if flags.again or not results.has(table.recipe, run, settings(table.recipe, run))]
        jobs += [Job(table.recipe, data, each) for each in chunks(wanted, table.together)]
    # Of all tables the first seeds before the second ones: stopped early, there is a whole table of fewer seeds.
    jobs.sort(key=lambda job: job.runs[0][1])

    def take(result: dict[str, Any]) -> str:
        results.add(result)
        return "  ".join(f"{name} {result['test'][name]:.5f}" for name in ("auc", "log_loss", "rmse") if name in result["test"])

    failed = train_all(jobs, "benchmarks.ranking_runs", flags.folder, flags.processes, take, lambda: write(current(results)))
    write(current(results))
    if unread:
        names = ", ".join(unread)
        print(f"Not trained for want of data: {names}. Name the folder of the raw files by --inputs or COLONNADE_DATA.", flush=True)
    return 1 if failed or unread else 0


if __name__ == "__main__":
    sys.exit(main())
