"""The accuracy table of the ranking models: `make benchmark-ranking`, or `python -m benchmarks.ranking [--tables frappe] [--rows nfm]`.

Every run (a row of a recipe, with a seed) is a process of its own and independent of the others. What is finished is kept in
ranking.jsonl, beside this file, and is trained again only where its settings have changed, or with --again; a killed run goes on from its
last checkpoint. ranking.md is written after each run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from benchmarks.ranking_report import report
from benchmarks.ranking_runs import run_config, settings
from benchmarks.ranking_tables import TABLES, Table
from trainer.recipes import load_recipe

RESULTS = Path(__file__).with_suffix(".jsonl")
BASELINES = Path(__file__).parent / "peers" / "ranking_baselines.py"
ROOT = Path(__file__).parent.parent

Run = tuple[str, int]


class Results:
    """The finished runs, one a line of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self.runs: dict[tuple[str, str, int], dict[str, Any]] = {}
        for line in lines:
            self._take(json.loads(line))

    def _take(self, result: dict[str, Any]) -> None:
        self.runs[result["table"], result["row"], result["seed"]] = result

    def add(self, result: dict[str, Any]) -> None:
        """Adds a run, in place of an earlier one of its name."""
        self._take(result)
        text = "".join(json.dumps(self.runs[key]) + "\n" for key in sorted(self.runs))
        partial = self.path.with_suffix(".tmp")
        partial.write_text(text, encoding="utf-8")
        partial.rename(self.path)

    def has(self, table: Table, run: Run) -> bool:
        """Whether there is this run, with the settings of today."""
        known = self.runs.get((table.recipe, *run))
        return known is not None and known["settings"] == settings(run_config(table.recipe, *run, data_dir=""))

    def has_baselines(self, table: Table) -> bool:
        """Whether the other libraries have run, to the last."""
        return (table.recipe, "LightGBM", 0) in self.runs


def preprocess(table: Table, inputs: Path, folder: Path) -> Path:
    """Returns the data directory of a table, made where it is missing."""
    dataset = str(load_recipe(f"{table.recipe}:{table.runs[0][0]}", None, None).dataset)
    data = folder / f"data-{dataset}"
    if not (data / "_SUCCESS").is_file():
        globs = [str(inputs / name) for name in table.inputs]
        command = [sys.executable, "-m", "preprocessing.task", "--dataset", dataset, "--input", *globs, "--output", str(data)]
        subprocess.run(command, check=True)
    return data


def chunks(table: Table, runs: Sequence[Run]) -> Iterator[list[Run]]:
    """Yields the runs that one process does: of one row, `table.together` at most."""
    left = list(runs)
    while left:
        same = [run for run in left if run[0] == left[0][0]][: table.together]
        left = [run for run in left if run not in same]
        yield same


def train(table: Table, data: Path, runs: Sequence[Run], folder: Path, threads: int) -> list[dict[str, Any]]:
    """Trains runs in a process of their own and returns their results; those before one that failed count too."""
    names = [f"{row}:{seed}" for row, seed in runs]
    log = folder / f"{table.recipe}-{names[0].replace(':', '-')}.log"
    command = [sys.executable, "-m", "benchmarks.ranking_runs", str(folder), table.recipe, str(data), *names]
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": str(threads), "TF_CPP_MIN_LOG_LEVEL": "2"}
    with log.open("a", encoding="utf-8") as output:
        status = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=ROOT, check=False).returncode
    done = [path for row, seed in runs if (path := folder / f"{table.recipe}-{row}-{seed}.json").is_file()]
    results = [json.loads(path.read_text(encoding="utf-8")) for path in done]
    for path in done:
        path.unlink()
    if status:
        print(f"{', '.join(names)} failed (status {status}): see {log}", flush=True)
    return results


def baselines(table: Table, data: Path, peers: Path) -> list[dict[str, Any]]:
    """Returns the results of other libraries on the same rows; those before one that failed count too."""
    print(f"{table.recipe}: scikit-learn and LightGBM, on all cores ...", flush=True)
    done = subprocess.run([str(peers), str(BASELINES), str(data)], check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"{table.recipe}: scikit-learn and LightGBM failed (status {done.returncode}).", flush=True)
    lines = done.stdout.splitlines()
    return [{"table": table.recipe, "seed": 0, "settings": None, **json.loads(line)} for line in lines]


def main() -> int:
    """Runs what is missing and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", choices=[table.recipe for table in TABLES], default=[table.recipe for table in TABLES])
    rows = sorted({row for table in TABLES for row, _ in table.runs})
    parser.add_argument("--rows", nargs="+", choices=rows, metavar="ROW", help="rows of the recipes; all where not given")
    parser.add_argument("--seeds", type=int, help="the first so many of each row alone; all where not given")
    parser.add_argument("--again", action="store_true", help="train also what is finished")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="runs at a time, each with its share of the cores")
    parser.add_argument(
        "--inputs", type=Path, default=os.environ.get("COLONNADE_DATA", ROOT / "../shared/data"), help="folder of the raw data"
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark-ranking"), help="for preprocessed data and unfinished runs")
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers/bin/python"), help="Python of make benchmark-peers")
    flags = parser.parse_args()
    results = Results(RESULTS)
    flags.folder.mkdir(parents=True, exist_ok=True)
    work: list[tuple[Table, Path, list[Run]]] = []
    for table in [table for table in TABLES if table.recipe in flags.tables]:
        data = preprocess(table, flags.inputs, flags.folder).absolute()
        if flags.peers.exists() and (flags.again or not results.has_baselines(table)):
            for result in baselines(table, data, flags.peers):
                results.add(result)
        asked = [run for run in table.runs if run[0] in (flags.rows or (run[0],)) and run[1] < (flags.seeds or run[1] + 1)]
        wanted = [run for run in asked if flags.again or not results.has(table, run)]
        work += [(table, data, each) for each in chunks(table, wanted)]
    # Of all tables the first seeds before the second ones: stopped early, there is a whole table of fewer seeds.
    work.sort(key=lambda item: item[2][0][1])
    threads = max(1, (os.cpu_count() or 1) // flags.processes)
    left, started, failed = sum(len(runs) for *_, runs in work), time.monotonic(), 0
    print(f"{left} runs to train, {flags.processes} at a time, {threads} threads each.", flush=True)
    with ThreadPoolExecutor(flags.processes) as pool:
        futures = {pool.submit(train, table, data, runs, flags.folder.absolute(), threads): runs for table, data, runs in work}
        for future in as_completed(futures):
            finished = future.result()
            for result in finished:
                results.add(result)
                scores = "  ".join(f"{name} {result['test'][name]:.5f}" for name in ("auc", "log_loss", "rmse") if name in result["test"])
                print(f"{time.monotonic() - started:6.0f} s  {result['table']} {result['row']} seed {result['seed']}: {scores}", flush=True)
            failed += len(futures[future]) - len(finished)
            RESULTS.with_suffix(".md").write_text(report(results.runs), encoding="utf-8")
    RESULTS.with_suffix(".md").write_text(report(results.runs), encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
