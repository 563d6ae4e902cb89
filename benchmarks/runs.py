"""What the accuracy tables share: runs are rows of recipes with a seed, each a process of its own, and what is finished is kept in a file.

A run is trained again only where its settings have changed; a killed one whose settings are still the same goes on from its last
checkpoint.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import machine
from feature_specs.datasets import get_dataset
from trainer.config import RunConfig, TrainingConfig
from trainer.models.registry import get_model, hyper_parameters, resolve_hyper_parameters
from trainer.recipes import load_recipe

ROOT = Path(__file__).parent.parent

Run = tuple[str, int]


@dataclass(frozen=True)
class Job:
    """Runs of one row that one process does.

    Attributes:
        recipe: The row's file in trainer/recipes.
        data: The preprocessed data.
        runs: Row and seed of each.
    """

    recipe: str
    data: Path
    runs: tuple[Run, ...]


class Results:
    """The finished runs, one a line of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs: dict[tuple[str, str, int], dict[str, Any]] = {}
        self._read()

    def _read(self) -> None:
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []:
            self._take(json.loads(line))

    def _take(self, result: dict[str, Any]) -> None:
        self.runs[result["table"], result["row"], result["seed"]] = result

    def add(self, result: dict[str, Any]) -> None:
        """Adds a run, in place of an earlier one of its name; what another process has added meanwhile stays."""
        self._read()
        self._take(result)
        text = "".join(json.dumps(self.runs[key]) + "\n" for key in sorted(self.runs))
        partial = self.path.with_suffix(".tmp")
        partial.write_text(text, encoding="utf-8")
        partial.rename(self.path)

    def has(self, table: str, run: Run, settings: Mapping[str, Any]) -> bool:
        """Whether there is this run, with these settings."""
        known = self.runs.get((table, *run))
        return known is not None and known["settings"] == settings


def run_config(recipe: str, row: str, seed: int, data_dir: str) -> RunConfig:
    """Returns what `python -m trainer.task --recipe RECIPE:ROW --seed SEED` trains."""
    tuned = load_recipe(f"{recipe}:{row}", None, None)
    model, spec = str(tuned.model), get_dataset(str(tuned.dataset))
    own = hyper_parameters(get_model(model))
    training = {name: value for name, value in tuned.values.items() if name not in own}
    return RunConfig(
        model=model,
        dataset=spec.name,
        fingerprint=spec.fingerprint,
        data_dir=data_dir,
        hyper_parameters=resolve_hyper_parameters(get_model(model), {name: tuned.values[name] for name in tuned.values if name in own}),
        training=TrainingConfig(**training, seed=seed),
    )


def run_settings(config: RunConfig) -> dict[str, Any]:
    """Returns what has to be equal for two runs to be one; values that are the defaults of training are left out."""
    return {
        "model": config.model,
        "spec": config.fingerprint,
        "hyper_parameters": config.model_dump(mode="json")["hyper_parameters"],
        "training": config.training.model_dump(mode="json", exclude_defaults=True),
    }


def digest(settings: Mapping[str, Any]) -> str:
    """Returns what tells settings apart in the name of a folder."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def circumstances() -> dict[str, Any]:
    """Returns when, with what, on what machine, and on how many threads this process runs."""
    return {
        "date": str(datetime.date.today()),
        "versions": {name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "numpy")},
        "machine": machine(),
        "threads": int(os.environ.get("TF_NUM_INTRAOP_THREADS", 0)) or os.cpu_count(),
    }


def preprocess(recipe: str, row: str, inputs: Sequence[str], folder: Path) -> Path:
    """Returns the data directory of a recipe, made where it is missing."""
    dataset = str(load_recipe(f"{recipe}:{row}", None, None).dataset)
    data = folder / f"data-{dataset}"
    if not (data / "_SUCCESS").is_file():
        given = ["--input", *inputs] if inputs else []
        subprocess.run([sys.executable, "-m", "preprocessing.task", "--dataset", dataset, *given, "--output", str(data)], check=True)
    return data.absolute()


def chunks(runs: Sequence[Run], together: int) -> Iterator[tuple[Run, ...]]:
    """Yields the runs that one process does: of one row, `together` at most."""
    left = list(runs)
    while left:
        same = [run for run in left if run[0] == left[0][0]][:together]
        left = [run for run in left if run not in same]
        yield tuple(same)


def train_all(
    jobs: Sequence[Job], module: str, folder: Path, processes: int, take: Callable[[dict[str, Any]], str], finished: Callable[[], None]
) -> int:
    """Trains jobs, some at a time, each with its share of the cores.

    Args:
        jobs: What to train.
        module: Whose `main` trains the runs of a job.
        folder: For what is unfinished.
        processes: How many at a time.
        take: Keeps the result of a run, and returns what is printed of it.
        finished: Called after each job.

    Returns:
        How many runs failed.
    """
    threads = max(1, (os.cpu_count() or 1) // processes)
    started, failed = time.monotonic(), 0
    print(f"{sum(len(job.runs) for job in jobs)} runs to train, {processes} at a time, {threads} threads each.", flush=True)
    with ThreadPoolExecutor(processes) as pool:
        futures = {pool.submit(_train, job, module, folder.absolute(), threads): job for job in jobs}
        for future in as_completed(futures):
            results = future.result()
            for result in results:
                shown = take(result)
                print(f"{time.monotonic() - started:6.0f} s  {result['table']} {result['row']} seed {result['seed']}: {shown}", flush=True)
            failed += len(futures[future].runs) - len(results)
            finished()
    return failed


def _train(job: Job, module: str, folder: Path, threads: int) -> list[dict[str, Any]]:
    """Trains runs in a process of their own and returns their results; those before one that failed count too."""
    names = [f"{row}:{seed}" for row, seed in job.runs]
    log = folder / f"{job.recipe}-{names[0].replace(':', '-')}.log"
    command = [sys.executable, "-m", module, str(folder), job.recipe, str(job.data), *names]
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": str(threads), "TF_CPP_MIN_LOG_LEVEL": "2"}
    with log.open("a", encoding="utf-8") as output:
        status = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=ROOT, check=False).returncode
    done = [path for row, seed in job.runs if (path := folder / f"{job.recipe}-{row}-{seed}.json").is_file()]
    results = [json.loads(path.read_text(encoding="utf-8")) for path in done]
    for path in done:
        path.unlink()
    if status:
        print(f"{', '.join(names)} failed (status {status}): see {log}", flush=True)
    return results


def finish(folder: Path, run_dir: Path, recipe: str, run: Run, result: dict[str, Any], keep: bool = False) -> None:
    """Leaves the result of a run where `train_all` finds it, and removes its directory unless other runs start from it."""
    row, seed = run
    name = f"{recipe}-{row}-{seed}"
    partial = folder / f"{name}.json.tmp"
    partial.write_text(json.dumps({"table": recipe, "row": row, "seed": seed, **result}), encoding="utf-8")
    partial.rename(folder / f"{name}.json")
    if not keep:
        shutil.rmtree(run_dir)
