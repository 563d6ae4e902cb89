"""Trains a model: `python -m trainer.task --model nfm`.

The composition root: fetches and preprocesses the data where that has not been done, trains, evaluates, exports and verifies. Every
step is skipped that an earlier, killed start of the same command has finished.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from feature_specs.command import CommandParser, load_tensorflow, run_command
from feature_specs.datasets import all_datasets, get_dataset
from feature_specs.errors import ColonnadeError, did_you_mean
from feature_specs.locking import locked
from feature_specs.spec import FeatureSpec
from preprocessing.artifacts import DataDirectory, default_data_dir
from trainer.config import RunConfig, TableDtype, TrainingConfig, check_table_dtype, read_profile_steps
from trainer.huge_pages import restart_with_huge_pages
from trainer.models.registry import find_model, get_model, hyper_parameters, list_models, resolve_hyper_parameters
from trainer.recipes import Recipe, load_recipe
from trainer.run import RunDirectory, check_place

_DEFAULT_DATASET = {"ranking": "movielens_100k", "matching": "movielens_100k_implicit"}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    flags = _parser().parse_all(arguments)
    if flags.list_models:
        for info in list_models():
            print(f"{info.name:<14} {info.task:<9} {info.paper}")
        return 0
    if flags.model is None and flags.recipe in (None, "none"):
        raise ColonnadeError("--model is missing. Name one of --list_models, such as --model nfm.")
    recipe, spec, model = _what(flags)
    is_described = flags.summary or flags.plot_model
    if not is_described:
        recipe.check_start(flags.warm_start)
    given, export_dtype = _given(flags), check_table_dtype(flags.export_dtype)
    recipe = recipe.beside(given)
    settings = recipe.values | given
    _training(settings)
    profile_steps = read_profile_steps(flags.profile_steps) if flags.profile_steps else None
    data_dir = Path(flags.data_dir) if flags.data_dir else default_data_dir(spec)
    run_dir = Path(flags.run_dir) if flags.run_dir else Path("runs") / f"{spec.name}-{_run_name(recipe, model)}"
    is_finished = os.path.isfile(run_dir / "_SUCCESS") and not is_described  # False, too, where one may not look
    if not (is_described or is_finished):
        check_place(run_dir)
    restart_with_huge_pages("trainer.task")
    started = time.perf_counter()
    config = _config(model, spec, data_dir, settings, flags.warm_start, export_dtype)
    _say_what_is_idle(config, given)
    if recipe.values:
        values = ", ".join(f"{name}={value}" for name, value in recipe.values.items())
        print(f"Recipe {recipe.name}: {values} (flags win; --recipe none leaves it out).")
    if is_finished:
        _show_finished(config, run_dir, flags.input)
        if profile_steps:
            print("--profile_steps: no step was left to profile. Choose another --run_dir.")
        return 0
    _preprocess(flags, spec, data_dir, config)
    if is_described:
        return _describe(config, flags.summary, flags.plot_model)
    return _run(config, run_dir, started, profile_steps)


def _parser() -> CommandParser:
    parser = CommandParser("python -m trainer.task", "Trains, evaluates, exports and verifies one model.")
    default = argparse.SUPPRESS
    parser.add_argument("--model", help="registered name; see --list_models")
    parser.add_argument("--dataset", help="built-in data set (default: movielens_100k, for matching models movielens_100k_implicit)")
    parser.add_argument("--spec", help="your own spec, a YAML or JSON file")
    parser.add_argument("--input", nargs="+", metavar="GLOB", help="raw files, where the data is not fetched")
    parser.add_argument("--data_dir", help="preprocessed data, made if missing (default: data/<dataset>)")
    parser.add_argument("--run_dir", help="where the run goes (default: runs/<dataset>-<model>)")
    parser.add_argument(
        "--recipe", help="tuned values, as NAME or NAME:ROW; flags win; none for the defaults (default: the data set's own)"
    )
    for name, kind, text in (
        ("epochs", int, "passes over the training split, at most"),
        ("max_steps", int, "optimizer steps, at most"),
        ("batch_size", int, "examples a step"),
        ("learning_rate", float, "step size"),
        ("seed", int, "of initial weights, dropout and the order of the examples"),
    ):
        usual = TrainingConfig.model_fields[name].default
        parser.add_argument(f"--{name}", type=kind, default=default, help=f"{text} (default: {'no limit' if usual is None else usual})")
    parser.add_argument("--mixed_precision", choices=("float32", "bfloat16", "float16"), default=default, help="of the arithmetic")
    parser.add_argument(
        "--hparams", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="hyper-parameters of the model and of training"
    )
    parser.add_argument("--warm_start", nargs="+", default=[], metavar="RUN_DIR", help="begin with the weights of these finished runs")
    parser.add_argument(
        "--export_dtype", default="float32", help="of the embedding tables in the export: float32, bfloat16 or int8 (default: float32)"
    )
    parser.add_argument("--profile_steps", metavar="FIRST,LAST", help="write a TensorBoard profile of these steps, as in 100,120")
    parser.add_argument("--list_models", action="store_true", help="print every model: name, task, paper")
    parser.add_argument("--summary", action="store_true", help="print layers, shapes and parameters, and stop")
    parser.add_argument("--plot_model", action="store_true", help="draw the model as <dataset>-<model>.png and .svg here, and stop")
    return parser


def _what(flags: argparse.Namespace) -> tuple[Recipe, FeatureSpec, str]:
    """Returns the recipe, the spec and the model's name; a recipe that was asked for says what the flags do not."""
    if flags.dataset and flags.spec:
        raise ColonnadeError("--dataset and --spec were both given. Give one of them.")
    info = find_model(flags.model) if flags.model else None
    spec = FeatureSpec.load(flags.spec) if flags.spec else get_dataset(flags.dataset) if flags.dataset else None
    if spec is None and flags.recipe is None and info is not None:
        spec = get_dataset(_DEFAULT_DATASET[info.task])
    # A user's spec that is called as a built-in one is other data, which nothing was tuned on.
    built_in = spec is not None and all_datasets().get(spec.name) == spec
    recipe = load_recipe(flags.recipe, info.name if info else None, spec.name if spec and built_in else None)
    model = flags.model or str(recipe.model)
    return recipe, spec or get_dataset(recipe.dataset or _DEFAULT_DATASET[find_model(model).task]), model


def _run_name(recipe: Recipe, model: str) -> str:
    """Returns the row of the recipe, where one was named, or the model."""
    return recipe.name.partition(":")[2] or model.split(".")[-1]


def _given(flags: argparse.Namespace) -> dict[str, Any]:
    """Returns what was asked for by --hparams and flags, the later winning; text values are not converted yet."""
    settings: dict[str, Any] = {}
    for pair in flags.hparams:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ColonnadeError(f"--hparams takes key=value pairs. Received: {pair!r}.")
        settings[name] = value
    given = vars(flags)
    return settings | {name: given[name] for name in TrainingConfig.model_fields if name in given}


def _training(settings: dict[str, Any]) -> TrainingConfig:
    given = {name: value for name, value in settings.items() if name in TrainingConfig.model_fields}
    try:
        return TrainingConfig.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
        name, message = problem["loc"][0], problem["msg"][:1].lower() + problem["msg"][1:]
        raise ColonnadeError(f"Training setting {str(name)!r}: {message}. Received: {problem['input']!r}.") from error


def _preprocess(flags: argparse.Namespace, spec: FeatureSpec, data_dir: Path, config: RunConfig) -> None:
    """Runs the preprocessing job in a process of its own: importing TF-Transform changes what Keras means."""
    if (data_dir / "_SUCCESS").is_file():
        DataDirectory.open(data_dir, expected=spec).check_inputs(flags.input or ())
        if flags.input:
            print(f"{data_dir} is finished already: --input is not read again. Delete it, or choose another --data_dir, to build anew.")
        return
    from trainer.trial import try_settings

    # Ranges of values are the model's own affair: better refused now than after hours.
    try_settings(config, spec)
    which = ["--spec", flags.spec] if flags.spec else ["--dataset", spec.name]
    inputs = ["--input", *flags.input] if flags.input else []
    command = [sys.executable, "-m", "preprocessing.task", *which, *inputs, "--output", str(data_dir)]
    status = subprocess.run(command, check=False).returncode
    if status:
        sys.exit(status)


def _config(
    name: str, spec: FeatureSpec, data_dir: Path, settings: dict[str, Any], warm_start: Sequence[str], export_dtype: TableDtype
) -> RunConfig:
    load_tensorflow()
    from trainer.matching.protocols import check_protocols
    from trainer.matching.side import check_length
    from trainer.models.registry import check_kind
    from trainer.tasks import check_settings
    from trainer.warm_start import check_takes_weights

    check_kind(name, spec)
    model = get_model(name)
    if warm_start:
        check_takes_weights(name, model)
    known = hyper_parameters(model)
    for key in settings:
        if key not in known and key not in TrainingConfig.model_fields:
            options = [*known, *TrainingConfig.model_fields]
            raise ColonnadeError(
                f"Unknown hyper-parameter {key!r}.{did_you_mean(key, options)} Of {name}: {', '.join(known)}. "
                f"Of training: {', '.join(TrainingConfig.model_fields)}."
            )
    training, own = _training(settings), resolve_hyper_parameters(model, {key: value for key, value in settings.items() if key in known})
    # Refused before anything is preprocessed.
    check_settings(spec.label.task, training)
    if spec.is_matching:
        check_protocols(spec, training.protocols, training.cutoffs)
        check_length(spec, own.get("max_length") or 0)
    return RunConfig(
        model=name,
        dataset=spec.name,
        fingerprint=spec.fingerprint,
        data_dir=str(data_dir),
        hyper_parameters=own,
        warm_start=tuple(warm_start),
        export_dtype=export_dtype,
        training=training,
    )


def _say_what_is_idle(config: RunConfig, given: Mapping[str, Any]) -> None:
    """Prints which settings do nothing for a model that is not trained by gradients: one command may go through all models."""
    counting = {"protocols", "cutoffs", "refit", "seed", "mixed_precision"}
    idle = [name for name in given if name in TrainingConfig.model_fields and name not in counting]
    if idle and getattr(get_model(config.model), "closed_form", False):
        print(f"{config.model} is not trained by gradients: {', '.join(idle)} {'do' if len(idle) > 1 else 'does'} nothing.")


def _show_finished(config: RunConfig, run_dir: Path, given: Sequence[str] | None) -> None:
    """Prints the result of a finished run with equal settings; its data may be gone, but must be no other, nor made from other files."""
    from trainer.finish import print_result

    run = RunDirectory.open(run_dir)
    kept = (Path(config.data_dir) / "_SUCCESS").is_file()
    data = DataDirectory.open(config.data_dir) if kept else None
    run.check_equal(config.model_copy(update={"data_digest": data.digest if data else run.config.data_digest}))
    if data:
        data.check_inputs(given or ())
    elif given:
        print(f"The data directory {config.data_dir} is gone: --input is not compared with what the run was trained on.")
    print(f"{run_dir} is finished already, with equal settings. Its result:")
    print_result(run)


def _describe(config: RunConfig, as_text: bool, as_picture: bool) -> int:
    from trainer.summary import plot_architecture, summarise

    if as_text:
        print(summarise(config))
    if as_picture:
        print(*plot_architecture(config), sep="\n")
    return 0


def _run(config: RunConfig, run_dir: Path, started: float, profile_steps: tuple[int, int] | None) -> int:
    from trainer.estimator import Estimator, EvalSpec, TrainSpec, train_and_evaluate
    from trainer.evaluation import check_classes, only_class
    from trainer.finish import finish_run, print_result

    data, training = DataDirectory.open(config.data_dir), config.training
    empty = [split for split in ("train", "valid", "test") if not data.num_rows(split)]
    if empty:
        raise ColonnadeError(f"{config.data_dir!r} has no {' and no '.join(empty)} rows. Change split.fractions in the spec.")
    check_classes(data, "valid")
    label = only_class(data, "test")
    if label is not None:
        print(f"All {data.num_rows('test'):,} rows of the test split have label {label}: auc and others will be undefined on it.")
    estimator = Estimator(config, run_dir)
    step = int(estimator.loop.step)
    if step:
        ended = estimator.loop.has_ended(training.epochs, training.max_steps)
        doing = "training has ended, evaluation and export go on" if ended else f"epoch {estimator.loop.position.epoch + 1}"
        print(f"Resuming {run_dir} from step {step} ({doing}).")
    with locked(run_dir, f"Another process is training in {str(run_dir)!r}. Wait for it, or choose another --run_dir."):
        train_and_evaluate(estimator, TrainSpec(profile_steps=profile_steps), EvalSpec())
        finish_run(estimator, started)
    print_result(estimator.run)
    return 0


if __name__ == "__main__":
    run_command(main)
