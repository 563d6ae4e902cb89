"""The training loop: one step function, run several times a call, and all state in one flat list for the checkpoint."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf
from pydantic import BaseModel

from feature_specs.errors import ColonnadeError
from trainer.config import TrainingConfig
from trainer.groups import optimizer_groups
from trainer.models.base import MatchingModel, RankingModel
from trainer.precision import LossScale, clip_by_global_norm
from trainer.scoring import Batches, Scorer, Scores
from trainer.tasks import Task

_T = TypeVar("_T")


class Position(BaseModel):
    """Where training stands; saved in every checkpoint, so that a killed run goes on from there."""

    epoch: int = 0
    batch: int = 0
    best: float | None = None
    best_epoch: int = -1
    waited: int = 0
    out_of_patience: bool = False
    examples: int = 0
    evaluated_step: int = -1


class Loop:
    """Trains and scores a model.

    Args:
        model: A scorer, not yet built.
        task: Gives the loss.
        config: How to train.
        element_spec: Of the batches; the first part is that of the features.

    Attributes:
        scorer: Scores batches with the present weights; all rows have to be up to date, after `finish_rows`.
    """

    def __init__(self, model: RankingModel | MatchingModel, task: Task, config: TrainingConfig, element_spec: tuple) -> None:
        self.model, self.task, self.config = model, task, config
        self.strategy = tf.distribute.get_strategy()
        if self.strategy.num_replicas_in_sync > 1:
            raise ColonnadeError(
                f"Row-wise embedding optimizers train on one replica. Received a strategy with {self.strategy.num_replicas_in_sync}."
            )
        self.position = Position()
        self._seconds_waited = self._seconds_saved = 0.0
        with self.strategy.scope():
            self._some_rows = {name: _placeholder(spec) for name, spec in element_spec[0].items()}
            task.build(model, self._some_rows)
            self.scorer = Scorer(model)
            self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
            self._loss_sum = tf.Variable(0.0, dtype=tf.float64, trainable=False)
            self._position = tf.Variable("", dtype=tf.string, trainable=False)
            self._groups = optimizer_groups(model, config, self.step)
            self._loss_scale = LossScale() if config.mixed_precision == "float16" else None
        self.weights: list[tf.Variable] = [variable.value for variable in model.variables]
        dense_state = [variable for group in self._groups for variable in group.dense_state]
        row_state = [variable for group in self._groups for variable in group.rowwise.variables]
        own_state = [*(self._loss_scale.variables if self._loss_scale else []), self.step, self._loss_sum, self._position]
        self.state: list[tf.Variable] = [*self.weights, *dense_state, *row_state, *own_state]

    @property
    def parameters(self) -> int:
        """Number of trained parameters."""
        return int(sum(np.prod(variable.shape) for variable in self.model.trainable_variables))

    def start_at(self, logit: float) -> None:
        """Moves the bias of the logits by `logit`, so that training does not begin with the way there; to be called before the first step.

        A bias on the wide side stays as it is: FTRL takes it that its weights began at 0, and is soon there.
        """
        bias = self.model.output_bias(self._some_rows)
        if bias is not None and not any(bias is variable for layer in self.model.wide_layers for variable in layer.trainable_variables):
            bias.assign(bias.numpy() + np.float32(logit))

    def train(self, iterator: object, steps: int) -> None:
        """Runs `steps` steps on the next batches of `iterator`.

        Raises:
            ColonnadeError: The loss is no longer finite.
        """
        self._seconds_waited += float(self._train(iterator, tf.constant(steps, tf.int64)))
        self._check_loss(steps)

    def train_some(self, iterator: object, steps: int) -> tuple[int, int]:
        """Runs up to `steps` steps, fewer where `iterator` ends; returns how many, and the number of their examples.

        Raises:
            ColonnadeError: The loss is no longer finite.
        """
        done, examples, waited = self._train_some(iterator, tf.constant(steps, tf.int64))
        self._seconds_waited += float(waited)
        self._check_loss(steps)
        return int(done), int(examples)

    def _check_loss(self, steps: int) -> None:
        if not np.isfinite(self._loss_sum.numpy()):
            raise ColonnadeError(
                f"Training stopped: the loss is not finite within the {steps} steps before step {int(self.step)}. "
                "Lower --learning_rate, lower clip_norm, or look for extreme numbers in the data."
            )

    @tf.function(reduce_retracing=True)
    def _train(self, iterator: Any, steps: tf.Tensor) -> tf.Tensor:  # noqa: ANN401 (of a dataset)
        waited = tf.constant(0.0, tf.float64)
        for _ in tf.range(steps):
            begun = _now()
            with tf.control_dependencies([begun]):
                batch = next(iterator)
            batch, seconds = _timed(batch, begun)
            waited += seconds
            self.strategy.run(self._train_step, args=batch)
        return waited

    @tf.function(reduce_retracing=True)
    def _train_some(self, iterator: Any, steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:  # noqa: ANN401 (of a dataset)
        done, examples, waited = tf.constant(0, tf.int64), tf.constant(0, tf.int64), tf.constant(0.0, tf.float64)
        for _ in tf.range(steps):
            begun = _now()
            with tf.control_dependencies([begun]):
                # An iterator that ends would fail the whole call, with its last steps under way.
                following = iterator.get_next_as_optional()
            is_there, seconds = _timed(following.has_value(), begun)
            waited += seconds
            if is_there:
                batch = following.get_value()
                self.strategy.run(self._train_step, args=batch)
                done += 1
                examples += tf.size(batch[1], tf.int64)
        return done, examples, waited

    def _train_step(self, features: dict[str, tf.Tensor], labels: Any, weights: tf.Tensor | None = None) -> None:  # noqa: ANN401
        with ExitStack() as stack:
            lookups = [stack.enter_context(group.rowwise.answering_lookups()) for group in self._groups]
            tape = stack.enter_context(tf.GradientTape())
            losses, weights = self.task.training_losses(self.model, features, labels, weights)
            loss = tf.reduce_mean(losses) if weights is None else _weighted_mean(losses, weights)
            target = loss * self._loss_scale.scale if self._loss_scale else loss
        dense, rows = tape.gradient(
            target,
            (
                [[variable.value for variable in group.dense] for group in self._groups],
                [[lookup.weights for lookup in each] for each in lookups],
            ),
        )
        dense = [group.penalised(each) for group, each in zip(self._groups, dense, strict=True)]
        updates = [group.rowwise.updates(*pair) for group, *pair in zip(self._groups, lookups, rows, strict=True)]
        gradients = [*tf.nest.flatten(dense), *(update.gradient for each in updates for update in each)]
        if self._loss_scale:
            gradients = self._loss_scale.unscale(gradients)
        if self.config.clip_norm:
            gradients = clip_by_global_norm(gradients, self.config.clip_norm)
        left = iter(gradients)
        for group in self._groups:
            group.apply_dense(list(itertools.islice(left, len(group.dense))))
        for group, each in zip(self._groups, updates, strict=True):
            for update in each:
                group.rowwise.apply(update._replace(gradient=next(left)))
        total = tf.reduce_sum(losses) if weights is None else loss * tf.cast(tf.shape(tf.nest.flatten(labels)[0])[0], loss.dtype)
        self._loss_sum.assign_add(tf.cast(total, tf.float64))
        self.step.assign_add(1)

    def has_ended(self, epochs: int, max_steps: int | None, *, evaluated: bool = True) -> bool:
        """Whether nothing is left to do for these limits; an epoch begun by training alone is still to be evaluated."""
        position = self.position
        out_of_steps = max_steps is not None and int(self.step) >= max_steps and not (evaluated and position.batch > 0)
        return position.epoch >= epochs or position.out_of_patience or out_of_steps

    def waiting(self, found: Callable[[], _T]) -> _T:
        """Returns what `found` returns, and counts its time as waiting for batches."""
        started = time.perf_counter()
        result = found()
        self._seconds_waited += time.perf_counter() - started
        return result

    def take_seconds_waited(self) -> float:
        """Returns the seconds that training waited for batches since the last call."""
        total, self._seconds_waited = self._seconds_waited, 0.0
        return total

    def take_seconds_saved(self) -> float:
        """Returns the seconds that `save` took since the last call."""
        total, self._seconds_saved = self._seconds_saved, 0.0
        return total

    def take_loss_sum(self) -> float:
        """Returns the sum of all examples' losses since the last call; each counts its batch's mean where rows have weights."""
        total = float(self._loss_sum.numpy())
        self._loss_sum.assign(0.0)
        return total

    def lower_rates(self) -> None:
        """Lowers the learning rates as the configuration says for an epoch that was no better; all rows have to be up to date."""
        if self.config.plateau_factor < 1:
            for group in self._groups:
                group.lower_rate(self.config.plateau_factor, self.config.min_learning_rate)

    def finish_rows(self) -> None:
        """Brings all table rows up to date; to be called before scoring."""
        for group in self._groups:
            group.rowwise.finish()

    def score(self, data: Batches, max_batches: int = -1) -> Scores:
        """Returns the logits of all rows of `data` (of the first `max_batches` batches), in its order, with dropout off."""
        return self.scorer.score(data, max_batches)

    def save(self, folder: Path) -> None:
        """Writes everything that resuming needs into `folder`, then lets go of the checkpoint before the last."""
        started = time.perf_counter()
        self._position.assign(self.position.model_dump_json())
        _manager(folder, self.state).save(checkpoint_number=int(self.step))
        self._seconds_saved += time.perf_counter() - started

    def restore(self, folder: Path) -> bool:
        """Reads the newest checkpoint of `folder`; returns whether there is one."""
        if not _restore(folder, self.state):
            return False
        self.position = Position.model_validate_json(self._position.numpy())
        return True

    def save_weights(self, folder: Path) -> None:
        """Writes the model's variables alone."""
        _manager(folder, self.weights).save(checkpoint_number=int(self.step))

    def restore_weights(self, folder: Path) -> bool:
        """Reads what `save_weights` wrote; returns whether there is any."""
        return _restore(folder, self.weights)


def _now() -> tf.Tensor:
    """Returns the time of `time.perf_counter`; tf.timestamp refuses to run where ops are to be deterministic."""
    return tf.ensure_shape(tf.numpy_function(time.perf_counter, [], tf.float64), [])


def _timed(found: Any, begun: tf.Tensor) -> tuple[Any, tf.Tensor]:  # noqa: ANN401 (what was waited for)
    """Returns `found`, which nothing gets before the time is taken, and the seconds that it came after `begun`."""
    with tf.control_dependencies(tf.nest.flatten(found, expand_composites=True)):
        ended = _now()
    with tf.control_dependencies([ended]):
        return tf.nest.map_structure(tf.identity, found, expand_composites=True), ended - begun


def _weighted_mean(losses: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Returns sum(w * loss) / sum(w) of a batch; 0, without a gradient, where all weights are."""
    return tf.math.divide_no_nan(tf.reduce_sum(weights * losses), tf.reduce_sum(weights))


def _placeholder(spec: tf.TypeSpec) -> Any:  # noqa: ANN401 (a tensor of the kind that the spec is of)
    """Returns two rows of nothing in particular, which a model is built on."""
    shape = [2 if size is None else size for size in spec.shape]
    if isinstance(spec, tf.SparseTensorSpec):
        return tf.SparseTensor(tf.zeros([0, len(shape)], tf.int64), tf.zeros([0], spec.dtype), shape)
    return tf.zeros(shape, spec.dtype)


def _manager(folder: Path, variables: list[tf.Variable]) -> tf.train.CheckpointManager:
    # A flat list: a Checkpoint of the model itself loses variables of layers inside lists and dropout's seeds.
    return tf.train.CheckpointManager(tf.train.Checkpoint(state=variables), str(folder), max_to_keep=2)


def _restore(folder: Path, variables: list[tf.Variable]) -> bool:
    manager = _manager(folder, variables)
    if manager.latest_checkpoint is None:
        return False
    status = None
    try:
        status = manager.checkpoint.restore(manager.latest_checkpoint)
        status.assert_consumed()
    except (AssertionError, IndexError, ValueError, tf.errors.OpError) as error:
        if status is not None:
            status.expect_partial()  # or TensorFlow warns of every variable when the program ends
        reason = " ".join(str(error).split())[:200]
        raise ColonnadeError(
            f"Checkpoint {manager.latest_checkpoint!r} does not fit this model ({reason}). It is damaged, or another version of this "
            "program wrote it (see versions.json): use that version, or another --run_dir."
        ) from error
    return True
