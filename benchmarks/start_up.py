"""Time from a command to its answer, and to the first training step: `python -m benchmarks.start_up`, writes benchmarks/start_up.md.

Each command is a process of its own, in turns. Files are in the page cache from the second turn on; the first does not count. Two minutes,
and the data of Frappe once.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import machine
from benchmarks.runs import ROOT, preprocess

TURNS = 5
# The training command itself, which ends with its first step.
_FIRST_STEP = """
import os, sys
from trainer import task
task.load_tensorflow()
from trainer.loop import Loop
train = Loop.train
def first_step(loop, iterator, steps):
    train(loop, iterator, 1)
    os._exit(0)
Loop.train = first_step
task.main(sys.argv[1:])
"""


def run(command: list[str]) -> tuple[float, float]:
    """Returns the seconds from start to end of a program, and those of its CPU time."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    taken, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return taken, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--inputs", type=Path, default=os.environ.get("COLONNADE_DATA", ROOT / "../shared/data"), help="folder of the raw data"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/benchmark-ranking"), help="for preprocessed data, as benchmarks.ranking has it"
    )
    flags = parser.parse_args()
    flags.folder.mkdir(parents=True, exist_ok=True)
    data = preprocess("frappe", "deepfm", [str(Path(flags.inputs) / "frappe/frappe.*.libfm*")], flags.folder)
    with tempfile.TemporaryDirectory() as folder:
        training = ["--recipe", "frappe:deepfm", "--data_dir", str(data), "--run_dir"]
        wanted = {
            "`import feature_specs`": 0.5,
            "`python -m trainer.task --help`": 1.0,
            "first step of DeepFM on Frappe's data directory": 12.0,
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in wanted}
        for turn in range(TURNS + 1):
            commands = (
                ["-c", "import feature_specs"],
                ["-m", "trainer.task", "--help"],
                ["-c", _FIRST_STEP, *training, f"{folder}/{turn}"],
            )
            for name, command in zip(wanted, commands, strict=True):
                taken = run(command)
                if turn:
                    times[name].append(taken)
                print(f"{name}: {taken[0]:.2f} s, {taken[1]:.2f} s of CPU time", flush=True)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("tensorflow", "keras"))
    python = f"Python {platform.python_version()}"
    lines = [
        f"| {name} | {statistics.median(wall for wall, _ in times[name]):.2f} | {min(times[name])[0]:.2f} - {max(times[name])[0]:.2f} "
        f"| {statistics.median(cpu for _, cpu in times[name]):.2f} | {limit:g} |"
        for name, limit in wanted.items()
    ]
    text = [
        "# Start-up",
        "",
        f"`python -m benchmarks.start_up`, {datetime.date.today()}, {versions}, {python}, {machine()}.",
        f"Seconds from the start to the end of the process, or of the first training step. Median of {TURNS} turns.",
        "",
        "| | seconds | range | CPU seconds | wanted, below |",
        "| --- | --- | --- | --- | --- |",
        *lines,
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
