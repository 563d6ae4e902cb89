"""What follows an evaluation, whatever the estimator is made of: the best weights are kept, exporters have their turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_specs.errors import ColonnadeError
from preprocessing.artifacts import DataDirectory
from trainer.exporters import Evaluated, check_names
from trainer.specs import EvalSpec

if TYPE_CHECKING:
    from trainer.estimator import Estimator

# What a batch makes stays in the cache: a tenth faster than 8,192 rows (DeepFM of 39 fields).
SCORING_BATCH = 2048


def only_class(data: DataDirectory, split: str) -> int | None:
    """Returns the label that all rows of a split have, where labels are 0 and 1 and it has one of them alone; else None."""
    found = data.statistics.get("labels", {}).get(split)
    if data.spec.label.task != "binary" or not found or found["min"] != found["max"]:
        return None
    return int(found["min"])


def check_classes(data: DataDirectory, split: str) -> None:
    """Raises a ColonnadeError where a split cannot pick the best epoch, as all of its labels are the same: before the first epoch."""
    label = only_class(data, split)
    if label is not None:
        raise ColonnadeError(
            f"The {split} split of {str(data.path)!r} cannot pick the best epoch: all of its {data.num_rows(split):,} rows have label "
            f"{label}, and with one class auc is not defined. Change `split` in the spec (another type, other fractions or files), or give "
            "more rows, and preprocess again."
        )


def check_evaluated(estimator: Estimator, eval_spec: EvalSpec) -> None:
    """Checks the split that an estimator of a spec is evaluated on; see `check_classes`."""
    if eval_spec.input_fn is None and isinstance(data := getattr(estimator, "data", None), DataDirectory):
        check_classes(data, eval_spec.split)


def keep_best(estimator: Estimator, metrics: Mapping[str, float], number: int) -> None:
    """Keeps the present weights if their monitored metric is the best so far; `number` is that of the evaluation.

    One that is not defined is no worse: it is printed, and patience does not count it.

    Raises:
        ColonnadeError: It is not defined, and never was.
    """
    loop, task = estimator.loop, estimator.task
    position = loop.position
    if np.isnan(metrics[task.monitor]):
        is_finite = np.isfinite(metrics.get("log_loss", np.nan))
        why = "the rows have labels of one class alone" if is_finite else "scores are not finite"
        said = f"Evaluation {number}: {task.monitor} is not defined, as {why}"
        if position.best is None:
            fix = "Evaluate on more rows, or on others" if is_finite else "Lower --learning_rate, or look for extreme numbers in the data"
            raise ColonnadeError(f"{said}. Nothing could pick the best weights. {fix}.")
        print(f"{said}. It is left out: it can be no best one, and patience does not count it.", flush=True)
    elif task.is_better(metrics[task.monitor], position.best):
        position.best, position.best_epoch, position.waited = metrics[task.monitor], number, 0
        loop.save_weights(estimator.run.best)
    else:
        position.waited += 1


def run_exporters(estimator: Estimator, eval_spec: EvalSpec, metrics: Mapping[str, float], *, is_last: bool = False) -> None:
    """Gives each exporter its turn with the weights that are in the model now."""
    exporters = eval_spec.all_exporters
    check_names(exporters)
    evaluated = Evaluated(int(estimator.loop.step), dict(metrics), estimator.task.monitor, is_last)
    for exporter in exporters:
        version = exporter(evaluated, estimator.run.path / "export", estimator.export_present_weights)
        if version is not None:
            print(f"exported {version} (step {evaluated.step})", flush=True)


def finish_exporters(estimator: Estimator, eval_spec: EvalSpec, metrics: Mapping[str, float]) -> None:
    """Gives each exporter its last turn, with the last weights."""
    if eval_spec.all_exporters:
        estimator.loop.restore(estimator.run.last)
        estimator.loop.finish_rows()
        run_exporters(estimator, eval_spec, metrics, is_last=True)


def summary_line(estimator: Estimator, valid: Mapping[str, float], examples_per_second: float, number: int) -> str:
    """Returns what is printed of an evaluation."""
    monitor, other = estimator.task.monitor, estimator.task.shown
    mark = " (best)" if estimator.loop.position.best_epoch == number else ""
    return f"valid {monitor} {valid[monitor]:.5f}  {other} {valid[other]:.5f}  {examples_per_second:,.0f} examples/s{mark}"


def group_codes(groups: pa.ChunkedArray | None) -> NDArray | None:
    """Returns a number for each row's group, `[N]`, masked where it has none."""
    if groups is None:
        return None
    indices = groups.combine_chunks().dictionary_encode().indices
    return np.ma.masked_array(np.asarray(indices.fill_null(0)), np.asarray(indices.is_null()))
