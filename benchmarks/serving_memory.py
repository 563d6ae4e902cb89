"""Peak memory of batch prediction with one and with ten times as many rows, for `benchmarks.serving`.

A small matching model over made-up interactions answers both commands: it scores pairs, and finds items for users.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Measured, measure

USERS, ITEMS, ITEMS_A_USER, TIMES = 5000, 2000, 10, 10
SPEC = """
name: made_up
features:
- {kind: categorical, name: user, encoding: {type: vocabulary}}
- {kind: numeric, name: age}
- {kind: categorical, name: item, encoding: {type: vocabulary}}
- {kind: sequence, name: history, history_of: item, table: item, max_length: 10}
label: {implicit: true, task: matching}
keys: {user: user, item: item, time: time}
split: {type: leave_last_out}
source:
  rows: {files: rows.csv}
"""
# Of each command its name in the report, its input's flag and file, and the format that it writes.
COMMANDS = {
    "serving.predict": ("CSV to CSV", "--input", "pairs", ".csv"),
    "serving.recommend": ("CSV to JSON lines", "--users", "users", ".jsonl"),
}


def peaks(folder: Path, rows: int) -> dict[str, dict[int, Measured]]:
    """Measures both commands with `rows` and `TIMES * rows` rows, start-up counted; returns it by command and rows."""
    folder.mkdir(parents=True, exist_ok=True)
    lists = _lists()
    run_dir = prepare(folder, lists)
    lines = {
        "pairs": ["user,age,item", *(f"u{user},{user % 80},i{items[0]}" for user, items in enumerate(lists))],
        "users": ["user,age,history", *(f"u{user},{user % 80},{_history(items)}" for user, items in enumerate(lists))],
    }
    found: dict[str, dict[int, Measured]] = {}
    for module, (_, flag, name, suffix) in COMMANDS.items():
        for count in (rows, TIMES * rows):
            source, output = folder / f"{name}.csv", folder / f"answers{suffix}"
            _write(source, lines[name], count)
            command = ["-m", module, "--export_dir", str(run_dir / "export"), flag, str(source), "--output", str(output)]
            measured = measure([sys.executable, *command], folder / f"{module}.log")
            print(f"{module}, {count:,} rows: {measured.peak_rss / 1e6:,.0f} MB, {measured.seconds:.1f} s", flush=True)
            found.setdefault(module, {})[count] = measured
    return found


def prepare(folder: Path, lists: Sequence[Sequence[int]]) -> Path:
    """Makes a run of two towers, unless it is there; weights do not matter for memory."""
    run_dir = folder / "run"
    if not (run_dir / "_SUCCESS").exists():
        (folder / "spec.yaml").write_text(SPEC, encoding="utf-8")
        rows = [f"u{user},{user % 80},i{item},{time}" for user, items in enumerate(lists) for time, item in enumerate(items)]
        (folder / "rows.csv").write_text("\n".join(["user,age,item,time", *rows]) + "\n", encoding="utf-8")
        places = ["--data_dir", folder / "data", "--run_dir", run_dir]
        flags = ["--model", "two_tower", "--spec", folder / "spec.yaml", "--input", folder / "rows.csv", *places]
        subprocess.run([sys.executable, "-m", "trainer.task", *map(str, flags), "--epochs", "1", "--max_steps", "5"], check=True)
    return run_dir


def _lists() -> list[list[int]]:
    """Returns the items of each user."""
    dice = random.Random(0)
    return [dice.sample(range(ITEMS), ITEMS_A_USER) for _ in range(USERS)]


def _history(items: Sequence[int]) -> str:
    return "|".join(f"i{item}" for item in items)


def _write(path: Path, lines: Sequence[str], rows: int) -> None:
    """Writes a header and `rows` rows, the same ones again and again."""
    header, *block = (f"{line}\n" for line in lines)
    with path.open("w", encoding="utf-8") as file:
        file.write(header)
        for begin in range(0, rows, len(block)):
            file.write("".join(block[: rows - begin]))
