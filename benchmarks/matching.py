"""The table of the matching models: `make benchmark-matching`, or `python -m benchmarks.matching [--parts train] [--rows sasrec]`.

Three parts: RecBole on MovieLens-100k (peers), our runs (train; a row of a recipe with a seed each, independent processes), and the speed
of training of both (speed; alone on the machine, so begin no other work meanwhile). What is finished is kept in matching.jsonl, beside
this file, and is done again only where settings have changed, or with --again; a killed run goes on from its last checkpoint. matching.md
is written after each run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.matching_report import report
from benchmarks.matching_runs import settings
from benchmarks.matching_speed import TIMED
from benchmarks.matching_tables import INPUTS, PEERS, PEERS_RECIPE, WARM_STARTS, all_runs
from benchmarks.runs import ROOT, Job, Results, preprocess, train_all

RESULTS = Path(__file__).with_suffix(".jsonl")
RECBOLE = Path(__file__).parent / "peers" / "recbole_matching.py"
# RecBole's early stopping ends the others; these two take minutes an epoch, and are done last.
_MINUTES = {"Caser": 60.0, "SASRec": 10.0}
_SEEDS = {"BPR": 3, "NeuMF": 3}
_FIRST_SEED = 2020


def data_of(recipe: str, inputs: Path, folder: Path) -> Path:
    """Returns the data directory of a recipe, made where it is missing."""
    files = [str(inputs / name) for name in INPUTS[recipe]]
    if recipe == "movielens_1m_ncf" and not (folder / f"data-{recipe}" / "_SUCCESS").is_file():
        made = folder / "ncf"
        subprocess.run([sys.executable, "-m", "benchmarks.ncf_files", "--data", str(inputs), "--output", str(made)], check=True)
        files = [str(made / "ml-1m.*")]
    return preprocess(recipe, all_runs(recipe)[0][0], files, folder)


def recbole(python: Path, *arguments: str) -> Iterator[dict[str, Any]]:
    """Yields the lines of RecBole's program as they come; those before one that failed count too."""
    command = [str(python), str(RECBOLE), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                yield json.loads(line)
    if process.returncode:
        print(f"RecBole failed (status {process.returncode}): {' '.join(command)}", flush=True)


def run_peers(results: Results, python: Path, minutes: float | None, again: bool, beside: Sequence[str]) -> None:
    """Trains RecBole's models that are missing, of those beside our rows."""
    for row in sorted(
        (row for ours in beside for row in PEERS.get(ours, ())), key=lambda row: _MINUTES.get(row.removeprefix("RecBole "), 0.0)
    ):
        model = row.removeprefix("RecBole ")
        seeds = [_FIRST_SEED + i for i in range(_SEEDS.get(model, 1))]
        wanted = [seed for seed in seeds if again or (PEERS_RECIPE, row, seed) not in results.runs]
        if not wanted:
            continue
        print(f"{row}: {len(wanted)} runs, on all cores ...", flush=True)
        limit = str(minutes or _MINUTES.get(model, 240.0))
        for line in recbole(python, "accuracy", model, "--minutes", limit, "--seeds", *map(str, wanted)):
            results.add({"table": PEERS_RECIPE, "settings": None, **line})
            _write(results)
            print(f"{row} seed {line['seed']}: {_shown({'test': line['test']})}", flush=True)


def run_speed(results: Results, flags: argparse.Namespace) -> None:
    """Times what is missing, one program at a time."""
    for name, timed in TIMED.items():
        if flags.again or ("speed", name, 0) not in results.runs:
            data = data_of(timed.recipe, flags.inputs, flags.folder)
            command = [sys.executable, "-m", "benchmarks.matching_speed", str(flags.folder), str(data), name]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT)
            if done.returncode:
                print(f"Speed of {name} failed (status {done.returncode}): {' '.join(command)}", flush=True)
            else:
                results.add({"table": "speed", "seed": 0, "settings": None, **json.loads(done.stdout.splitlines()[-1])})
        wanted = [row for row in timed.peers if flags.again or ("speed", row, 0) not in results.runs]
        models = [row.removeprefix("RecBole ") for row in wanted]
        archive = str(flags.inputs / "ml-1m" / "ml-1m.zip")
        if wanted and flags.peers.exists():
            for line in recbole(flags.peers, "speed", *models, "--data", archive, "--seconds", str(flags.speed_seconds)):
                results.add({"table": "speed", "settings": None, **line})


def run_ours(results: Results, flags: argparse.Namespace) -> int:
    """Trains our runs that are missing; returns how many failed."""
    jobs = []
    for recipe in flags.tables:
        asked = [run for run in all_runs(recipe) if run[0] in (flags.rows or (run[0],)) and run[1] < (flags.seeds or run[1] + 1)]
        wanted = [run for run in asked if flags.again or not results.has(recipe, run, settings(recipe, run))]
        if wanted:
            data = data_of(recipe, flags.inputs, flags.folder)
            jobs += [Job(recipe, data, (run,)) for run in wanted]
    # Of all tables the first seeds before the second ones: stopped early, there is a whole table of fewer seeds.
    jobs.sort(key=lambda job: job.runs[0][1])

    def take(result: dict[str, Any]) -> str:
        results.add(result)
        return _shown(result)

    failed = 0
    # Two processes should not train the runs that a third one starts from.
    for phase in (False, True):
        due = [job for job in jobs if ((job.recipe, job.runs[0][0]) in WARM_STARTS) == phase]
        if due:
            failed += train_all(due, "benchmarks.matching_runs", flags.folder, flags.processes, take, lambda: _write(results))
    return failed


def _shown(result: dict[str, Any]) -> str:
    tests = result["test"]
    named = tests if isinstance(next(iter(tests.values())), dict) else {"full": tests}
    return "  ".join(f"{protocol}: HR@10 {test['hit_rate@10']:.4f} NDCG@10 {test['ndcg@10']:.4f}" for protocol, test in named.items())


def _write(results: Results) -> None:
    RESULTS.with_suffix(".md").write_text(report(results.runs), encoding="utf-8")


def main() -> int:
    """Runs what is missing and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("peers", "train", "speed"), default=("peers", "train", "speed"))
    parser.add_argument("--tables", nargs="+", choices=list(INPUTS), default=list(INPUTS), help="recipes to train")
    rows = sorted({row for recipe in INPUTS for row, _ in all_runs(recipe)})
    parser.add_argument(
        "--rows", nargs="+", choices=rows, metavar="ROW", help="rows of the recipes, and what RecBole has beside them; all where not given"
    )
    parser.add_argument("--seeds", type=int, help="the first so many of each row alone; all where not given")
    parser.add_argument("--again", action="store_true", help="do also what is finished, of the parts asked for")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="runs at a time, each with its share of the cores")
    parser.add_argument(
        "--inputs", type=Path, default=os.environ.get("COLONNADE_DATA", ROOT / "../shared/data"), help="folder of the raw data"
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark-matching"), help="for preprocessed data and unfinished runs")
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers-matching/bin/python"), help="Python of benchmark-matching-peers")
    parser.add_argument("--peer_minutes", type=float, help="RecBole's training, at most, for a model and seed")
    parser.add_argument("--speed_seconds", type=float, default=60, help="how long RecBole is timed")
    flags = parser.parse_args()
    flags.folder.mkdir(parents=True, exist_ok=True)
    results, failed = Results(RESULTS), 0
    if "peers" in flags.parts and flags.peers.exists():
        run_peers(results, flags.peers, flags.peer_minutes, flags.again, flags.rows or list(PEERS))
    if "train" in flags.parts:
        failed = run_ours(results, flags)
    if "speed" in flags.parts:
        run_speed(results, flags)
    _write(results)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
