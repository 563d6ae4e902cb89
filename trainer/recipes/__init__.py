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
from pydantic import BaseModel, ConfigDict

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


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    datasets: list[str]
    training: dict[str, Any] = {}
    rows: dict[str, dict[str, Any]]

    def model_of(self, row: str) -> str:
        return self.rows[row].get("model", row)


def load_recipe(name: str | None, model: str | None, dataset: str | None) -> Recipe:
    """Returns the recipe that was asked for.

    Args:
        name: A file's name, that and a row (`frappe:autoint+`), or "none"; where not given, the file of the data set, if it has the model.
        model: The model that was asked for; where not given, the row says it.
        dataset: The data set that was asked for.

    Raises:
        ColonnadeError: There is no such recipe, or it has no values for this model.
    """
    files = _files()
    if name is None:
        fitting = [file for file, content in files.items() if dataset in content.datasets and model in content.rows]
        name = fitting[0] if fitting else "none"
    file, colon, row = name.partition(":")
    if name == "none":
        return Recipe()
    if file not in files:
        raise ColonnadeError(f"Unknown recipe {file!r}.{did_you_mean(file, files)} Recipes: {', '.join(sorted(files))}.")
    rows = files[file].rows
    if not colon:
        if model is None:
            raise ColonnadeError(f"Recipe {file!r} has values for several models. Name one: --model, or --recipe {file}:ROW.")
        row = model
    if row not in rows:
        kind = f"row {row!r}" if colon else f"values for model {row!r}"
        raise ColonnadeError(f"Recipe {file!r} has no {kind}.{did_you_mean(row, rows)} It has: {', '.join(sorted(rows))}.")
    content = files[file]
    if model not in (None, content.model_of(row)):
        raise ColonnadeError(f"--recipe {name} is for model {content.model_of(row)!r}. Received --model {model}. Leave one of them out.")
    values = {**content.training, **rows[row]}
    values.pop("model", None)
    start = tuple(values.pop("warm_start", ()))
    return Recipe(name=name, model=content.model_of(row), dataset=content.datasets[0], values=values, warm_start=start)


def list_rows(name: str) -> list[str]:
    """Returns the rows of the recipe file called `name`, in its order."""
    return list(_files()[name].rows)


def _files() -> Mapping[str, _File]:
    paths = sorted(_FOLDER.glob("*.yaml"))
    return {path.stem: _File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))) for path in paths}
