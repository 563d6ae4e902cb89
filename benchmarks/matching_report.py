"""Writes the accuracy table of the matching models, with what training and evaluation cost, from the results of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.matching_speed import TARGET, TIMED
from benchmarks.matching_tables import PEERS_RECIPE, TABLES, WARM_STARTS, Table, all_runs

_METRICS = ("hit_rate@10", "ndcg@10")

Results = Mapping[tuple[str, str, int], Mapping[str, Any]]


def report(results: Results) -> str:
    """Returns the page as Markdown."""
    lines = ["# Matching models: accuracy and speed", "", *_introduction(list(results.values()))]
    for table in TABLES:
        runs = {row: _runs_of(results, table.recipe, row) for row in [*table.shown, *_names(table.peers)]}
        runs = {row: each for row, each in runs.items() if each}
        if runs:
            lines += ["", f"## {table.title}", "", f"Protocol `{table.protocol}`. {table.text}", "", *_table(table, runs)]
            if found := _findings(table, runs):
                lines += ["", found]
    if speeds := {row: run for (table, row, _), run in results.items() if table == "speed"}:
        lines += ["", *_speed(speeds)]
    return "\n".join(lines) + "\n"


def _runs_of(results: Results, recipe: str, row: str) -> list[Mapping[str, Any]]:
    return [run for (table, name, _), run in sorted(results.items()) if (table, name) == (recipe, row)]


def _introduction(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    if not runs:
        return []
    dates = sorted({run["date"] for run in runs})
    versions = sorted({f"{name} {version}" for run in runs for name, version in run["versions"].items()})
    return [
        f"`make benchmark-matching`, {dates[0]}{f' to {dates[-1]}' if len(dates) > 1 else ''}, {', '.join(versions)}. Mean and standard "
        "deviation over seeds (of weights, dropout, negatives and the order of the rows; the candidates of the evaluation stay the same). "
        "HR is the share of the users whose film is among the first ten, NDCG is at ten; ties count against the film. The best epoch is "
        "picked on the validation split, by the NDCG@10 of the first protocol of the row (99 drawn negatives in place of a file of "
        "candidates, which is of the test split), the test split scored once. Each row is repeated by `python -m trainer.task --recipe "
        "<recipe>:<row> --seed <seed>`, with `--input` and the raw files of MovieLens-1M, which are not fetched, and with `--warm_start` "
        f"and the runs that a row begins with ({', '.join(row for _, row in WARM_STARTS)}); every run is a line of `matching.jsonl`. "
        "Seconds an epoch are the median of a run, seconds an evaluation those of the validation split by all of the recipe's protocols, "
        "both on the threads of the last column of a machine that did other work too."
    ]


def _table(table: Table, runs: Mapping[str, list[Mapping[str, Any]]]) -> list[str]:
    head = ["row", "seeds", "HR@10", "NDCG@10", "published", "target", "ours - target"]
    head += ["parameters", "epochs", "s an epoch", "s an evaluation", "threads"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row, own in runs.items():
        scores = _scores(table, own)
        if scores is None:
            continue
        target = _target(table, row, runs)
        published = " / ".join(_short(value) for value in table.published.get(row, ()))
        wanted = " / ".join(_short(value) for value in target or () if value is not None)
        gaps = [mean - value for mean, value in zip(_means(scores), target or (), strict=False) if value is not None]
        cells = [row, str(len(own)), *(_spread(values) for values in scores), published, wanted, " / ".join(f"{gap:+.4f}" for gap in gaps)]
        cells += [f"{own[0]['parameters']:,}", _number(own, "epochs", ".0f"), _number(own, "seconds_per_epoch", ".2f")]
        cells += [_number(own, "seconds_per_evaluation", ".2f"), "/".join(sorted({str(run["threads"]) for run in own}))]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _scores(table: Table, runs: Sequence[Mapping[str, Any]]) -> list[list[float]] | None:
    """Returns the values of each metric over the seeds; None where the runs were not evaluated so."""
    # A line of RecBole has its one protocol plainly.
    tests = [run["test"] if run["settings"] is None else run["test"].get(table.protocol) for run in runs]
    return [[test[name] for test in tests if test] for name in _METRICS] if any(tests) else None


def _means(scores: Sequence[Sequence[float]]) -> list[float]:
    return [float(np.mean(values)) for values in scores]


def _target(table: Table, row: str, runs: Mapping[str, list[Mapping[str, Any]]]) -> tuple[float | None, ...] | None:
    peers = [_means(scores) for peer in table.peers.get(row, ()) if peer in runs and (scores := _scores(table, runs[peer]))]
    return tuple(max(peers, key=lambda means: means[1])) if peers else table.targets.get(row)


def _names(peers: Mapping[str, Sequence[str]]) -> list[str]:
    return [name for names in peers.values() for name in names]


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.4f}" + (f" +- {np.std(values, ddof=1):.4f}" if len(values) > 1 else "")


def _short(value: float) -> str:
    return f"{value:.4f}"


def _number(runs: Sequence[Mapping[str, Any]], name: str, form: str) -> str:
    values = [run[name] for run in runs if name in run]
    return format(float(np.mean(values)), form) if values else ""


def _findings(table: Table, runs: Mapping[str, list[Mapping[str, Any]]]) -> str:
    """Returns what the table says, in sentences: targets met and missed, what RecBole's own evaluation says, what is not trained yet."""
    gaps: dict[str, list[float]] = {}
    for row, own in runs.items():
        target, scores = _target(table, row, runs), _scores(table, own)
        if target and scores:
            gaps[row] = [mean - value for mean, value in zip(_means(scores), target, strict=True) if value is not None]
    said = []
    if gaps:
        missed = {row: each for row, each in gaps.items() if min(each) < 0}
        by = [f"{row} by {' / '.join(f'{max(0.0, -gap):.4f}' for gap in each)}" for row, each in missed.items()]
        said.append(f"{len(gaps) - len(missed)} of {len(gaps)} rows hold their target" + (f"; missed: {', '.join(by)}." if by else "."))
        said += [f"Tried for {row}: {table.tried[row]}." for row in missed if row in table.tried]
    said += _of_peers([run for peer in _names(table.peers) for run in runs.get(peer, ())], runs)
    done = {(row, run["seed"]) for row, own in runs.items() for run in own}
    expected = [run for run in all_runs(table.recipe) if run[0] in table.shown]
    if left := [run for run in expected if run not in done]:
        without = ", ".join(dict.fromkeys(row for row, _ in left if row not in runs))
        said.append(f"**{len(left)} of {len(expected)} runs are still to be trained{f'; none yet of {without}' if without else ''}.**")
    return " ".join(said)


def _of_peers(peers: Sequence[Mapping[str, Any]], runs: Mapping[str, list[Mapping[str, Any]]]) -> list[str]:
    said = []
    for run in peers:
        if str(run["ended_by"]).startswith("time"):
            said.append(f"{run['row']} got {run['epochs']} epochs in {run['minutes']:.0f} minutes, and would have gone on.")
    unmasked = {run["row"]: run["test_unmasked"] for run in peers if "test_unmasked" in run}
    said += [
        f"By its own evaluation, which ranks films that were seen too, {row} has {' / '.join(_short(test[name]) for name in _METRICS)}."
        for row, test in unmasked.items()
    ]
    theirs = {run["test_pairs"] for run in peers}
    ours = {run["test_pairs"] for own in runs.values() for run in own if run["settings"] is not None and "test_pairs" in run}
    if theirs and ours:
        said.append(f"The pairs of users and test films are {'the same' if theirs == ours else '**not** the same'} in both programs.")
    return said


def _speed(speeds: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = [
        "## Speed of training, beside RecBole",
        "",
        "MovieLens-1M, `python -m benchmarks.matching --parts speed`, one program at a time on an otherwise idle machine, reading and "
        "sampling included, the first epoch of ours and the first steps of RecBole left out. An example is a pair of user and item, "
        "positive or negative. A sequence is one row of a batch, of 200 positions: **ours is a whole user, of whom every position is "
        "predicted; RecBole's is the part of a user before one position, which alone is predicted**, so that an epoch has one row a user "
        "here, and one row a rating there. Positions trained a second are what compares.",
        "",
        "| what | sizes | per second | ours | RecBole | ours / RecBole | target |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    missed: dict[str, list[str]] = {}
    for name, timed in TIMED.items():
        for peer in timed.peers:
            ours, theirs = speeds.get(name, {}), speeds.get(peer, {})
            for rate in ("examples_per_second", "sequences_per_second", "positions_per_second"):
                mine, other = ours.get(rate), theirs.get(rate)
                if mine is None and other is None:
                    continue
                shown = [f"{value:,.0f}" if value is not None else "" for value in (mine, other)]
                ratio = mine / other if mine is not None and other is not None else None
                # Positions say what the rows of either are worth, and are no target.
                target = None if rate.startswith("positions") else TARGET
                if ratio is not None and target is not None and ratio < target:
                    missed.setdefault(name, []).append(f"{name} beside {peer} by {target - ratio:.2f}")
                cells = [timed.text, rate.split("_")[0], *shown, "" if ratio is None else f"{ratio:.2f}", f"{target:.1f}" if target else ""]
                lines.append(f"| {name} beside {peer} | {' | '.join(cells)} |")
    if missed:
        tried = [f" Tried for {name}: {TIMED[name].tried}." for name in missed if TIMED[name].tried]
        lines += ["", f"Missed: {', '.join(row for rows in missed.values() for row in rows)}.{''.join(tried)}"]
    if evaluated := [f"{speeds[name]['seconds_per_evaluation']:.2f} s ({name})" for name in TIMED if name in speeds]:
        lines += ["", f"One evaluation of ours against the full corpus, 6,040 users and 3,706 films: {', '.join(evaluated)}."]
    if missing := [row for name, timed in TIMED.items() for row in (name, *timed.peers) if row not in speeds]:
        lines += ["", f"**Still to be timed: {', '.join(missing)}.**"]
    threads = sorted({str(run["threads"]) for run in speeds.values()})
    return [*lines, "", f"On {' or '.join(threads)} threads. Lines of {PEERS_RECIPE} and of `speed` in `matching.jsonl` hold all settings."]
