"""Recipes: one YAML file a data set, with tuned values for each model.

    datasets: [movielens_100k]       # the first is what the recipe was tuned on
    training: {batch_size: 256}      # shared by all rows
    rows:
      nfm: {dropout: 0.3}
      autoint+: {model: autoint, layer_norm: true}
      pretrained: {model: neumf, warm_start: [gmf, mlp_ncf]}

A row is called as its model is, unless it says which model it is of. One with `warm_start` begins with the weights of runs of other rows of
the file, which `--warm_start` has to name. `--recipe NAME` is the row of `--model`; `--recipe NAME:ROW` any.
"""  # noqa: D214 (not a section)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from feature_specs.errors import ColonnadeError, did_you_mean

_FOLDER = Path(__file__).parent


class Recipe(BaseModel):
    """Tuned values for one model on one data set.

    Attributes:
        name: As `--recipe` takes it; "none" for no values.
        model: What the values are for; none for the recipe "none".
        dataset: What they were tuned on; none for the recipe "none".
        values: Hyper-parameters and training settings.
        warm_start: Rows of the same file with whose weights it begins.
    """

    model_config = ConfigDict(frozen=True)

    name: str = "none"
    model: str | None = None
    dataset: str | None = None
    values: dict[str, Any] = {}
    warm_start: tuple[str, ...] = ()

    def check_start(self, runs: Sequence[str]) -> None:
        """Raises a ColonnadeError where it begins with runs of other rows, and not as many `runs` were named."""
        if self.warm_start and len(self.warm_start) != len(runs):
            rows = " and ".join(f"{self.name.partition(':')[0]}:{row}" for row in self.warm_start)
            flag = " ".join(["--warm_start", *(f"RUN_OF_{row}" for row in self.warm_start)])
            raise ColonnadeError(
                f"--recipe {self.name} begins with the weights of finished runs of {rows}. Train these, and name their run directories: "
                f"{flag}. Received: {' '.join(runs) or 'none'}."
            )

    def beside(self, given: Mapping[str, Any]) -> Recipe:
        """Returns what counts of it beside settings that the user gives: what it says of negatives is for no loss but what it names."""
        if given.get("loss", self.values.get("loss")) == self.values.get("loss"):
            return self
        tuned = ("num_negatives", "negative_alpha", "exclude_seen_negatives", "margin")
        return self.model_copy(update={"values": {name: value for name, value in self.values.items() if name not in tuned}})


class _Row(BaseModel):
    """What a row says of itself; all else in it are values."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    warm_start: tuple[str, ...] = ()


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    datasets: list[str] = Field(min_length=1)
    training: dict[str, Any] = {}
    rows: dict[str, _Row]

    def model_of(self, row: str) -> str:
        return self.rows[row].model or row


def load_recipe(name: str | None, model: str | None, dataset: str | None) -> Recipe:
    """Returns the recipe that was asked for.

    Args:
        name: A file's name, that and a row (`frappe:autoint+`), or "none"; where not given, the file of the data set, if it has the model.
        model: The model that was asked for; where not given, the row says it.
        dataset: The built-in data set that was asked for; none where the spec is the user's own, whatever that calls itself.

    Raises:
        ColonnadeError: There is no such recipe, it has no values for this model, or its file is malformed.
    """
    paths = _paths()
    if name is None:
        files = {file: _read(path) for file, path in paths.items()} if dataset else {}
        fitting = [file for file, content in files.items() if dataset in content.datasets and model in content.rows]
        name = fitting[0] if fitting else "none"
    file, colon, row = name.partition(":")
    if name == "none":
        return Recipe()
    if file not in paths:
        raise ColonnadeError(f"Unknown recipe {file!r}.{did_you_mean(file, paths)} Recipes: {', '.join(sorted(paths))}.")
    content = _read(paths[file])
    rows = content.rows
    if not colon:
        if model is None:
            raise ColonnadeError(f"Recipe {file!r} has values for several models. Name one: --model, or --recipe {file}:ROW.")
        row = model
    if row not in rows:
        kind = f"row {row!r}" if colon else f"values for model {row!r}"
        raise ColonnadeError(f"Recipe {file!r} has no {kind}.{did_you_mean(row, rows)} It has: {', '.join(sorted(rows))}.")
    if model not in (None, content.model_of(row)):
        raise ColonnadeError(f"--recipe {name} is for model {content.model_of(row)!r}. Received --model {model}. Leave one of them out.")
    values, start = {**content.training, **(rows[row].model_extra or {})}, rows[row].warm_start
    return Recipe(name=name, model=content.model_of(row), dataset=content.datasets[0], values=values, warm_start=start)


def list_rows(name: str) -> list[str]:
    """Returns the rows of the recipe file called `name`, in its order."""
    return list(_read(_paths()[name]).rows)


def _paths() -> Mapping[str, Path]:
    return {path.stem: path for path in sorted(_FOLDER.glob("*.yaml"))}


def _read(path: Path) -> _File:
    try:
        return _File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        message = problem["msg"][:1].lower() + problem["msg"][1:].partition(" or instance of")[0]
        reason = f"{place or 'the file'}: {message}. Received: {problem['input']!r:.80}"
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
    raise ColonnadeError(
        f"Recipe file {str(path)!r} is malformed: {reason}. Expected: datasets (a list of names), rows (by name, each with its values by "
        "name; {} for none) and, if wanted, training (values by name). Mend the file, or leave recipes out: --recipe none."
    )
