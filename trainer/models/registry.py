"""Finds models by name: one file a model, called as the model is registered.

Listing and misspelt names are answered from the files' docstrings, without importing TensorFlow.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from feature_specs.command import load_tensorflow
from feature_specs.errors import ColonnadeError, did_you_mean
from feature_specs.spec import FeatureSpec

_REGISTRY: dict[str, type] = {}
ModelType = TypeVar("ModelType", bound=type)


class ModelInfo(NamedTuple):
    """One line of `--list_models`."""

    name: str
    task: str
    paper: str


def register(name: str) -> Callable[[ModelType], ModelType]:
    """Class decorator: makes a model known as `name`.

    Raises:
        ColonnadeError: The name is taken, by a model of the tree or by one of another module; or its constructor is not as it should be.
    """

    def decorate(model: ModelType) -> ModelType:
        taken = _REGISTRY[name].__module__ if name in _REGISTRY else model.__module__
        if not model.__module__.startswith(f"{__package__}."):
            # Those of the tree keep their names before they are imported, too.
            taken = next((f"{__package__}.{info.task}.{name}" for info in list_models() if info.name == name), taken)
        if taken != model.__module__:
            raise ColonnadeError(f"Model name {name!r} is taken by {taken}. Register {model.__name__} under another name.")
        _check_constructor(model)
        _REGISTRY[name] = model
        return model

    return decorate


def _check_constructor(model: type) -> None:
    """Raises a ColonnadeError where a model does not take `(inputs, *, name: type = default, ...)`, by which `--hparams` is read."""
    taken = list(inspect.signature(model).parameters.values())
    if not taken or taken[0].kind not in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
        raise ColonnadeError(f"{model.__name__} should take the input layers first. Write: def __init__(self, inputs: Inputs, ...).")
    for each in taken[1:]:
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            raise ColonnadeError(
                f"{model.__name__} takes {each}, in which hyper-parameters have no names. Write each as *, name: type = default."
            )
        if each.kind is not each.KEYWORD_ONLY or each.annotation is each.empty or each.default is each.empty:
            raise ColonnadeError(
                f"Hyper-parameter {each.name!r} of {model.__name__} should be keyword-only, with a type and a default. Write: "
                f"def __init__(self, inputs: Inputs, *, {_written(each)})."
            )


def _written(hyper_parameter: inspect.Parameter) -> str:
    """Returns `name: type = default`, with TYPE and DEFAULT where it has none."""
    kind, default, empty = hyper_parameter.annotation, hyper_parameter.default, inspect.Parameter.empty
    if kind is empty:
        kind = "TYPE" if default is empty else type(default).__name__
    kind = kind if isinstance(kind, str) else inspect.formatannotation(kind)
    return f"{hyper_parameter.name}: {kind} = {'DEFAULT' if default is empty else repr(default)}"


def list_models() -> list[ModelInfo]:
    """Returns every model of the tree, sorted by task and name; the paper is the second paragraph of the file's docstring."""
    found = []
    for path in sorted(Path(__file__).parent.glob("*/[a-z]*.py")):
        paragraphs = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")
        found.append(ModelInfo(path.stem, path.parent.name, " ".join(paragraphs[1].split()) if len(paragraphs) > 1 else ""))
    return found


def find_model(name: str) -> ModelInfo:
    """Returns what is known about the model called `name`, without importing it; one of the user's own, `package.module`, is imported.

    Raises:
        ColonnadeError: No model has this name.
    """
    if "." in name:
        model = get_model(name)
        from trainer.models.base import MatchingModel  # TensorFlow, as `get_model` has loaded it

        task = "matching" if issubclass(model, MatchingModel) else "ranking"
        return ModelInfo(name, task, " ".join((inspect.getdoc(model) or "").split("\n\n")[0].split()))
    known = {info.name: info for info in list_models()}
    if name not in known:
        hint = did_you_mean(name, known)
        raise ColonnadeError(
            f"Unknown model {name!r}.{hint} Registered: {', '.join(sorted(known))}. See --list_models; a model of your own is given as "
            "package.module."
        )
    return known[name]


def get_model(name: str) -> type:
    """Returns the class registered as `name`, importing its file; or the one that the module `name`, `package.module`, registers."""
    if "." in name:
        return _own_model(name)
    if name not in _REGISTRY:
        info = find_model(name)
        importlib.import_module(f"trainer.models.{info.task}.{name}")
    return _REGISTRY[name]


def _own_model(name: str) -> type:
    """Imports a user's module and returns the one model that it registers."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # where `python -m` would find it
    load_tensorflow()
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not name.startswith(str(error.name)):
            raise
        raise ColonnadeError(
            f"There is no module {name!r} (no {error.name!r}). Start the command in the folder that holds it, or install its package."
        ) from error
    found = [model for model in _REGISTRY.values() if model.__module__ == name]
    if len(found) != 1:
        raise ColonnadeError(
            f'Module {name!r} should register one model, by @register("name"). It registers {len(found)}: '
            f"{', '.join(model.__name__ for model in found) or 'none'}."
        )
    return found[0]


def check_kind(name: str, spec: FeatureSpec) -> None:
    """Raises a ColonnadeError where a ranking model was asked for on a spec for matching, or the reverse."""
    task = find_model(name).task
    if task != ("matching" if spec.is_matching else "ranking"):
        wanted = "a data set for matching, such as movielens_100k_implicit, or label.task: matching in your spec"
        fix = wanted if task == "matching" else "a matching model (see --list_models), or another data set"
        raise ColonnadeError(f"Model {name!r} is for {task}, and data set {spec.name!r} for {spec.label.task}. Use {fix}.")


def make_model(name: str, inputs: object, given: Mapping[str, object]) -> Any:  # noqa: ANN401 (an instance of what is registered)
    """Returns the model called `name` on `inputs`, with the hyper-parameters `given`.

    Raises:
        ColonnadeError: The model does not take one of the values, or one would do nothing.
    """
    try:
        model = get_model(name)
        _check_needs(model, {**_defaults(model), **given})
        return model(inputs, **given)
    except (TypeError, ValueError) as error:
        settings = ", ".join(f"{key}={value}" for key, value in given.items()) or "its defaults"
        raise ColonnadeError(f"Model {name!r} cannot be made with {settings}: {' '.join(str(error).split())}") from error


def hyper_parameters(model: type) -> dict[str, inspect.Parameter]:
    """Returns the keyword-only arguments of the model's constructor: they are its hyper-parameters."""
    signature = inspect.signature(model, eval_str=True)
    return {name: p for name, p in signature.parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def resolve_hyper_parameters(model: type, given: Mapping[str, object]) -> dict[str, Any]:
    """Returns all hyper-parameters of `model`: those given, checked and converted to their type, and the defaults of the others.

    Raises:
        ColonnadeError: A name is unknown, a value is of another type, or one would do nothing.
    """
    known, resolved = hyper_parameters(model), _defaults(model)
    for name, value in given.items():
        if name not in known:
            raise ColonnadeError(
                f"Unknown hyper-parameter {name!r} of {model.__name__}.{did_you_mean(name, known)} Known: {', '.join(known)}."
            )
        resolved[name] = convert(name, value, known[name].annotation)
    _check_needs(model, resolved)
    return resolved


def _defaults(model: type) -> dict[str, Any]:
    return {name: parameter.default for name, parameter in hyper_parameters(model).items()}


def _check_needs(model: type, values: Mapping[str, Any]) -> None:
    """Raises a ColonnadeError where something is asked for by a hyper-parameter that would do nothing beside the others; see `needs`."""
    defaults, idle = _defaults(model), dict[str, Sequence[str]]()
    for name, needed in getattr(model, "needs", {}).items():
        known = [each for each in needed if each.partition("=")[0] in defaults]
        asked = name in defaults and values[name] != defaults[name] and bool(values[name])
        if asked and known and not any(_is_there(each, values) for each in known):
            idle[name] = known
    if idle:
        without = " or ".join(dict.fromkeys(itertools.chain(*idle.values())))
        them = "it" if len(idle) == 1 else "them"
        raise ColonnadeError(f"{' and '.join(idle)} would do nothing without {without}. Leave {them} out, or give {without}.")


def _is_there(needed: str, values: Mapping[str, Any]) -> bool:
    """Whether hyper-parameters have what `needed` says: "name=value", or "name" for anything but nothing (no widths, 0)."""
    name, equals, value = needed.partition("=")
    return str(values[name]) == value if equals else bool(values[name])


def convert(name: str, value: object, annotation: Any) -> Any:  # noqa: ANN401 (whatever the annotation says)
    """Returns `value` (text is read as YAML) as the type `annotation`, or raises a ColonnadeError naming the hyper-parameter."""
    try:
        parsed = yaml.safe_load(value) if isinstance(value, str) else value
        if isinstance(value, str) and "tuple" in str(annotation) and not isinstance(parsed, list):
            parsed = [yaml.safe_load(part) for part in value.split(",")] if value.strip() else []
        return TypeAdapter(annotation, config=ConfigDict(allow_inf_nan=False)).validate_python(parsed)
    except (ValidationError, yaml.YAMLError) as error:
        expected = getattr(annotation, "__name__", None) if isinstance(annotation, type) else str(annotation).replace("typing.", "")
        raise ColonnadeError(f"Hyper-parameter {name!r} should be of type {expected}. Received: {value!r}.") from error
