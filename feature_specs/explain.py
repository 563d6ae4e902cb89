"""Turns pydantic's account of an invalid tree into one line that names the place and the fix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from feature_specs.errors import did_you_mean
from feature_specs.features import Frozen


def explain(error: ValidationError, tree: dict[str, Any]) -> str:
    """Returns every problem of `tree`, one sentence each, on one line."""
    return " ".join(_sentence(problem, tree) for problem in error.errors())


def _sentence(problem: ErrorDetails, tree: dict[str, Any]) -> str:
    where, last = _place(problem["loc"], tree)
    match problem["type"]:
        case "extra_forbidden":
            return f"unknown key {last!r} in {where or 'the spec'}.{did_you_mean(str(last), _all_keys(Frozen))}"
        case "missing":
            return f"{where or 'the spec'} lacks the key {last!r}."
        case "value_error":
            return str(problem["ctx"]["error"])
        case "union_tag_invalid":
            tag, expected = problem["ctx"]["tag"], problem["ctx"]["expected_tags"]
            return f"{_join(where, last)}: {tag!r} is not one of {expected}.{did_you_mean(tag, expected.replace(chr(39), '').split(', '))}"
        case "union_tag_not_found":
            return f"{_join(where, last)} lacks the key {problem['ctx']['discriminator']}, which says what it is."
        case kind:
            said = f"{_join(where, last)}: {problem['msg'][:1].lower()}{problem['msg'][1:]}. Received: {problem['input']!r}."
            return f"{said} Put it in quotes." if kind == "string_type" and isinstance(problem["input"], bool | int | float) else said


def _place(location: tuple[int | str, ...], tree: object) -> tuple[str, int | str]:
    """Returns the parent's path, features by name, and the last key; steps that are in no tree are pydantic's own tags."""
    path = ""
    for step in location[:-1]:
        if isinstance(tree, dict) and step in tree:
            tree, path = tree[step], _join(path, step)
        elif isinstance(step, int) and isinstance(tree, list | tuple) and step < len(tree):
            tree = tree[step]
            name = tree.get("name") if isinstance(tree, dict) else None
            path = f"feature {name!r}" if path == "features" and name else f"{path}[{step}]"
    return path, location[-1] if location else ""


def _join(path: str, step: int | str) -> str:
    if isinstance(step, int):
        return f"{path}[{step}]"
    return f"{path}: {step}" if path.startswith("feature ") else ".".join(filter(None, (path, step)))


def _all_keys(model: type[Frozen]) -> Iterator[str]:
    for subclass in model.__subclasses__():
        yield from subclass.model_fields
        yield from _all_keys(subclass)
