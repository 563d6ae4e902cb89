"""Ranges of hyper-parameters, and widths that have to agree: what is wrong is named as the user gave it."""

from __future__ import annotations

import math

from feature_specs import ColonnadeError


def check_sizes(at_least: int = 1, /, **sizes: int) -> None:
    """Raises a ColonnadeError where one of the hyper-parameters is below `at_least`."""
    for name, value in sizes.items():
        if value < at_least:
            raise ColonnadeError(f"{name} should be at least {at_least}. Received: {value}.")


def check_rates(**rates: float) -> None:
    """Raises a ColonnadeError where a rate of dropout is not in [0, 1): of 1 it would leave nothing."""
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise ColonnadeError(f"{name} should be at least 0 and below 1. Received: {rate}.")


def check_positive(**values: float) -> None:
    """Raises a ColonnadeError where one of the hyper-parameters is no finite number above 0."""
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ColonnadeError(f"{name} should be above 0, and finite. Received: {value}.")


def check_widths(expected: int, received: int, what: str) -> None:
    """Raises a ColonnadeError where vectors that a model multiplies are of different widths, as a spec can declare them."""
    if expected != received:
        raise ColonnadeError(
            f"{what} should be {expected} wide. Received: {received}. Leave `embedding_dim` and pretrained vectors out of the spec for the "
            "item and the user."
        )
