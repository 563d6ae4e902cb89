"""Compares runs: `python -m trainer.compare RUN_DIR...` prints one table and draws one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from feature_specs.command import CommandParser, run_command
from feature_specs.errors import ColonnadeError
from trainer.run import RunDirectory

_COLUMNS = ("auc", "gauc", "log_loss", "rmse", "mae")
_MATCHING = ("ndcg@", "hit_rate@", "recall@", "mrr@")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = CommandParser("python -m trainer.compare", "Puts several runs in one table and one picture.")
    parser.add_argument("run_dirs", nargs="+", metavar="RUN_DIR")
    parser.add_argument("--output", default="compare.png", help="the picture")
    flags = parser.parse_all(arguments)
    runs = [RunDirectory.open(path) for path in flags.run_dirs]
    tasks = {run.task: run.path for run in runs}
    if len(tasks) > 1:
        places = " and ".join(f"{str(path)!r} ({task})" for task, path in tasks.items())
        raise ColonnadeError(f"Runs of different tasks share no metric: {places}. Compare them apart.")
    print(table(runs))
    try:
        plot(runs, Path(flags.output))
    except (OSError, ValueError) as error:
        raise error if isinstance(error, ColonnadeError) else ColonnadeError(f"Cannot draw {flags.output!r}: {error}.") from error
    print(f"\npicture  {flags.output}")
    return 0


def table(runs: Sequence[RunDirectory]) -> str:
    """Returns one line a run, the best test score first; a run that is not finished shows its last validation metrics."""
    results = [(run, run.result() if run.is_finished else None) for run in runs]
    metrics = [_first(result) if result else _last_valid(run) for run, result in results]
    columns = [name for name in _COLUMNS if any(name in row for row in metrics)]
    columns += [name for begin in _MATCHING for name in dict.fromkeys(n for row in metrics for n in row) if name.startswith(begin)]
    lines = [("run", "model", "split", "epochs", *columns, "parameters", "examples/s", "train s")]
    for (run, result), row in sorted(zip(results, metrics, strict=True), key=lambda pair: _badness(pair[1])):
        numbers = [f"{row[name]:.5f}" if row.get(name) is not None else "-" for name in columns]
        tail = (
            [f"{result['parameters']:,}", f"{result['examples_per_second']:,.0f}", f"{result['seconds']['train']:.1f}"]
            if result
            else ["-", "-", "-"]
        )
        lines.append((run.path.name, run.config.model, "test" if result else "valid", str(len(run.epochs())), *numbers, *tail))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def _badness(metrics: Mapping[str, float | None]) -> float:
    """Returns what the lines are sorted by, ascending; a run without a score comes last."""
    found = next((value for name, value in metrics.items() if name == "auc" or name.startswith("ndcg@")), None)
    rmse = metrics.get("rmse")
    return -found if found is not None else rmse if rmse is not None else float("inf")


def _last_valid(run: RunDirectory) -> dict[str, float | None]:
    """Returns the last validation metrics; none where the run is trained without evaluation."""
    return next((line["valid"] for line in reversed(run.epochs()) if "valid" in line), {})


def _first(result: Mapping[str, Any]) -> dict[str, float | None]:
    """Returns the test metrics, of the first protocol where there are several."""
    test = result["metrics"]["test"]
    return dict(next(iter(test.values())) if isinstance(result["protocol"], dict) else test)


def plot(runs: Sequence[RunDirectory], path: Path) -> None:
    """Draws each run's validation loss and metric by epoch.

    Raises:
        ColonnadeError: No run has finished an epoch with an evaluation.
    """
    from matplotlib.figure import Figure

    histories = [(run, history) for run in runs if (history := [line for line in run.epochs() if "valid" in line])]
    if not histories:
        raise ColonnadeError("None of these runs has finished an epoch with an evaluation: there is nothing to draw. Name others, or wait.")
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, metrics in zip(figure.subplots(1, 2), (("log_loss", "rmse", "hit_rate@"), ("auc", "mae", "ndcg@")), strict=True):
        for run, history in histories:
            metric = next(name for name in history[0]["valid"] if name in metrics or name.startswith(metrics[-1]))
            axes.plot([e["epoch"] for e in history], [e["valid"][metric] for e in history], marker="o", markersize=3, label=run.path.name)
            axes.set(xlabel="epoch", title=f"validation {metric}")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        place = "lower right" if "@" in metric else "upper left" if metrics[0] == "auc" else "upper right"
        axes.legend(loc=place, fontsize="small")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    run_command(main)
