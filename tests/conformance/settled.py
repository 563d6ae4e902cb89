"""Which checks of which models `make test` leaves to `make test-slow`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import pytest


def cases(
    models: Iterable[str], checks: Iterable[Callable[..., None]], dear: Collection[Callable[..., None]], settled: str
) -> list[Any]:  # pytest does not export the type of its parameter sets
    """Returns every model with every check; the dear checks are marked slow for models that have long passed them.

    Args:
        models: Names.
        checks: Their names begin with `check_`.
        dear: Checks that take most of the time.
        settled: Names of models, a blank between them.
    """
    return [
        pytest.param(
            name,
            check,
            id=f"{name}-{check.__name__.removeprefix('check_')}",
            marks=[pytest.mark.slow] if check in dear and name in settled.split() else [],
        )
        for name in models
        for check in checks
    ]
