"""The training benchmark: `make benchmark-training`, or `python -m benchmarks.training [--models deepfm] [--rows 10000]`.

A cell is a model at a size of its tables. Each contender is a process of its own; for either shape of the numbers ours in float32, the
peer that has this shape, and ours in bfloat16 are alive at once and take turns, one at a time, so that a busy machine slows all of them
alike. A cell of an optimizer is our model alone, with small and with large tables. What is finished is kept in training.jsonl, beside this
file, and measured again only where its sizes have changed, something failed, or with --again. training.md and training.png are written
after each cell. Other programs should rest meanwhile.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.runs import ROOT, Results, circumstances
from benchmarks.training_report import picture, report
from benchmarks.training_shapes import BATCHES, MODELS, OPTIMIZERS, SIZES, TITLES, table_rows, write_data

RESULTS = Path(__file__).with_suffix(".jsonl")
PEERS = {"scalars": ("DeepCTR", "deepctr_training.py"), "embedded": ("FuxiCTR", "fuxictr_training.py")}
ROWS = (10_000, 1_000_000, 10_000_000)
SCORED = ("deepfm", 1_000_000)
# A turn lasts about a second, or one step; where a step takes seconds there are fewer turns.
TURN_MS, TURNS, SLOW_MS, SLOW_TURNS, RATE_REPEATS = 1000.0, 5, 3000.0, 3, 5


class ContenderError(Exception):
    """A contender has ended before its time."""


class Worker:
    """A contender's process, which does what it is told."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
            )

    def answer(self) -> Any:  # noqa: ANN401 (whatever JSON holds)
        """Returns what it says next.

        Raises:
            ContenderError: It has ended.
        """
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            said = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise ContenderError(f"ended with status {self._process.wait()}: {said[-1] if said else 'it said nothing'}")
        return json.loads(line)

    def ask(self, command: str, number: int = 0) -> Any:  # noqa: ANN401 (whatever JSON holds)
        """Has it do something and returns what it answers."""
        if self._process.stdin:
            try:
                print(command, number, file=self._process.stdin, flush=True)
            except BrokenPipeError:
                pass  # which `answer` explains
        return self.answer()

    def end(self) -> None:
        """Ends it, whatever it does."""
        self._process.kill()
        self._process.communicate()


class Group:
    """Contenders that take turns; who fails drops out."""

    def __init__(self, commands: Mapping[str, list[str]], folder: Path, stack: ExitStack) -> None:
        self.workers = {name: Worker(command, folder / f"{name}.log") for name, command in commands.items()}
        for worker in self.workers.values():
            stack.callback(worker.end)
        self.failed: dict[str, str] = {}
        self.facts: dict[str, dict[str, Any]] = self._each(lambda _, worker: worker.answer())

    def ask(self, command: str, numbers: Mapping[str, int]) -> dict[str, Any]:
        """Asks one after the other, each with its number, and returns the answers."""
        return self._each(lambda name, worker: worker.ask(command, numbers[name]))

    def ask_all(self, command: str, number: int) -> dict[str, Any]:
        """Asks one after the other, all with the same number, and returns the answers."""
        return self.ask(command, dict.fromkeys(self.workers, number))

    def _each(self, call: Callable[[str, Worker], Any]) -> dict[str, Any]:
        answers = {}
        for name, worker in list(self.workers.items()):
            try:
                answers[name] = call(name, worker)
            except ContenderError as error:
                self.failed[name] = str(error)
                del self.workers[name]
                print(f"{name} {error}", flush=True)
        return answers


@dataclass(frozen=True)
class Plan:
    """A cell to be measured.

    Attributes:
        row: Its name.
        subject: A model, or an optimizer.
        rows: Of all tables; 0 for an optimizer, which is measured at the first and the last size.
        groups: Commands of the contenders that take turns, by the shape of their numbers.
    """

    row: str
    subject: str
    rows: int
    groups: dict[str, dict[str, list[str]]]

    @property
    def settings(self) -> dict[str, Any]:
        """What has to be equal for an earlier measurement to be that of today."""
        model, given = OPTIMIZERS.get(self.subject, (self.subject, {}))
        return json.loads(json.dumps({"sizes": SIZES, "model": model, "given": MODELS[model], "training": given}))


def measure(plan: Plan, folder: Path) -> dict[str, Any]:
    """Measures a cell."""
    found: dict[str, Any] = {"row": plan.row, "seed": 0, "settings": plan.settings, "subject": plan.subject, "rows": plan.rows}
    found |= {name: {} for name in ("milliseconds", "steps", "scores", "rates", "memory", "table_bytes", "peers", "failed")}
    for shape, commands in plan.groups.items():
        with ExitStack() as stack:
            group = Group(commands, folder, stack)
            measured = take_turns(group, is_scored=(plan.subject, plan.rows) == SCORED)
            measured["memory"] = group.ask_all("stop", 0)
        measured["rates"] = {shape: measured["rates"]}
        for kind, (fact, facts) in itertools.product(("table_bytes", "versions"), group.facts.items()):
            if kind in facts:
                found["peers" if kind == "versions" else kind][fact] = facts[kind]
        for name, values in {**measured, "failed": group.failed}.items():
            found[name] |= values
    found["milliseconds"] = {name: values for name, values in found["milliseconds"].items() if name not in found["failed"]}
    return {**found, **circumstances()}


def take_turns(group: Group, is_scored: bool) -> dict[str, Any]:
    """Returns the mean milliseconds of a step, the rates of scoring and those of matrix products, of each turn."""
    group.ask_all("run", 1)  # tracing, and the first touch of memory
    expected = {name: answer[-1] for name, answer in group.ask_all("run", 1).items()}
    steps = {name: max(1, min(BATCHES - 1, round(TURN_MS / each))) for name, each in expected.items()}
    taken: dict[str, list[float]] = {name: [] for name in expected}
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in expected}
    rates = []
    if is_scored:
        group.ask_all("score", BATCHES)
    for _ in range(SLOW_TURNS if max(expected.values(), default=0.0) > SLOW_MS else TURNS):
        for name, milliseconds in group.ask("run", steps).items():
            taken[name].append(statistics.fmean(milliseconds))
        for name, rate in group.ask_all("score", BATCHES).items() if is_scored else ():
            scores[name].append(rate)
        if ours := next((worker for name, worker in group.workers.items() if name.startswith("ours")), None):
            rates.append(ours.ask("rate", RATE_REPEATS))
    return {"milliseconds": taken, "steps": steps, "scores": scores if is_scored else {}, "rates": rates}


def plans(flags: argparse.Namespace, folder: Path) -> list[Plan]:
    """Returns what was asked for."""

    def job(model: str, rows: int, **more: Any) -> str:  # noqa: ANN401 (whatever JSON holds)
        given = {"model": model, "rows": rows, "table_rows": table_rows(rows), "data": str(folder / f"{rows}.npz"), "sizes": SIZES}
        return json.dumps({**given, **more})

    def ours(model: str, rows: int, shape: str, precision: str, optimizers: Mapping[str, str]) -> list[str]:
        wanted = job(model, rows, shape=shape, precision=precision, optimizers=optimizers)
        return [sys.executable, "-m", "benchmarks.training_model", wanted]

    found = []
    for rows in flags.rows:
        for model in flags.models:
            groups = {}
            for shape, (peer, file) in PEERS.items():
                groups[shape] = {
                    f"ours {shape} float32": ours(model, rows, shape, "float32", {}),
                    peer: [str(flags.peers), str(ROOT / "benchmarks/peers" / file), job(model, rows)],
                    f"ours {shape} bfloat16": ours(model, rows, shape, "bfloat16", {}),
                }
            found.append(Plan(f"{model} {rows}", model, rows, groups))
    for optimizer in flags.optimizers:
        model, given = OPTIMIZERS[optimizer]
        sizes = {str(rows): ours(model, rows, "embedded", "float32", given) for rows in (ROWS[0], ROWS[-1])}
        found.append(Plan(optimizer, optimizer, 0, {"embedded": sizes}))
    return found


def main() -> int:
    """Measures what is missing and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", choices=TITLES, default=list(TITLES), help="all where not given")
    parser.add_argument("--rows", nargs="+", type=int, default=ROWS, help="of all tables together; 10^4, 10^6 and 10^7 where not given")
    parser.add_argument("--optimizers", nargs="*", choices=OPTIMIZERS, help="of tables; all where neither models nor rows are given")
    parser.add_argument("--exponent", type=float, default=1.05, help="of the Zipf law of the ids; 0 is uniform, the hardest case")
    parser.add_argument("--again", action="store_true", help="measure also what is finished")
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers/bin/python"), help="Python of make benchmark-peers")
    flags = parser.parse_args()
    if flags.optimizers is None:
        flags.optimizers = list(OPTIMIZERS) if (flags.models, flags.rows) == (list(TITLES), ROWS) else []
    if not flags.peers.exists():
        parser.error(f"no Python at {flags.peers}: run make benchmark-peers first.")
    flags.peers = flags.peers.absolute()
    results, table, started = Results(RESULTS), f"{flags.exponent:g}", time.monotonic()
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for plan in plans(flags, folder):
            known = results.has(table, (plan.row, 0), plan.settings) and not results.runs[table, plan.row, 0]["failed"]
            if known and not flags.again:
                continue
            for rows in {plan.rows} if plan.rows else {ROWS[0], ROWS[-1]}:
                if not (folder / f"{rows}.npz").exists():
                    write_data(folder / f"{rows}.npz", rows, flags.exponent)
            found = measure(plan, folder)
            failed += len(found["failed"])
            results.add({"table": table, **found})
            shown = ", ".join(f"{key} {statistics.median(values):.1f}" for key, values in found["milliseconds"].items())
            print(f"{time.monotonic() - started:6.0f} s  {plan.row}, ms a step: {shown}", flush=True)
            RESULTS.with_suffix(".md").write_text(report(results.runs), encoding="utf-8")
            picture(results.runs, RESULTS.with_suffix(".png"))
    RESULTS.with_suffix(".md").write_text(report(results.runs), encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
