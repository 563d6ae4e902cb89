"""Writes the accuracy table of the ranking models from the results of its runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.ranking_tables import TABLES, Table
from trainer.recipes import list_rows

Results = Mapping[tuple[str, str, int], Mapping[str, Any]]


def report(results: Results) -> str:
    """Returns the page as Markdown."""
    lines = ["# Ranking models: accuracy", "", *_introduction(list(results.values()))]
    for table in TABLES:
        runs = [run for (recipe, *_), run in results.items() if recipe == table.recipe]
        if runs:
            lines += ["", f"## {table.title}", "", table.protocol, "", *_table(table, runs), "", *_findings(table, runs)]
    return "\n".join(lines) + "\n"


def summary(table: Table, runs: Sequence[Mapping[str, Any]]) -> str:
    """Returns what runs of one row came to, in a line."""
    score = re.sub(r"\b0\.", ".", _spread([run["test"][table.metrics[0]] for run in runs]))
    fastest = _fastest(runs)
    return (
        f"test {_name(table.metrics[0])} {score} ({_count(len(runs), 'seed')}), {_epochs(runs)} epochs of "
        f"{fastest['seconds_per_epoch']:.1f} s ({_count(fastest['threads'], 'thread')})."
    )


def missed(table: Table, runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns by how much the rows miss their target that miss it by more than the tolerance."""
    means = {row: _mean(table, own) for row, own in _by_row(table, runs).items() if row in table.targets}
    gaps = {row: (mean - table.targets[row]) * (1 if table.lower_is_better else -1) for row, mean in means.items()}
    return {row: gap for row, gap in gaps.items() if gap > table.tolerance}


def _introduction(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    if not runs:
        return []
    dates = sorted({run["date"] for run in runs})
    versions = sorted({f"{name} {version}" for run in runs for name, version in run["versions"].items()})
    machines = " or ".join(sorted({run["machine"] for run in runs if "machine" in run})) or "2 cores"
    when = f"{dates[0]}{f' to {dates[-1]}' if len(dates) > 1 else ''}"
    return [
        f"`make benchmark-ranking`, {when}, {', '.join(versions)}, {machines}. Mean and standard deviation over seeds "
        "(of weights, dropout and the order of the rows). The best epoch is picked on the validation split, the test "
        "split scored once. Parameters: all that are trained, with a padding row a table, which BARS' counts leave out (but FinalMLP's). "
        "Seconds an epoch: the median of a run, of the seeds' runs the smallest, and the threads of this one; the machine did other work "
        "too, so that they compare roughly. Each row is repeated by `python -m trainer.task --recipe <recipe>:<row> --seed <seed> --input "
        "<files>`, with the files that the top of `trainer/recipes/<recipe>.yaml` names; every run is a line of `ranking.jsonl`.",
        "",
        "Beside the models, on the same rows: logistic or ridge regression (scikit-learn; ids one-hot, lists multi-hot) and boosted trees "
        "(LightGBM; ids as categories, lists multi-hot). Lists of more than 1,000 values, the histories of MovieLens, are withheld from "
        "the trees. Strength of regularisation and number of leaves are picked on the validation split.",
    ]


def _table(table: Table, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    head = ["row", "seeds", *(f"test {_name(metric)}" for metric in table.metrics)]
    head += ["published"] if table.published else []
    head += ["target", "ours - target"] if table.targets else []
    head += ["parameters", "epochs", "s an epoch", "threads"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return lines + [f"| {' | '.join([row, str(len(own)), *_cells(table, row, own)])} |" for row, own in _by_row(table, runs).items()]


def _cells(table: Table, row: str, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    cells = [_spread([run["test"][name] for run in runs if name in run["test"]]) for name in table.metrics]
    if table.published:
        cells.append(" / ".join(f"{value:.4f}" for value in table.published.get(row, ())))
    if table.targets:
        target = table.targets.get(row)
        cells += ["", ""] if target is None else [f"{target:.5f}", f"{_mean(table, runs) - target:+.5f}"]
    if runs[0]["settings"] is None:
        return [*cells, "", "", "", ""]
    fastest = _fastest(runs)
    return [*cells, f"{runs[0]['parameters']:,}", _epochs(runs), f"{fastest['seconds_per_epoch']:.1f}", str(fastest["threads"])]


def _findings(table: Table, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns what the table says, in sentences: targets met and missed, what is better than published, other libraries beside ours."""
    sign = -1 if table.lower_is_better else 1
    by_row = _by_row(table, runs)
    means = {row: _mean(table, own) for row, own in by_row.items()}
    ours = {row: means[row] for row, own in by_row.items() if own[0]["settings"] is not None}
    said = []
    if aimed := [row for row in table.targets if row in ours]:
        gaps = missed(table, runs)
        by = ", ".join(f"{row} by {gap:.4f}" for row, gap in gaps.items())
        said.append(f"{len(aimed) - len(gaps)} of {len(aimed)} rows hold their target" + (f"; missed: {by}." if gaps else "."))
        said += [f"Tried for {row}: {table.tried[row]}." for row in gaps if row in table.tried]
    if table.published and ours:
        published = {row: values[0] for row, values in table.published.items()}
        better = [row for row in ours if row in published and sign * ours[row] > sign * published[row]]
        said.append(f"Better than the published best of the same row: {', '.join(better) or 'none'}.")
        best, rival = max(ours, key=lambda row: sign * ours[row]), max(published, key=lambda row: sign * published[row])
        verb = "beats" if sign * ours[best] > sign * published[rival] else "does not beat"
        said.append(f"Our best row, {best} with {ours[best]:.5f}, {verb} the best published one, {rival} with {published[rival]:.4f}.")
    for other in (row for row in means if ours and row not in ours):
        better = [row for row, value in ours.items() if sign * value > sign * means[other]]
        said.append(f"{other}: {len(better)} of our {len(ours)} rows are better.")
    expected = [*table.runs, *((row, 0) for row in table.baselines)]
    done = {(run["row"], run["seed"]) for run in runs}
    if left := [run for run in expected if run not in done]:
        without = ", ".join(dict.fromkeys(row for row, _ in left if row not in means))
        said.append(f"**{len(left)} of {len(expected)} runs are still to be trained{f'; none yet of {without}' if without else ''}.**")
    return [" ".join(said)]


def _by_row(table: Table, runs: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Returns the runs of each row that has any: ours in the recipe's order, then the other libraries."""
    rows = dict.fromkeys([*list_rows(table.recipe), *(run["row"] for run in runs)])
    by_row = {row: [run for run in runs if run["row"] == row] for row in rows}
    return {row: own for row, own in by_row.items() if own}


def _name(metric: str) -> str:
    return "log loss" if metric == "log_loss" else metric.upper()


def _mean(table: Table, runs: Sequence[Mapping[str, Any]]) -> float:
    return float(np.mean([run["test"][table.metrics[0]] for run in runs]))


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    return f"{np.mean(values):.5f}" + (f" +- {np.std(values, ddof=1):.5f}" if len(values) > 1 else "")


def _epochs(runs: Sequence[Mapping[str, Any]]) -> str:
    return f"{np.mean([run['epochs'] for run in runs]):.0f}"


def _fastest(runs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Returns the run with the smallest median of seconds an epoch: what else the machine did has slowed it least."""
    return min(runs, key=lambda run: run["seconds_per_epoch"])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number > 1 else ''}"
