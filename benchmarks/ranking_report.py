"""Writes the accuracy table of the ranking models from the results of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.ranking_tables import TABLES, Table
from trainer.recipes import list_rows

# A row holds its target if it is no further below.
_TOLERANCE = 0.001

Results = Mapping[tuple[str, str, int], Mapping[str, Any]]


def report(results: Results) -> str:
    """Returns the page as Markdown."""
    lines = ["# Ranking models: accuracy", "", *_introduction(list(results.values()))]
    for table in TABLES:
        runs = [run for (recipe, *_), run in results.items() if recipe == table.recipe]
        if runs:
            lines += ["", f"## {table.title}", "", table.protocol, "", *_table(table, runs), "", *_findings(table, runs)]
    return "\n".join(lines) + "\n"


def _introduction(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    if not runs:
        return []
    dates = sorted({run["date"] for run in runs})
    versions = sorted({f"{name} {version}" for run in runs for name, version in run["versions"].items()})
    threads = sorted({run["threads"] for run in runs if run["settings"] is not None})
    return [
        f"`make benchmark-ranking`, {dates[0]}{f' to {dates[-1]}' if len(dates) > 1 else ''}, {', '.join(versions)}. Mean and standard "
        "deviation over seeds (of weights, dropout and the order of the rows). The best epoch is picked on the validation split, the test "
        f"split scored once. Seconds an epoch: median of a run, mean over runs, each on {' or '.join(map(str, threads))} thread(s) of a "
        "machine that did other work too. Each row is repeated by `python -m trainer.task --recipe <recipe>:<row> --seed <seed>`; every "
        "run is a line of `ranking.jsonl`."
    ]


def _table(table: Table, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    metrics, published = table.metrics, bool(table.published)
    names = [name.upper() if name in ("auc", "rmse", "mae") else name.replace("_", " ") for name in metrics]
    head = ["row", "seeds", *(f"test {name}" for name in names)]
    head += ["published", "target", "ours - target"] if published else []
    head += ["parameters", "epochs", "s an epoch"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    rows = {row: [run for run in runs if run["row"] == row] for row in dict.fromkeys([*list_rows(table.recipe), *(r["row"] for r in runs)])}
    for row, own in rows.items():
        if own:
            lines.append(f"| {' | '.join([row, str(len(own)), *_cells(table, row, own)])} |")
    return lines


def _findings(table: Table, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns what the table says, in sentences: targets met and missed, rows above the published best, other libraries beside ours."""
    metric = table.metrics[0]
    sign = -1 if metric in ("rmse", "mae") else 1
    rows = dict.fromkeys(run["row"] for run in runs)
    means = {row: float(np.mean([run["test"][metric] for run in runs if run["row"] == row])) for row in rows}
    said = []
    if held := {row: means[row] - target for row, target in table.targets.items() if row in means}:
        missed = [f"{row} by {-gap:.4f}" for row, gap in held.items() if gap < -_TOLERANCE]
        said.append(
            f"{len(held) - len(missed)} of {len(held)} rows hold their target" + (f"; missed: {', '.join(missed)}." if missed else ".")
        )
        said += [f"Tried for {row}: {table.tried[row]}." for row, gap in held.items() if gap < -_TOLERANCE and row in table.tried]
        above = [row for row in held if means[row] > table.published[row][0]]
        said.append(f"Above the published best of the same row: {', '.join(above) or 'none'}.")
        best = max(held, key=lambda row: means[row])
        highest = max(values[0] for values in table.published.values())
        than = "above" if means[best] > highest else "below"
        said.append(f"Our best row, {best} with {means[best]:.5f}, is {than} every published one (the highest is {highest:.4f}).")
    ours = {row: means[row] for row in rows if any(run["row"] == row and run["settings"] is not None for run in runs)}
    for other in (row for row in means if ours and row not in ours):
        better = [row for row, value in ours.items() if sign * value > sign * means[other]]
        said.append(f"{other}: {len(better)} of our {len(ours)} rows are better.")
    left = [(row, seed) for row, seed in table.runs if not any((run["row"], run["seed"]) == (row, seed) for run in runs)]
    if left:
        without = ", ".join(dict.fromkeys(row for row, _ in left if row not in rows))
        said.append(f"**{len(left)} of {len(table.runs)} runs are still to be trained{'; none yet of ' if without else ''}{without}.**")
    return [" ".join(said)]


def _cells(table: Table, row: str, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    cells = []
    for name in table.metrics:
        values = [run["test"][name] for run in runs if name in run["test"]]
        cells.append(f"{np.mean(values):.5f}" + (f" +- {np.std(values, ddof=1):.5f}" if len(values) > 1 else "") if values else "")
    if table.published:
        cells.append(" / ".join(f"{value:.4f}" for value in table.published.get(row, ())))
        target = table.targets.get(row)
        cells += (
            ["", ""] if target is None else [f"{target:.5f}", f"{np.mean([run['test'][table.metrics[0]] for run in runs]) - target:+.5f}"]
        )
    if runs[0]["settings"] is None:
        return [*cells, "", "", ""]
    epochs = float(np.mean([run["epochs"] for run in runs]))
    seconds = float(np.mean([run["seconds_per_epoch"] for run in runs]))
    return [*cells, f"{runs[0]['parameters']:,}", f"{epochs:.0f}", f"{seconds:.1f}"]
