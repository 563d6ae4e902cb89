"""What a model is trained for: loss, metrics, which of them decides, and what a served score is called."""

from __future__ import annotations

import abc
from typing import Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs.spec import FeatureSpec
from trainer import metrics


class RankingTask(abc.ABC):
    """A task over logits `[B]` and labels `[B]`.

    Attributes:
        name: As in result.json.
        monitor: The validation metric that picks the best checkpoint.
        mode: Whether a better value of it is larger ("max") or smaller ("min").
    """

    name: str
    monitor: str
    mode: Literal["max", "min"]

    @abc.abstractmethod
    def losses(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each example, `[B]` float32."""

    @abc.abstractmethod
    def metrics(self, labels: NDArray, logits: NDArray, groups: NDArray | None) -> dict[str, float]:
        """Returns the metrics of a whole split, each over all N rows."""

    def is_better(self, value: float, best: float | None) -> bool:
        """Whether `value` of the monitored metric beats `best`; a value that is not defined beats nothing."""
        if np.isnan(value):
            return False
        return best is None or (value > best if self.mode == "max" else value < best)


class BinaryTask(RankingTask):
    """Labels 0 and 1; the logits' sigmoid is the probability of a 1."""

    name = "binary"
    monitor = "auc"
    mode = "max"

    def losses(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Returns the log loss of each example, in nats."""
        return tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)

    def metrics(self, labels: NDArray, logits: NDArray, groups: NDArray | None) -> dict[str, float]:
        """See `trainer.metrics.binary_metrics`."""
        return metrics.binary_metrics(labels, logits, groups)


class RegressionTask(RankingTask):
    """Any number as label; the model's output is the prediction itself."""

    name = "regression"
    monitor = "rmse"
    mode = "min"

    def losses(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Returns the squared error of each example."""
        return tf.math.squared_difference(labels, logits)

    def metrics(self, labels: NDArray, logits: NDArray, groups: NDArray | None) -> dict[str, float]:  # noqa: ARG002 (no group metric)
        """See `trainer.metrics.regression_metrics`."""
        return metrics.regression_metrics(labels, logits)


TASKS: dict[str, type[RankingTask]] = {"binary": BinaryTask, "regression": RegressionTask}


def task_of(spec: FeatureSpec) -> RankingTask:
    """Returns the task that the spec's label asks for."""
    return TASKS[spec.label.task]()
