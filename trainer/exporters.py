"""What is exported while a model trains: each exporter has a folder of numbered versions of its own, `export/<name>/`."""

from __future__ import annotations

import abc
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from feature_specs.errors import ColonnadeError, did_you_mean

_RECORD = "exports.json"
_SMALLER_IS_BETTER = ("log_loss", "normalized_entropy", "ece", "rmse", "mae")
_NO_DIRECTION = ("calibration_ratio",)


@dataclass(frozen=True)
class Evaluated:
    """An evaluation, as exporters see it.

    Attributes:
        step: Optimizer steps done.
        metrics: Of the evaluated data.
        monitor: The metric that picks the run's best weights.
        is_last: Whether training has ended.
    """

    step: int
    metrics: Mapping[str, float]
    monitor: str
    is_last: bool = False


@dataclass(frozen=True)
class Exporter(abc.ABC):
    """Decides after each evaluation whether the weights of that moment are exported.

    What it has exported is noted beside the versions, so that a resumed run goes on as if it had not been killed.

    Attributes:
        name: Of the folder, `export/<name>`.
        exports_to_keep: Older versions are deleted.
    """

    name: str
    exports_to_keep: int | None = None

    def __post_init__(self) -> None:
        if not self.name or self.name in (".", "..") or "/" in self.name or self.name.isdigit():
            raise ColonnadeError(f"The name of an exporter should be that of a folder, and no number. Received: {self.name!r}.")
        if self.exports_to_keep is not None and self.exports_to_keep < 1:
            raise ColonnadeError(f"exports_to_keep should be at least 1. Received: {self.exports_to_keep}.")

    def __call__(self, evaluated: Evaluated, base: Path, export: Callable[[Path], Path]) -> Path | None:
        """Exports if it is time to.

        Args:
            evaluated: What has just been found out.
            base: Folder of all exports of the run.
            export: Writes the present weights as the next version in a folder, and returns the version's.

        Returns:
            The new version, if there is one.
        """
        folder = base / self.name
        done = _read(folder)
        if (done and done[-1]["step"] >= evaluated.step) or not self.wants(evaluated, done):
            return None
        version = export(folder)
        done.append({"version": version.name, "step": evaluated.step, "metrics": _defined(evaluated.metrics)})
        kept = done[-self.exports_to_keep :] if self.exports_to_keep else done
        _write(folder, kept)
        for old in done[: len(done) - len(kept)]:
            shutil.rmtree(folder / old["version"], ignore_errors=True)
        return version

    @abc.abstractmethod
    def wants(self, evaluated: Evaluated, done: list[dict[str, Any]]) -> bool:
        """Whether to export, given the lines of earlier exports that are kept."""


@dataclass(frozen=True)
class BestExporter(Exporter):
    """Exports whenever the metric is better than at all earlier evaluations.

    Attributes:
        metric: Name of a metric; the run's own criterion (AUC, or RMSE for regression) where not given.
    """

    name: str = "best"
    exports_to_keep: int | None = 5
    metric: str | None = None

    def wants(self, evaluated: Evaluated, done: list[dict[str, Any]]) -> bool:
        """See the base class."""
        metric = self.metric or evaluated.monitor
        if metric not in evaluated.metrics or metric in _NO_DIRECTION:
            known = [name for name in evaluated.metrics if name not in _NO_DIRECTION]
            raise ColonnadeError(
                f"BestExporter cannot compare by {metric!r}.{did_you_mean(metric, known)} Metrics of this task: {', '.join(known)}."
            )
        value, sign = evaluated.metrics[metric], -1 if metric in _SMALLER_IS_BETTER else 1
        # Each kept export was better than all before it, so that the last one is the best.
        best = next((line["metrics"][metric] for line in reversed(done) if line["metrics"].get(metric) is not None), None)
        return bool(np.isfinite(value)) and (best is None or sign * value > sign * best)


@dataclass(frozen=True)
class LatestExporter(Exporter):
    """Exports after every evaluation."""

    name: str = "latest"
    exports_to_keep: int | None = 5

    def wants(self, evaluated: Evaluated, done: list[dict[str, Any]]) -> bool:  # noqa: ARG002 (always)
        """See the base class."""
        return not evaluated.is_last


@dataclass(frozen=True)
class FinalExporter(Exporter):
    """Exports once, when training has ended: the last weights, not the best."""

    name: str = "final"

    def wants(self, evaluated: Evaluated, done: list[dict[str, Any]]) -> bool:  # noqa: ARG002 (the base class looks at the step)
        """See the base class."""
        return evaluated.is_last


def check_names(exporters: tuple[Exporter, ...]) -> None:
    """Raises a ColonnadeError where two exporters share a folder."""
    names = [exporter.name for exporter in exporters]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ColonnadeError(f"Two exporters are named {repeated[0]!r}: they would share a folder. Give one another name.")


def _defined(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in metrics.items()}


def _read(folder: Path) -> list[dict[str, Any]]:
    try:
        return list(json.loads((folder / _RECORD).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise ColonnadeError(f"{str(folder / _RECORD)!r} is damaged ({error}). Delete it; the next evaluation begins it anew.") from error


def _write(folder: Path, lines: list[dict[str, Any]]) -> None:
    partial = folder / f".{_RECORD}.partial"
    partial.write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
    partial.replace(folder / _RECORD)
