"""What an estimator does otherwise where the spec is for matching: its data, task, batches and metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from feature_specs.errors import ColonnadeError
from feature_specs.spec import FeatureSpec
from preprocessing.artifacts import DataDirectory
from trainer.config import TrainingConfig
from trainer.data import shape_of
from trainer.layers import Inputs
from trainer.layers.matching import WHOLE_HISTORY, history_of
from trainer.matching.batches import InteractionBatches
from trainer.matching.catalogue import Catalogue
from trainer.matching.evaluation import EvaluationRows, Evaluator, short_users
from trainer.matching.protocols import check_protocols, protocol_text
from trainer.matching.rows import read_interactions, read_rows
from trainer.matching.task import MatchingTask
from trainer.models.base import MatchingModel

Metrics = dict[str, float] | dict[str, dict[str, float]]
_NEGATIVES_BESIDE_A_FILE = "sampled:99"


class MatchingSide:
    """The matching half of an estimator.

    Args:
        spec: For matching.
        folder: Of the data or of the run; it has `items.parquet`.
        table_rows: Rows of each table.
        pretrained: The vectors that tables begin with.
        training: How to train.
    """

    def __init__(
        self, spec: FeatureSpec, folder: Path, table_rows: Mapping[str, int], pretrained: Mapping[str, Path], training: TrainingConfig
    ) -> None:
        self.spec, self.training = spec, training
        check_protocols(spec, training.protocols, training.cutoffs)
        self.catalogue = Catalogue.load(folder, spec)
        self.task = MatchingTask(training, self.catalogue)
        by_id = self.catalogue.by_id(table_rows[spec.item_feature.table_name])
        self.inputs = Inputs(spec, table_rows, pretrained, by_id)
        self._rows: dict[tuple[str, int], EvaluationRows] = {}
        self._evaluator: Evaluator | None = None

    @property
    def element_spec(self) -> tuple[dict[str, tf.TensorSpec], None]:
        """The types of the user features of a batch."""
        return user_features(self.spec), None

    @property
    def item_spec(self) -> dict[str, tf.TensorSpec]:
        """The types of the item-side features of C items."""
        return {name: tf.TensorSpec([None, *values.shape[1:]], values.dtype) for name, values in self.catalogue.features.items()}

    def batches(self, shards: Sequence[Path], model: MatchingModel, batch_size: int) -> InteractionBatches:
        """Returns training shards as batches that fit the model and its loss."""
        return InteractionBatches(
            shards,
            self.spec,
            self.catalogue,
            batch_size=batch_size,
            examples=model.examples,
            max_length=model.max_length,
            num_targets=model.num_targets,
            negatives=self.task.sampling(model),
            seed=self.training.seed,
        )

    def fit_closed_form(self, shards: Sequence[Path], model: MatchingModel) -> None:
        """Sets the weights of a model that is not trained by gradients, from all training interactions."""
        model.fit_closed_form(read_interactions(shards), self.catalogue)

    def evaluate(self, data: DataDirectory, model: MatchingModel, split: str, max_length: int | None = None) -> dict[str, dict[str, float]]:
        """Returns the metrics of a split by protocol, the first of which picks the best epoch.

        Args:
            data: What the run is trained on.
            model: With the weights to be evaluated.
            split: "valid" or "test".
            max_length: How much of each history the model gets; as much as it reads where not given.
        """
        if split == "train":
            raise ColonnadeError('Matching is evaluated on what comes next. Name a split: "valid" or "test".')
        with self._scoring(data, model, split, max_length) as (evaluator, rows):
            return evaluator.evaluate(rows, self.protocols(rows), self.training.cutoffs)

    def served_length(self, model: MatchingModel) -> int | None:
        """Returns how much of a history an export passes on, as the spec says, where that may be less than the model reads; else None."""
        longest = self.spec.history.max_length if self.spec.history else model.max_length
        return longest if longest < model.max_length else None

    def check_users(self, data: DataDirectory, model: MatchingModel) -> None:
        """Raises a ColonnadeError where the model knows users by their id alone and a split has others: before it is trained."""
        if any(getattr(layer, "needs_users", False) for layer in model._flatten_layers()):
            for split in ("valid", "test"):
                if data.num_rows(split):
                    with self._scoring(data, model, split) as (evaluator, rows):
                        evaluator.check_users(rows)

    @contextmanager
    def _scoring(
        self, data: DataDirectory, model: MatchingModel, split: str, max_length: int | None = None
    ) -> Iterator[tuple[Evaluator, EvaluationRows]]:
        """Gives what scores a split, and its rows; inside, what the model refuses is a clear error."""
        key = split, model.max_length if max_length is None else max_length
        if key not in self._rows:
            self._rows[key] = read_rows(data.shards(split), self.spec, self.catalogue, key[1])
        if self._evaluator is None:
            self._evaluator = Evaluator(model, self.catalogue)
        try:
            yield self._evaluator, self._rows[key]
        except tf.errors.InvalidArgumentError as error:
            raise ColonnadeError(f"The {split} split cannot be scored: {_said(error)}") from error

    def protocols(self, rows: EvaluationRows) -> tuple[str, ...]:
        """Returns by what protocols rows are evaluated: without listed candidates, drawn ones stand for them."""
        return tuple(_NEGATIVES_BESIDE_A_FILE if name == "file" and rows.candidates is None else name for name in self.training.protocols)

    def protocol_texts(self, split: str) -> dict[str, str]:
        """Returns what was done on a split that has been evaluated, by protocol."""
        rows = next(rows for (name, _), rows in self._rows.items() if name == split)
        count = self.catalogue.num_items
        return {name: protocol_text(name, self.spec.split.type, count, short_users(rows, name, count)) for name in self.protocols(rows)}


def check_length(spec: FeatureSpec, max_length: int) -> None:
    """Raises a ColonnadeError where a model reads more of a history than an export would pass on to it.

    It would be trained and evaluated on what it is never served.
    """
    history = spec.history
    if history is not None and history.max_length < max_length != WHOLE_HISTORY:
        raise ColonnadeError(
            f"max_length should be {history.max_length} or less, as many items as {history.name!r} of the spec {spec.name!r} keeps of a "
            f"history: an export passes on no more. Received: {max_length}. Choose less (--hparams max_length={history.max_length}), or "
            f"give {history.name!r} a larger max_length in the spec."
        )


def check_history(model: keras.Model, inputs: Any) -> None:  # noqa: ANN401 (`Inputs`, or what an estimator of columns has)
    """Raises a ColonnadeError where a model reads a history that the spec has not: before Keras wraps it into its own words."""
    if isinstance(model, MatchingModel) and model.max_length:
        history_of(inputs.spec)


def user_features(spec: FeatureSpec) -> dict[str, tf.TensorSpec]:
    """Returns the types of the user features of a batch, the history included."""
    columns = [column for feature in spec.features if feature.name in spec.user_names for column in feature.outputs]
    features = {column.name: tf.TensorSpec(shape_of(column), tf.as_dtype(column.dtype)) for column in columns}
    if spec.history is not None:
        features[spec.history.name] = tf.TensorSpec([None, None], tf.int64)
    return features


def only_or_all(metrics: dict[str, dict[str, float]]) -> Metrics:
    """Returns the metrics of the one protocol, or those of all by protocol."""
    return next(iter(metrics.values())) if len(metrics) == 1 else metrics


def first_of(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Returns the metrics of the first protocol."""
    return dict(next(iter(metrics.values())))


def _said(error: tf.errors.InvalidArgumentError) -> str:
    """Returns the text of an assertion without TensorFlow's list of operations."""
    _, asserted, text = str(error.message).partition("assertion failed: [")
    return " ".join((text.partition("\n")[0].rstrip("]").replace("] [", " ") if asserted else str(error.message)[:300]).split())
