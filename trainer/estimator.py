"""Estimator: one model on one data directory in one run directory, with the verbs that estimator users know."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import pyarrow as pa
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs.errors import ColonnadeError
from feature_specs.spec import FeatureSpec
from preprocessing.artifacts import DataDirectory
from trainer.config import RunConfig
from trainer.data import ParquetBatches, element_spec
from trainer.layers import Inputs
from trainer.loop import Loop, Position, Scores
from trainer.metrics import sigmoid
from trainer.models.registry import make_model
from trainer.precision import precision_policy
from trainer.progress import EpochProgress, log_events, plot_curves
from trainer.run import RunDirectory
from trainer.tasks import task_of

Split = Literal["train", "valid", "test"]
_SCORING_BATCH = 8192
_MAX_TRAIN_SAMPLE = 50_000


@dataclass(frozen=True)
class TrainSpec:
    """How long to train; what is not given comes from the run's configuration.

    Attributes:
        epochs: Passes over the training split, at most.
        max_steps: Optimizer steps, at most, counted over all resumptions.
    """

    epochs: int | None = None
    max_steps: int | None = None


@dataclass(frozen=True)
class EvalSpec:
    """When training is good enough.

    Attributes:
        split: What is evaluated after each epoch. The test split is no choice: it is scored once, at the end.
        patience: Epochs without a better metric before training stops; the run's configuration where not given.
    """

    split: Literal["valid", "train"] = "valid"
    patience: int | None = None


class Estimator:
    """Trains, evaluates, predicts with and exports one model.

    The run directory holds all state: an estimator made again on it goes on where the last one stopped.

    Args:
        config: Which model on which data, trained how.
        run_dir: Where everything goes; made if missing.

    Raises:
        ColonnadeError: The data directory is not usable, or the run directory holds another run.

    Example:
        >>> estimator = Estimator(config, "runs/my-run")                             # doctest: +SKIP
        >>> train_and_evaluate(estimator, TrainSpec(epochs=5), EvalSpec())           # doctest: +SKIP
        >>> estimator.evaluate("test")["auc"]                                        # doctest: +SKIP
    """

    def __init__(self, config: RunConfig, run_dir: str | Path) -> None:
        self.data = DataDirectory.open(config.data_dir)
        if self.data.spec.fingerprint != config.fingerprint:
            raise ColonnadeError(
                f"{config.data_dir!r} was built for spec {self.data.spec.fingerprint[:12]}, the run is for {config.fingerprint[:12]}. "
                "Preprocess again or choose another --data_dir."
            )
        # The model first: settings that it cannot be made with should leave no run directory behind.
        self._make_model(config, self.data.spec, self.data.table_rows)
        self.run = RunDirectory.create(Path(run_dir), config, self.data)
        self.config = self.run.config
        self.loop.restore(self.run.last)

    @classmethod
    def load(cls, run_dir: str | Path) -> Estimator:
        """Returns the estimator of an existing run; data and checkpoints are read when they are first needed."""
        estimator, run = cls.__new__(cls), RunDirectory.open(run_dir)
        estimator.run = run
        estimator._make_model(run.config, run.spec, run.table_rows)
        return estimator

    def _make_model(self, config: RunConfig, spec: FeatureSpec, table_rows: Mapping[str, int]) -> None:
        self.config, self.spec, self.task = config, spec, task_of(spec)
        keras.utils.set_random_seed(self.config.training.seed)
        tf.config.experimental.enable_op_determinism()
        with precision_policy(self.config.training.mixed_precision):
            model = make_model(config.model, Inputs(spec, table_rows), config.hyper_parameters)
            self.loop = Loop(model, self.task, self.config.training, element_spec(self.spec))

    @property
    def model(self) -> keras.Model:
        """The model with the best weights so far (the last ones, where none have been evaluated): features to logits `[B]`."""
        self._prepare_scoring()
        return self.loop.model

    def _prepare_scoring(self) -> None:
        if not self.loop.restore_weights(self.run.best):
            self.loop.restore(self.run.last)
            self.loop.finish_rows()

    def batches(self, split: Split, *, batch_size: int = _SCORING_BATCH, shuffle: bool = False) -> ParquetBatches:
        """Returns the rows of a split as batches of transformed features."""
        if not hasattr(self, "data"):
            self.data = DataDirectory.open(self.config.data_dir, expected=self.spec)
            if self.data.digest != self.config.data_digest:
                raise ColonnadeError(
                    f"{self.config.data_dir!r} holds other data ({self.data.digest[:12]}) than the run was trained on "
                    f"({self.config.data_digest[:12]}). Build it again from the same raw files."
                )
        if not (self.data.shards(split) and self.data.num_rows(split)):
            raise ColonnadeError(f"The {split} split of {str(self.data.path)!r} has no rows. Change split.fractions in the spec.")
        training = self.config.training
        shuffle_rows = training.shuffle_rows if shuffle else 0
        return ParquetBatches(self.data.shards(split), self.spec, batch_size, shuffle_rows=shuffle_rows, seed=training.seed)

    def train(self, train_spec: TrainSpec | None = None) -> int:
        """Trains without evaluation, from where the run stands; returns the number of steps done in all."""
        _fit(self, train_spec or TrainSpec(), None)
        return int(self.loop.step)

    def evaluate(self, split: Split = "valid") -> dict[str, float]:
        """Returns the metrics of the best weights on a split."""
        return self.evaluate_parts(split)[0]

    def evaluate_parts(self, split: Split) -> tuple[dict[str, float], dict[str, float]]:
        """Returns the metrics of the best weights, and each part's share in the logits (mean absolute value, as a fraction)."""
        self._prepare_scoring()
        data = self.batches(split)
        scores = self.loop.score(data)
        return self.metrics(scores, data), scores.part_shares

    def predict(self, split: Split = "test") -> Iterator[dict[str, NDArray]]:
        """Yields the best weights' scores of a split, batch by batch: logits and probabilities `[B]`, or predictions."""
        model = self.model
        for features, _ in self.batches(split).dataset():
            logits = model(features, training=False).numpy()
            yield {"predictions": logits} if self.task.name == "regression" else {"logits": logits, "probabilities": sigmoid(logits)}

    def export_saved_model(self, export_base: str | Path | None = None) -> Path:
        """Writes the best weights with the transform graph as a SavedModel; returns the new version's folder."""
        from serving.export import export_saved_model
        from serving.skew import raw_rows

        sample = self.run.path / "sample.parquet"
        return export_saved_model(
            self.model,
            self.spec,
            self.run.path / "transform_fn",
            Path(export_base) if export_base else self.run.path / "export",
            check_rows=raw_rows(self.spec, sample) if sample.is_file() else None,
        )

    def metrics(self, scores: Scores, data: ParquetBatches) -> dict[str, float]:
        """Returns the task's metrics of all rows of `data`."""
        return self.task.metrics(scores.labels, scores.logits, _group_codes(data.read_column("_group")))


def train_and_evaluate(estimator: Estimator, train_spec: TrainSpec, eval_spec: EvalSpec) -> dict[str, float]:
    """Trains with an evaluation after every epoch, keeps the best weights, stops early; returns their validation metrics.

    Killed at any point and called again, it goes on from the last checkpoint and ends with the same numbers, bit for bit.
    """
    _fit(estimator, train_spec, eval_spec)
    return estimator.evaluate(eval_spec.split)


def _fit(estimator: Estimator, train_spec: TrainSpec, eval_spec: EvalSpec | None) -> None:
    loop, run, config = estimator.loop, estimator.run, estimator.config.training
    epochs = config.epochs if train_spec.epochs is None else train_spec.epochs
    max_steps = config.max_steps if train_spec.max_steps is None else train_spec.max_steps
    loop.restore(run.last)  # scoring has left the best weights in the model
    if loop.has_ended(epochs, max_steps, evaluated=eval_spec is not None):
        return
    train = estimator.batches("train", batch_size=config.batch_size, shuffle=True)
    evaluated = _Evaluation(estimator, eval_spec) if eval_spec else None
    history = [line for line in run.epochs() if line["epoch"] <= loop.position.epoch]
    while not loop.has_ended(epochs, max_steps, evaluated=eval_spec is not None):
        position, number = loop.position, loop.position.epoch + 1
        started, first, last = time.perf_counter(), position.batch, train.num_batches
        if max_steps is not None:
            last = min(last, first + max(0, max_steps - int(loop.step)))
        _train_epoch(loop, train, run.last, last, EpochProgress(number, epochs, train, first))
        seconds = {"train": time.perf_counter() - started}
        out_of_steps = max_steps is not None and int(loop.step) >= max_steps
        if last < train.num_batches and not evaluated:
            loop.save(run.last)
            return
        rows = min(last * config.batch_size, train.num_rows)
        position.epoch, position.batch = number, 0
        loop.finish_rows()
        line: dict[str, Any] = {
            "epoch": number,
            "step": int(loop.step),
            "loss": loop.take_loss_sum() / max(rows, 1),
            "examples_per_second": (rows - first * config.batch_size) / seconds["train"],
            "seconds": seconds,
        }
        if evaluated:
            line |= evaluated(line["loss"], line["examples_per_second"], seconds)
            position.out_of_patience = position.waited >= (evaluated.patience or config.patience)
        history.append(line)
        run.write_epochs(history)
        log_events(run.path / "events", line)
        if evaluated:
            plot_curves(run.path / "curves.png", history, estimator.task.monitor)
        loop.save(run.last)  # last: a run killed before it does this epoch's end again
        if out_of_steps:
            return


def _train_epoch(loop: Loop, train: ParquetBatches, checkpoints: Path, last: int, progress: EpochProgress) -> None:
    config = loop.config
    iterator = iter(train.dataset(loop.position.epoch, loop.position.batch))
    with progress, train.errors_of_reading():
        while loop.position.batch < last:
            before = int(loop.step)
            due = config.checkpoint_steps - before % config.checkpoint_steps
            steps = min(config.steps_per_call, last - loop.position.batch, due)
            loop.train(iterator, steps)
            loop.position.batch += steps
            progress.advance(steps)
            if steps == due and loop.position.batch < last:
                loop.save(checkpoints)


class _Evaluation:
    """Scores the validation split and as many training rows after an epoch, and keeps the best weights."""

    def __init__(self, estimator: Estimator, eval_spec: EvalSpec) -> None:
        self.estimator = estimator
        self.patience = eval_spec.patience
        self.valid = estimator.batches(eval_spec.split)
        self.train = estimator.batches("train", shuffle=True)
        self.sampled_batches = -(-min(self.valid.num_rows, _MAX_TRAIN_SAMPLE) // _SCORING_BATCH)

    def __call__(self, loss: float, examples_per_second: float, seconds: dict[str, float]) -> dict[str, Any]:
        started = time.perf_counter()
        loop, task, run = self.estimator.loop, self.estimator.task, self.estimator.run
        sampled = loop.score(self.train, max_batches=self.sampled_batches)
        train = task.metrics(sampled.labels, sampled.logits, None)
        valid = self.estimator.metrics(loop.score(self.valid), self.valid)
        position: Position = loop.position
        if task.is_better(valid[task.monitor], position.best):
            position.best, position.best_epoch, position.waited = valid[task.monitor], position.epoch, 0
            loop.save_weights(run.best)
        else:
            position.waited += 1
        seconds["evaluate"] = time.perf_counter() - started
        mark = " (best)" if position.best_epoch == position.epoch else ""
        other = "log_loss" if "log_loss" in valid else "mae"
        print(
            f"epoch {position.epoch}: loss {loss:.5f}  train {task.monitor} {train[task.monitor]:.5f}  "
            f"valid {task.monitor} {valid[task.monitor]:.5f}  {other} {valid[other]:.5f}  {examples_per_second:,.0f} examples/s{mark}",
            flush=True,
        )
        return {"train": train, "valid": valid}


def _group_codes(groups: pa.ChunkedArray | None) -> NDArray | None:
    if groups is None:
        return None
    encoded = groups.combine_chunks().dictionary_encode()
    return np.asarray(encoded.indices.fill_null(-1))
