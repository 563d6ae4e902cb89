"""What a user sees of a run: the progress line, TensorBoard events and the picture of its curves."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from trainer.data import ParquetBatches
from trainer.matching.batches import InteractionBatches

_SHARE_OF_INPUT = 0.2


class EpochProgress:
    """A line with examples per second and the time left in the epoch."""

    def __init__(self, epoch: int, epochs: int, data: ParquetBatches | InteractionBatches, first_batch: int) -> None:
        self._data, self._batch = data, first_batch
        self._bar = tqdm(
            total=data.num_rows,
            initial=first_batch * data.batch_size,
            desc=f"epoch {epoch}/{epochs}",
            unit=" examples",
            unit_scale=True,
            leave=False,
            file=sys.stderr,
            disable=None,
            dynamic_ncols=True,
        )

    def __enter__(self) -> EpochProgress:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def advance(self, batches: int) -> None:
        """Counts `batches` more batches as done."""
        rows = [min(batch * self._data.batch_size, self._data.num_rows) for batch in (self._batch, self._batch + batches)]
        self._batch += batches
        self._bar.update(rows[1] - rows[0])


def waiting(seconds: Mapping[str, float]) -> str:
    """Returns what is said of an epoch that waited for its batches: nothing where that is a fifth of its training or less."""
    share = seconds["input"] / max(seconds["train"], 1e-9)
    return f"  {share:.0%} of the time waiting for input" if share > _SHARE_OF_INPUT else ""


def log_events(folder: Path, line: dict[str, Any]) -> None:
    """Appends one epoch's numbers to the TensorBoard events in `folder`."""
    for name, scalars in (("train", {"loss": line["loss"], **line.get("train", {})}), ("valid", line.get("valid", {}))):
        if not scalars:
            continue
        writer = tf.summary.create_file_writer(str(folder / name))
        with writer.as_default(step=line["step"]):
            for metric, value in scalars.items():
                tf.summary.scalar(f"metrics/{metric}", value)
            if name == "train":
                tf.summary.scalar("examples_per_second", line["examples_per_second"])
        writer.close()


def plot_curves(path: Path, history: Sequence[dict[str, Any]], monitor: str, by: str = "epoch") -> None:
    """Draws loss and monitored metric by epoch (or step), validation and training where it has been scored, into a PNG file."""
    from matplotlib.figure import Figure

    history = [line for line in history if "valid" in line]  # epochs of training alone have no scores
    epochs = [line[by] for line in history]
    loss = next((name for name in ("log_loss", "rmse") if name in history[0]["valid"]), "loss")  # a matching model has none on validation
    # A metric that is not defined is NaN here, and null in a line that has been read back.
    monitored = np.array([line["valid"][monitor] for line in history], np.float64) * (-1 if monitor == "rmse" else 1)
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, metric in zip(figure.subplots(1, 2), (loss, monitor), strict=True):
        if metric == "loss":
            axes.plot(epochs, [line["loss"] for line in history], marker="o", markersize=3, label="train")
        for split in (split for split in ("train", "valid") if metric != "loss" and all(split in line for line in history)):
            axes.plot(epochs, [line[split][metric] for line in history], marker="o", markersize=3, label=split)
        if metric == "log_loss":
            axes.plot(epochs, [line["loss"] for line in history], linestyle=":", color="gray", label="train, while learning (dropout on)")
        if np.isfinite(monitored).any():
            axes.axvline(epochs[int(np.nanargmax(monitored))], color="gray", linewidth=0.8, linestyle="--", label=f"best {by}")
        axes.set(xlabel=by, title=metric)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        # Away from most curves; "best" is slow and warns of it.
        axes.legend(loc="upper left" if metric == "auc" else "lower right" if metric.startswith("ndcg@") else "upper right")
    figure.savefig(path, dpi=110)
