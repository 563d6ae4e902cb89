"""The built-in data sets: one module each, holding a tuple `SPECS` and no logic.

A new data set is one new file here; it is found by itself.
"""

from __future__ import annotations

import importlib
import pkgutil

from feature_specs.errors import ColonnadeError, did_you_mean
from feature_specs.spec import FeatureSpec


def all_datasets() -> dict[str, FeatureSpec]:
    """Returns every built-in spec by its name."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return {spec.name: spec for module in modules for spec in module.SPECS}


def get_dataset(name: str) -> FeatureSpec:
    """Returns the built-in spec called `name`.

    Raises:
        ColonnadeError: No data set has this name.
    """
    known = all_datasets()
    if name not in known:
        raise ColonnadeError(
            f"Unknown data set {name!r}.{did_you_mean(name, known)} Built in: {', '.join(sorted(known))}. For your own data use "
            "--spec FILE.yaml."
        )
    return known[name]
