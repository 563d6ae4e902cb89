"""How long to train and how to evaluate, as users of estimators say it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import tensorflow as tf

from trainer.config import check_profile_steps
from trainer.exporters import Exporter

Split = Literal["train", "valid", "test"]
InputFn = Callable[[], tf.data.Dataset]


@dataclass(frozen=True)
class TrainSpec:
    """What to train on, and how long; what is not given comes from the run's configuration.

    Attributes:
        input_fn: For estimators of columns: returns a dataset of batches `(features, labels)`, the same ones each time it is called.
        max_steps: Optimizer steps, at most, counted over all resumptions.
        epochs: Passes over the training split or over the dataset, at most.
        profile_steps: First and last step of a TensorBoard profile in the run's `events/`; steps count from 1, over all resumptions.

    Raises:
        ColonnadeError: `profile_steps` is no range of steps.
    """

    input_fn: InputFn | None = None
    max_steps: int | None = None
    epochs: int | None = None
    profile_steps: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Checks the range of steps."""
        if self.profile_steps is not None:
            check_profile_steps(*self.profile_steps)


@dataclass(frozen=True)
class EvalSpec:
    """What to evaluate on, when training is good enough, and what is exported meanwhile.

    Estimators of a spec evaluate after each epoch; those of columns after each pass over the dataset and every `every_steps` steps.

    Attributes:
        input_fn: For estimators of columns: returns a dataset of batches `(features, labels)`.
        steps: Batches of the dataset that are scored; all where not given.
        exporters: One, or several with different names.
        split: For estimators of a spec: what is evaluated. The test split is no choice: it is scored once, at the end.
        patience: Evaluations without a better metric before training stops; the run's configuration where not given.
        every_steps: For estimators of columns: optimizer steps between evaluations; the run's `checkpoint_steps` where not given.
    """

    input_fn: InputFn | None = None
    steps: int | None = None
    exporters: Exporter | Sequence[Exporter] = ()
    split: Literal["valid", "train"] = "valid"
    patience: int | None = None
    every_steps: int | None = None

    @property
    def all_exporters(self) -> tuple[Exporter, ...]:
        """The exporters, as a tuple."""
        return (self.exporters,) if isinstance(self.exporters, Exporter) else tuple(self.exporters)
