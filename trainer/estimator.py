"""Estimator: one model on one source of data in one run directory, with the verbs that estimator users know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs.errors import ColonnadeError
from preprocessing.artifacts import DataDirectory
from trainer.column_source import ColumnSource
from trainer.config import RunConfig, TrainingConfig
from trainer.data import ParquetBatches, element_spec
from trainer.evaluation import SCORING_BATCH, check_evaluated, finish_exporters, group_codes
from trainer.exporters import BestExporter, FinalExporter, LatestExporter
from trainer.fitting import fit_epochs
from trainer.input_fns import InputFnBatches
from trainer.layers import Inputs
from trainer.loop import Loop
from trainer.matching.batches import InteractionBatches
from trainer.matching.side import MatchingSide, check_history, check_length, first_of
from trainer.metrics import sigmoid
from trainer.models.registry import check_kind, make_model
from trainer.precision import paying_precision, precision_policy
from trainer.quantised import check_stored, exported_model, round_tables
from trainer.run import RunDirectory
from trainer.scoring import Scores
from trainer.specs import EvalSpec, InputFn, Split, TrainSpec
from trainer.step_fitting import fit_steps
from trainer.tasks import RankingTask, Task, make_task, task_of
from trainer.warm_start import has_checkpoint, restore_best, warm_up

__all__ = [
    "BestExporter",
    "Estimator",
    "EvalSpec",
    "FinalExporter",
    "LatestExporter",
    "RunConfig",
    "TrainSpec",
    "TrainingConfig",
    "train_and_evaluate",
]


class Estimator:
    """Trains, evaluates, predicts with and exports one model.

    It is made of a run configuration, and then trained on the data directory that this names; or of `tf.feature_column` columns, and then
    trained on input_fns: functions that return a `tf.data.Dataset` of batches `(features, labels)` or `(features, labels, weights)`. The
    run directory holds all state: an estimator made again on it goes on where the last one stopped.

    Args:
        config: Which model on which data, trained how; for columns, `hyper_parameters` and `training` alone count.
        run_dir: Where everything goes; made if missing.
        model: For columns: registered name.
        columns: The columns; see `trainer.layers.ColumnInputs` for how one list is split.
        linear_columns: Those of the linear term, where `columns` are to give vectors alone.
        hyper_parameters: For columns: of the model; they win over those of `config`.
        task: For columns: "binary" (labels 0 and 1) or "regression".

    Raises:
        ColonnadeError: The data directory is not usable, or the run directory holds another run.

    Example:
        >>> estimator = Estimator(config, "runs/my-run")                             # doctest: +SKIP
        >>> train_and_evaluate(estimator, TrainSpec(epochs=5), EvalSpec())           # doctest: +SKIP
        >>> estimator.evaluate("test")["auc"]                                        # doctest: +SKIP
        >>> estimator = Estimator(model="wide_deep", columns=[...], run_dir="runs/b")               # doctest: +SKIP
        >>> train_and_evaluate(estimator, TrainSpec(train_fn), EvalSpec(eval_fn))    # doctest: +SKIP
    """

    matching: MatchingSide | None = None
    _columns: ColumnSource | None = None

    def __init__(
        self,
        config: RunConfig | None = None,
        run_dir: str | Path | None = None,
        *,
        model: str | None = None,
        columns: Sequence[Any] | None = None,
        linear_columns: Sequence[Any] | None = None,
        hyper_parameters: Mapping[str, Any] | None = None,
        task: Literal["binary", "regression"] = "binary",
    ) -> None:
        if run_dir is None:
            raise ColonnadeError("An estimator needs a run directory. Pass run_dir=....")
        if columns is None:
            if config is None or (model, linear_columns, hyper_parameters) != (None, None, None):
                raise ColonnadeError("Pass a RunConfig with the model's name and its data, or columns=[...] and model=....")
            self._open_data(config, Path(run_dir))
        else:
            source = ColumnSource(columns, linear_columns)
            self._columns = source
            config = source.run_config(config or RunConfig(), model, hyper_parameters, task)
            self._make_model(config, make_task(task, config.training), source.inputs, source.element_spec)
            self.run = RunDirectory.create(Path(run_dir), config, None)
        self.config = self.run.config
        self.loop.restore(self.run.last)

    def _open_data(self, config: RunConfig, run_dir: Path) -> None:
        self.data = DataDirectory.open(config.data_dir)
        self.spec = self.data.spec
        if self.spec.fingerprint != config.fingerprint:
            raise ColonnadeError(
                f"{config.data_dir!r} was built for spec {self.spec.fingerprint[:12]}, the run is for {config.fingerprint[:12]}. "
                "Preprocess again or choose another --data_dir."
            )
        # The model first: settings that it cannot be made with should leave no run directory behind.
        self._make_model_of_spec(config, self.data.path, self.data.table_rows, self.data.pretrained)
        if self.matching is not None:
            check_length(self.spec, self.loop.model.max_length)
        if self.task.name == "regression":
            self.loop.start_at(self.data.statistics["label"]["train"])
        if not has_checkpoint(run_dir):
            config = config.model_copy(update={"data_digest": self.data.digest})
            warm_up(self.loop.model, [Estimator.load(path) for path in config.warm_start], config)
        self.run = RunDirectory.create(run_dir, config, self.data)

    @classmethod
    def load(cls, run_dir: str | Path) -> Estimator:
        """Returns the estimator of an existing run; data and checkpoints are read when they are first needed."""
        estimator, run = cls.__new__(cls), RunDirectory.open(run_dir)
        if run.spec is None:
            raise ColonnadeError(
                f"{str(run_dir)!r} is a run over columns, which only your program has. Make the estimator again as it was made: "
                "Estimator(model=..., columns=[...], run_dir=...)."
            )
        estimator.run, estimator.spec = run, run.spec
        estimator._make_model_of_spec(run.config, run.path, run.table_rows, run.pretrained)
        return estimator

    def _make_model_of_spec(self, config: RunConfig, folder: Path, table_rows: Mapping[str, int], pretrained: Mapping[str, Path]) -> None:
        check_kind(config.model, self.spec)
        if self.spec.is_matching:
            self.matching = MatchingSide(self.spec, folder, table_rows, pretrained, config.training)
            self._make_model(config, self.matching.task, self.matching.inputs, self.matching.element_spec)
            return
        inputs = Inputs(self.spec, table_rows, pretrained)
        self._make_model(config, task_of(self.spec, config.training), inputs, element_spec(self.spec))

    def _make_model(self, config: RunConfig, task: Task, inputs: object, elements: tuple) -> None:
        self.config, self.task = config, task
        keras.utils.set_random_seed(self.config.training.seed)
        tf.config.experimental.enable_op_determinism()
        with precision_policy(paying_precision(self.config.training.mixed_precision)):
            model = make_model(config.model, inputs, config.hyper_parameters)
            check_history(model, inputs)
            check_stored(model, config.export_dtype)
            self.loop = Loop(model, self.task, self.config.training, elements)

    @property
    def model(self) -> keras.Model:
        """The model with the best weights so far (the last ones, where none have been evaluated): features to logits `[B]`."""
        self._prepare_scoring()
        return self.loop.model

    def _prepare_scoring(self, table_dtype: str = "float32") -> None:
        restore_best(self.loop, self.run)
        round_tables(self.loop.model, table_dtype)

    def batches(
        self,
        data: Split | InputFn,
        *,
        batch_size: int = SCORING_BATCH,
        shuffle: bool = False,
        steps: int | None = None,
        labelled: bool = True,
    ) -> Any:  # noqa: ANN401 (ParquetBatches or InputFnBatches)
        """Returns the rows of a split as batches of transformed features, or what an input_fn gives (its first `steps` batches)."""
        if self._columns is not None:
            if isinstance(data, str):
                raise ColonnadeError(f"This estimator is made of columns and has no {data!r} split. Pass an input_fn.")
            return self._columns.batches(data, task=self.task.name, limit=steps, labelled=labelled)
        if not isinstance(data, str):
            raise ColonnadeError('This estimator has a data directory. Name a split: "train", "valid" or "test".')
        return self._read_split(data, batch_size, shuffle)

    def _read_split(self, split: str, batch_size: int, shuffle: bool) -> ParquetBatches | InteractionBatches:
        self._open_split(split)
        training = self.config.training
        if self.matching is not None:
            return self.matching.batches(self.data.shards(split), self.loop.model, batch_size)
        shuffle_rows = training.shuffle_rows if shuffle else 0
        return ParquetBatches(self.data.shards(split), self.spec, batch_size, shuffle_rows=shuffle_rows, seed=training.seed)

    def _open_split(self, split: str) -> None:
        if not hasattr(self, "data"):
            self.data = DataDirectory.open(self.config.data_dir, expected=self.spec)
            if self.data.digest != self.config.data_digest:
                raise ColonnadeError(
                    f"{self.config.data_dir!r} holds other data ({self.data.digest[:12]}) than the run was trained on "
                    f"({self.config.data_digest[:12]}). Build it again from the same raw files."
                )
        if not (self.data.shards(split) and self.data.num_rows(split)):
            raise ColonnadeError(f"The {split} split of {str(self.data.path)!r} has no rows. Change split.fractions in the spec.")

    def train(self, train_spec: TrainSpec | InputFn | None = None, *, max_steps: int | None = None) -> int:
        """Trains without evaluation, from where the run stands; returns the number of steps done in all."""
        spec = train_spec if isinstance(train_spec, TrainSpec) else TrainSpec(train_spec, max_steps=max_steps)
        self._fit(spec, None)
        return int(self.loop.step)

    def fit_closed_form(self) -> None:
        """Sets the weights of a matching model that is not trained by gradients."""
        if self.matching is not None:
            self.matching.fit_closed_form(self.data.shards("train"), self.loop.model)

    def _fit(self, train_spec: TrainSpec, eval_spec: EvalSpec | None) -> None:
        self.run.check_own()
        fit = fit_epochs if self._columns is None else fit_steps
        fit(self, train_spec, eval_spec)

    def evaluate(self, data: Split | InputFn = "valid", steps: int | None = None, table_dtype: str = "float32") -> dict[str, float]:
        """Returns the metrics of the best weights on a split, or on (the first `steps` batches of) what an input_fn gives.

        With tables rounded to `table_dtype` ("bfloat16", "int8"), as in an export of that type.
        """
        return self.evaluate_parts(data, steps, table_dtype)[0]

    def evaluate_by_protocol(self, split: str) -> dict[str, dict[str, float]]:
        """Returns the metrics of the present weights of a matching model by protocol; the first picks the best epoch."""
        if self.matching is None:
            raise ColonnadeError("Ranking has no protocols of evaluation. Call evaluate.")
        self._open_split(split)
        return self.matching.evaluate(self.data, self.loop.model, split)

    def evaluate_parts(
        self, data: Split | InputFn, steps: int | None = None, table_dtype: str = "float32"
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Returns the metrics of the best weights, and each part's share in the logits (mean absolute value, as a fraction).

        Of a matching model the metrics of the first protocol, and no parts.
        """
        if self.matching is not None:
            self._prepare_scoring(table_dtype)
            return first_of(self.evaluate_by_protocol(str(data))), {}
        batches = self.batches(data, steps=steps)
        self._prepare_scoring(table_dtype)
        scores = self.loop.score(batches)
        return self.metrics(scores, batches), scores.part_shares

    def predict(self, data: Split | InputFn = "test") -> Iterator[dict[str, NDArray]]:
        """Yields the best weights' scores, batch by batch: logits and probabilities `[B]`, or predictions; labels are not needed."""
        if self.matching is not None:
            raise ColonnadeError("A matching model scores a user against all items: export it, and call `retrieve` or serving.recommend.")
        batches = self.batches(data, labelled=False)
        self._prepare_scoring()
        for logits in self.loop.scorer.logits(batches):
            yield {"predictions": logits} if self.task.name == "regression" else {"logits": logits, "probabilities": sigmoid(logits)}

    def export_saved_model(self, export_base: str | Path | None = None, dtype: str | None = None) -> Path:
        """Writes the best weights, with all that turns raw values into scores, as a SavedModel; returns the new version's folder.

        Embedding tables are stored in `dtype`: "float32", "bfloat16" or "int8"; the run's `export_dtype` where not given.
        """
        self._prepare_scoring()
        return self.export_present_weights(Path(export_base) if export_base else self.run.path / "export", dtype)

    def export_present_weights(self, export_base: Path, dtype: str | None = None) -> Path:
        """Does the same with the weights that are in the model now."""
        scorer = exported_model(self.loop.model, dtype or self.config.export_dtype)
        if self._columns is not None:
            return self._columns.export(scorer, self.task.name, export_base, self.run.path)
        from trainer.exporting import export_of_spec

        return export_of_spec(scorer, self.spec, self.run.path, export_base)

    def keep_sample(self, batches: InputFnBatches) -> None:
        """Keeps the first rows, as clients would send them, to check exports with."""
        if self._columns is not None:
            self._columns.keep_sample(batches, self.run.path)

    def metrics(self, scores: Scores, data: ParquetBatches | InputFnBatches) -> dict[str, float]:
        """Returns the task's metrics of all rows of `data`."""
        if not isinstance(self.task, RankingTask):
            raise TypeError("a matching model is evaluated by protocol")
        return self.task.metrics(scores.labels, scores.logits, group_codes(data.read_column("_group")))


def train_and_evaluate(estimator: Estimator, train_spec: TrainSpec, eval_spec: EvalSpec) -> dict[str, float]:
    """Trains with evaluations in between, keeps the best weights, exports, stops early; returns the best weights' validation metrics.

    Killed at any point and called again, it goes on from the last checkpoint and ends with the same numbers, bit for bit (where an
    input_fn gives the same batches each time it is called).
    """
    check_evaluated(estimator, eval_spec)
    estimator._fit(train_spec, eval_spec)
    data: Any = eval_spec.split if eval_spec.input_fn is None else eval_spec.input_fn
    history = [line for line in estimator.run.epochs() if "valid" in line]
    if history:
        last = {name: float("nan") if value is None else value for name, value in history[-1]["valid"].items()}
        finish_exporters(estimator, eval_spec, last)
    return estimator.evaluate(data, eval_spec.steps)
