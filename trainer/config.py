"""Everything that decides the outcome of a run, in one frozen record: `config.json` of the run directory."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator

from feature_specs.errors import ColonnadeError, did_you_mean

TableDtype = Literal["float32", "bfloat16", "int8"]


def check_table_dtype(given: str) -> TableDtype:
    """Returns a type that exports can store embedding tables in.

    Raises:
        ColonnadeError: It is none.
    """
    for dtype in get_args(TableDtype):
        if given == dtype:
            return dtype
    known = get_args(TableDtype)
    raise ColonnadeError(
        f"Exports cannot store embedding tables in {given!r}.{did_you_mean(given, known)} Choose one of {', '.join(known)}."
    )


def check_profile_steps(first: int, last: int) -> tuple[int, int]:
    """Returns the first and the last step to be profiled.

    Raises:
        ColonnadeError: They are no range of steps.
    """
    if not 1 <= first <= last:
        raise ColonnadeError(f"Steps to be profiled should be the first, 1 or more, and the last, no less. Received: {first},{last}.")
    return first, last


def read_profile_steps(text: str) -> tuple[int, int]:
    """Returns the steps that "100,120" or "100" name.

    Raises:
        ColonnadeError: It names none.
    """
    parts = text.split(",")
    if len(parts) > 2 or not all(part.strip().isdecimal() for part in parts):
        raise ColonnadeError(f"--profile_steps takes the first and the last step, as in 100,120, or one step. Received: {text!r}.")
    return check_profile_steps(int(parts[0]), int(parts[-1]))


class TrainingConfig(BaseModel):
    """How a model is trained; the same for every model.

    Attributes:
        epochs: Passes over the training split, at most.
        max_steps: Optimizer steps, at most; no limit where not given.
        batch_size: Examples a step.
        learning_rate: Of the dense part and of the embedding tables.
        optimizer: Keras optimizer of the dense part.
        embedding_update: "rowwise" trains the rows that a step looks up, by `embedding_optimizer`; its cost follows the batch, not the
            vocabulary. "dense" trains whole tables by `optimizer` as if they were kernels, with `embedding_l2` on every row in every step:
            to repeat published figures whose recipe is that.
        embedding_optimizer: Row-wise optimizer of the embedding tables.
        wide_optimizer: Of a model's wide side, both dense part and tables; models without one take no `wide_` setting.
        wide_learning_rate: Of the wide side.
        wide_l1: FTRL's l1, which makes weights exactly zero.
        wide_l2: FTRL's l2.
        embedding_l2: lambda of (lambda / 2) * sum of squares over the table rows that a step looks up.
        dense_l2: lambda of (lambda / 2) * sum of squares of the kernels, which are all matrices but the tables.
        plateau_factor: The learning rate is multiplied by it after each epoch whose validation metric is no better than the best.
        min_learning_rate: Where this ends.
        clip_norm: Gradients are scaled down to this global norm, dense part and table rows together; 0 turns it off.
        mixed_precision: Type of the arithmetic; variables stay float32.
        patience: Epochs without a better validation metric before training stops.
        steps_per_call: Steps run by one call into the graph.
        checkpoint_steps: Steps between checkpoints inside an epoch; one is written after every epoch as well.
        shuffle_rows: Rows held in memory to be shuffled.
        positive_weight: How often a positive counts in the training loss; probabilities stay those of the data (binary labels only).
        negative_sampling_rate: Share of the negatives that the data was left with; probabilities are those from before (binary only).
        threshold: Probability from which a row counts as predicted positive, for accuracy, precision and recall (binary only).
        loss: Matching: what is minimised; that of the model's paper where not given. See `trainer.matching.losses`.
        num_negatives: Matching: items drawn for each positive, the paper's where not given; or for the batch, where all positives share
            them, 512 where not given.
        negative_alpha: Matching: negatives are drawn by popularity to this power; 0 draws uniformly.
        exclude_seen_negatives: Matching: whether no negative is an item that the user has in training. Where not given, none of a
            positive's own is, and those of the rest of the batch may be: to look that up there costs more than it is worth.
        margin: Matching: of the hinge loss.
        refit: Matching: whether the model is trained anew on training and validation together, for the number of epochs that was best,
            before the test split is scored and the model exported.
        protocols: Matching: how to evaluate, the first picks the best epoch: "full" (against all items), "sampled:N" (against N drawn items
            that the user never had; "sampled:N:any": that may be among them), "file" (against the items listed in the data set's file).
        cutoffs: Matching: each K of the metrics; the first picks the best epoch.
        seed: Of the initial weights, dropout, negatives and the order of the examples.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: PositiveInt = 20
    max_steps: PositiveInt | None = None
    batch_size: PositiveInt = 1024
    learning_rate: PositiveFloat = 1e-3
    optimizer: Literal["adam", "adagrad", "sgd"] = "adam"
    embedding_update: Literal["rowwise", "dense"] = "rowwise"
    embedding_optimizer: Literal["lazy_adam", "adagrad", "sgd"] = "lazy_adam"
    wide_optimizer: Literal["ftrl", "adagrad", "adam", "sgd"] = "ftrl"
    wide_learning_rate: PositiveFloat = 0.1
    wide_l1: NonNegativeFloat = 0.0
    wide_l2: NonNegativeFloat = 0.0
    embedding_l2: NonNegativeFloat = 0.0
    dense_l2: NonNegativeFloat = 0.0
    plateau_factor: Annotated[float, Field(gt=0, le=1)] = 1.0
    min_learning_rate: PositiveFloat = 1e-6
    clip_norm: NonNegativeFloat = 10.0
    mixed_precision: Literal["float32", "bfloat16", "float16"] = "float32"
    patience: PositiveInt = 2
    steps_per_call: PositiveInt = 10
    checkpoint_steps: PositiveInt = 1000
    shuffle_rows: PositiveInt = 1 << 18
    positive_weight: PositiveFloat = 1.0
    negative_sampling_rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    loss: Literal["bce", "bpr", "hinge", "sampled_softmax", "in_batch_softmax", "full_softmax"] | None = None
    num_negatives: PositiveInt | None = None
    negative_alpha: NonNegativeFloat = 0.0
    exclude_seen_negatives: bool | None = None
    margin: PositiveFloat = 0.5
    refit: bool = False
    protocols: Annotated[tuple[str, ...], Field(min_length=1)] = ("full",)
    cutoffs: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (10,)
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @field_validator("protocols", "cutoffs", mode="before")
    @classmethod
    def _as_a_list(cls, given: Any) -> Any:  # noqa: ANN401 (what the user wrote)
        if isinstance(given, str):
            return [part.strip() for part in given.split(",")]
        return given if isinstance(given, list | tuple) else [given]


class RunConfig(BaseModel):
    """One run: which model, with which hyper-parameters, on which data, trained how.

    For an estimator of columns `hyper_parameters` and `training` are enough: `Estimator` fills in the rest.

    Attributes:
        model: Registered name.
        dataset: Name of the spec; "input_fn" for a run over columns.
        fingerprint: Of the spec; none for a run over columns.
        data_dir: Where the transformed data is.
        data_digest: Which data it is; filled in by the run.
        columns: What the run's columns are, by their names; none for a run over a spec.
        task: What a run over columns is trained for; the spec says it otherwise.
        hyper_parameters: All of the model's, defaults included.
        warm_start: Run directories whose weights the model begins with.
        export_dtype: What the export stores embedding tables in.
        training: How it is trained.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = ""
    dataset: str = ""
    fingerprint: str = ""
    data_dir: str = ""
    data_digest: str = ""
    columns: dict[str, str] = Field(default_factory=dict)
    task: Literal["binary", "regression"] | None = None
    hyper_parameters: dict[str, Any] = Field(default_factory=dict)
    warm_start: tuple[str, ...] = ()
    export_dtype: TableDtype = "float32"
    training: TrainingConfig = TrainingConfig()

    def differences(self, other: RunConfig) -> list[str]:
        """Returns "name: ours != theirs" for every setting that differs; the place of the data is none."""
        ours, theirs = _flat(self), _flat(other)
        return [f"{name}: {ours.get(name)} != {theirs.get(name)}" for name in ours | theirs if ours.get(name) != theirs.get(name)]


def _flat(config: RunConfig) -> dict[str, Any]:
    tree = config.model_dump(mode="json", exclude={"data_dir"})
    named = {name: tree[name] for name in ("model", "dataset")}
    named |= {"spec": tree["fingerprint"], "data": tree["data_digest"][:12], "task": tree["task"], "export_dtype": tree["export_dtype"]}
    if tree["warm_start"]:
        named["warm_start"] = tree["warm_start"]
    return {**named, **tree["columns"], **tree["hyper_parameters"], **tree["training"]}
