"""Trains an estimator of a spec, epoch by epoch, with what follows each epoch: evaluation, exports, metrics, checkpoint."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_specs.errors import ColonnadeError
from trainer.evaluation import SCORING_BATCH, keep_best, run_exporters, summary_line
from trainer.loop import Loop
from trainer.matching.side import first_of
from trainer.models.base import MatchingModel
from trainer.profiling import StepProfile
from trainer.progress import EpochProgress, log_events, plot_curves, waiting
from trainer.specs import EvalSpec, TrainSpec
from trainer.tasks import RankingTask

if TYPE_CHECKING:
    from trainer.estimator import Estimator

_MAX_TRAIN_SAMPLE = 50_000
# A drawing takes half a second, as long as an epoch of small data.
_SECONDS_BETWEEN_DRAWINGS = 10.0


def fit_epochs(estimator: Estimator, train_spec: TrainSpec, eval_spec: EvalSpec | None) -> None:
    """Trains from where the run stands to the end of what the specs allow."""
    with StepProfile(train_spec.profile_steps, estimator.run.path / "events") as profile:
        _fit_epochs(estimator, train_spec, eval_spec, profile)


def _fit_epochs(estimator: Estimator, train_spec: TrainSpec, eval_spec: EvalSpec | None, profile: StepProfile) -> None:
    if train_spec.input_fn is not None or (eval_spec is not None and eval_spec.input_fn is not None):
        raise ColonnadeError("This estimator is trained on its data directory. Leave input_fn out, or make it of columns: columns=[...].")
    loop, run, config = estimator.loop, estimator.run, estimator.config.training
    epochs = config.epochs if train_spec.epochs is None else train_spec.epochs
    max_steps = config.max_steps if train_spec.max_steps is None else train_spec.max_steps
    loop.restore(run.last)  # scoring has left the best weights in the model
    if loop.has_ended(epochs, max_steps, evaluated=eval_spec is not None):
        return
    closed_form = isinstance(loop.model, MatchingModel) and loop.model.closed_form
    if closed_form:
        epochs = 1
    train = estimator.batches("train", batch_size=config.batch_size, shuffle=True)
    _check_profile(profile, min(max_steps or math.inf, 0 if closed_form else epochs * train.num_batches))
    evaluated = _Evaluation(estimator, eval_spec) if eval_spec else None
    history = [line for line in run.epochs() if line["epoch"] <= loop.position.epoch]
    drawn = -math.inf  # so that the first epoch is drawn
    while True:
        position, number = loop.position, loop.position.epoch + 1
        seconds = {"save": loop.take_seconds_saved()}  # the end of the epoch before
        started, first, last = time.perf_counter(), position.batch, train.num_batches
        if max_steps is not None:
            last = min(last, first + max(0, max_steps - int(loop.step)))
        if closed_form:
            estimator.fit_closed_form()
        else:
            train_epoch(loop, train, run.last, last, EpochProgress(number, epochs, train, first), profile)
        saved = loop.take_seconds_saved()
        seconds |= {"train": time.perf_counter() - started - saved, "input": loop.take_seconds_waited()}
        seconds |= {"step": seconds["train"] - seconds["input"], "save": seconds["save"] + saved}
        out_of_steps = max_steps is not None and int(loop.step) >= max_steps
        if last < train.num_batches and not evaluated:
            loop.save(run.last)
            return
        rows = min(last * config.batch_size, train.num_rows)
        position.epoch, position.batch = number, 0
        started = time.perf_counter()
        loop.finish_rows()
        line: dict[str, Any] = {
            "epoch": number,
            "step": int(loop.step),
            "loss": loop.take_loss_sum() / max(rows, 1),
            "examples_per_second": (rows - first * config.batch_size) / seconds["train"],
            "seconds": seconds,
        }
        if evaluated:
            line |= evaluated(line["loss"], line["examples_per_second"], seconds, started)
            if position.waited:
                loop.lower_rates()
            position.out_of_patience = position.waited >= (evaluated.spec.patience or config.patience)
        history.append(line)
        run.write_epochs(history)
        log_events(run.path / "events", line)
        ended = out_of_steps or loop.has_ended(epochs, max_steps, evaluated=eval_spec is not None)
        if evaluated and (ended or time.perf_counter() - drawn > _SECONDS_BETWEEN_DRAWINGS):
            plot_curves(run.path / "curves.png", history, estimator.task.monitor)
            drawn = time.perf_counter()
        loop.save(run.last)  # last: a run killed before it does this epoch's end again
        if ended:
            return


def _check_profile(profile: StepProfile, steps: float) -> None:
    """Says where a profile cannot be had from a run of `steps` steps."""
    if profile.first > steps:
        raise ColonnadeError(f"--profile_steps begins at step {profile.first}, and the run has {steps:.0f} steps. Begin earlier.")


def train_epoch(
    loop: Loop,
    train: Any,  # noqa: ANN401 (any batches)
    checkpoints: Path,
    last: int,
    progress: EpochProgress,
    profile: StepProfile | None = None,
) -> None:
    """Trains from where the loop stands in the epoch to its batch `last`, with a checkpoint every so many steps."""
    profile = profile or StepProfile(None, checkpoints)
    config = loop.config
    iterator = loop.waiting(lambda: iter(train.dataset(loop.position.epoch, loop.position.batch)))
    with progress, train.errors_of_reading():
        while loop.position.batch < last:
            before = int(loop.step)
            due = config.checkpoint_steps - before % config.checkpoint_steps
            steps = profile.allowed(before, min(config.steps_per_call, last - loop.position.batch, due))
            with profile.around(before):
                loop.train(iterator, steps)
            loop.position.batch += steps
            progress.advance(steps)
            if steps == due and loop.position.batch < last:
                loop.save(checkpoints)


class _Evaluation:
    """Scores the validation split and as many training rows after an epoch, keeps the best weights, and exports."""

    def __init__(self, estimator: Estimator, eval_spec: EvalSpec) -> None:
        self.estimator, self.spec = estimator, eval_spec
        if estimator.matching is not None:
            estimator.matching.check_users(estimator.data, estimator.loop.model)
            return
        self.valid = estimator.batches(eval_spec.split)
        self.train = estimator.batches("train", shuffle=True)
        self.sampled_batches = -(-min(self.valid.num_rows, _MAX_TRAIN_SAMPLE) // SCORING_BATCH)

    def __call__(self, loss: float, examples_per_second: float, seconds: dict[str, float], started: float) -> dict[str, Any]:
        loop, task = self.estimator.loop, self.estimator.task
        if not isinstance(task, RankingTask):
            return self._by_protocol(loss, examples_per_second, seconds, started)
        sampled = loop.score(self.train, max_batches=self.sampled_batches)
        train = task.metrics(sampled.labels, sampled.logits, None)
        valid = self.estimator.metrics(loop.score(self.valid), self.valid)
        self._keep(valid, seconds, started)
        shown = f"epoch {loop.position.epoch}: loss {loss:.5f}  train {task.monitor} {train[task.monitor]:.5f}  "
        print(shown + summary_line(self.estimator, valid, examples_per_second, loop.position.epoch) + waiting(seconds), flush=True)
        return {"train": train, "valid": valid}

    def _by_protocol(self, loss: float, examples_per_second: float, seconds: dict[str, float], started: float) -> dict[str, Any]:
        metrics = self.estimator.evaluate_by_protocol(self.spec.split)
        valid, epoch = first_of(metrics), self.estimator.loop.position.epoch
        self._keep(valid, seconds, started)
        line = summary_line(self.estimator, valid, examples_per_second, epoch) + waiting(seconds)
        print(f"epoch {epoch}: loss {loss:.5f}  {line}", flush=True)
        return {"valid": valid, **({"protocols": metrics} if len(metrics) > 1 else {})}

    def _keep(self, valid: dict[str, float], seconds: dict[str, float], started: float) -> None:
        keep_best(self.estimator, valid, self.estimator.loop.position.epoch)
        run_exporters(self.estimator, self.spec, valid)
        seconds["evaluate"] = time.perf_counter() - started
