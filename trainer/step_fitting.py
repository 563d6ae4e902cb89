"""Trains an estimator of columns on what an input_fn gives, step by step, with evaluations in between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from feature_specs.errors import ColonnadeError
from trainer.evaluation import keep_best, run_exporters, summary_line
from trainer.input_fns import InputFnBatches
from trainer.loop import Loop
from trainer.profiling import StepProfile
from trainer.progress import log_events, plot_curves, waiting
from trainer.specs import EvalSpec, TrainSpec

if TYPE_CHECKING:
    from trainer.estimator import Estimator


def fit_steps(estimator: Estimator, train_spec: TrainSpec, eval_spec: EvalSpec | None) -> None:
    """Trains from where the run stands to the end of what the specs allow."""
    with StepProfile(train_spec.profile_steps, estimator.run.path / "events") as profile:
        _fit_steps(estimator, train_spec, eval_spec, profile)


def _fit_steps(estimator: Estimator, train_spec: TrainSpec, eval_spec: EvalSpec | None, profile: StepProfile) -> None:
    if train_spec.input_fn is None or (eval_spec is not None and eval_spec.input_fn is None):
        what = "TrainSpec" if train_spec.input_fn is None else "EvalSpec"
        raise ColonnadeError(f"An estimator of columns is trained and evaluated on input_fns. Give the {what} one: {what}(input_fn=...).")
    loop, run, config = estimator.loop, estimator.run, estimator.config.training
    epochs = config.epochs if train_spec.epochs is None else train_spec.epochs
    max_steps = config.max_steps if train_spec.max_steps is None else train_spec.max_steps
    every = (eval_spec.every_steps or config.checkpoint_steps) if eval_spec else None
    loop.restore(run.last)  # scoring has left the best weights in the model
    train = _Batches(loop, estimator.batches(train_spec.input_fn), profile)
    history = [line for line in run.epochs() if line["step"] <= int(loop.step)]
    pass_ended = False
    while True:
        position, step = loop.position, int(loop.step)
        ended = position.epoch >= epochs or (max_steps is not None and step >= max_steps)
        is_due = ended or pass_ended or (every is not None and step % every == 0)
        if eval_spec is not None and is_due and step not in (0, position.evaluated_step):
            history.append(_evaluate(estimator, eval_spec, len(history) + 1, train))
            run.write_epochs(history)
            log_events(run.path / "events", history[-1])
            plot_curves(run.path / "curves.png", history, estimator.task.monitor, by="step")
            position.out_of_patience = position.waited >= (eval_spec.patience or config.patience)
            loop.save(run.last)  # last: a run killed before it does this evaluation again
        elif train.seen and (ended or step % config.checkpoint_steps == 0):
            loop.save(run.last)
        if ended or position.out_of_patience:
            return
        if not step:
            estimator.keep_sample(train.data)
        stops = [every and every - step % every, config.checkpoint_steps - step % config.checkpoint_steps, max_steps and max_steps - step]
        pass_ended = train.run(min(filter(None, stops)))


class _Batches:
    """The batches of the passes, from where the loop stands.

    Attributes:
        data: Gives them.
        seen: Examples trained on since this process began.
        seconds: Spent on them, in all and waiting for them: "train", "input" and, without the waiting, "step".
    """

    def __init__(self, loop: Loop, data: InputFnBatches, profile: StepProfile) -> None:
        self.loop, self.data, self._profile = loop, data, profile
        self.seen = 0
        self.seconds = dict.fromkeys(("train", "input", "step"), 0.0)
        self._iterator: Iterator[Any] | None = None

    def run(self, steps: int) -> bool:
        """Trains `steps` steps; returns whether the pass ended first."""
        started, loop, position = time.perf_counter(), self.loop, self.loop.position
        with self.data.errors_of_reading():
            if self._iterator is None:
                self._iterator = loop.waiting(lambda: iter(self.data.dataset(position.epoch, position.batch)))
            while steps and self._iterator is not None:
                before = int(loop.step)
                wanted = self._profile.allowed(before, min(steps, loop.config.steps_per_call))
                with self._profile.around(before):
                    done, examples = loop.train_some(self._iterator, wanted)
                if not done and not position.batch:
                    raise ColonnadeError("The input_fn's dataset has no batch. Check its files and filters.")
                position.batch, position.examples = position.batch + done, position.examples + examples
                self.seen, steps = self.seen + examples, steps - done
                if done < wanted:
                    self._iterator = None
                    position.epoch, position.batch = position.epoch + 1, 0
        passed, waited = time.perf_counter() - started, loop.take_seconds_waited()
        for name, more in (("train", passed), ("input", waited), ("step", passed - waited)):
            self.seconds[name] += more
        return self._iterator is None


def _evaluate(estimator: Estimator, eval_spec: EvalSpec, number: int, train: _Batches) -> dict[str, Any]:
    """Returns the line of `metrics.jsonl`."""
    started, loop = time.perf_counter(), estimator.loop
    loop.finish_rows()
    examples, loop.position.examples = loop.position.examples, 0
    loop.position.evaluated_step = int(loop.step)
    loss, speed = loop.take_loss_sum() / max(examples, 1), train.seen / max(train.seconds["train"], 1e-9)
    data = estimator.batches(eval_spec.input_fn or "valid", steps=eval_spec.steps)
    valid = estimator.metrics(loop.score(data), data)
    keep_best(estimator, valid, number)
    run_exporters(estimator, eval_spec, valid)
    print(f"step {int(loop.step)}: loss {loss:.5f}  {summary_line(estimator, valid, speed, number)}{waiting(train.seconds)}", flush=True)
    seconds = {**train.seconds, "save": loop.take_seconds_saved(), "evaluate": time.perf_counter() - started}
    train.seen, train.seconds = 0, dict.fromkeys(train.seconds, 0.0)
    return {"epoch": number, "step": int(loop.step), "loss": loss, "examples_per_second": speed, "seconds": seconds, "valid": valid}
