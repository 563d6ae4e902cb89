"""The one exception that users see, and the hint that goes with a misspelt name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ColonnadeError(ValueError):
    """A mistake that the user can mend; command-line programs print it as one line, without a traceback."""

    ag_pass_through = True  # raised while TensorFlow traces a function, it stays what it is


def did_you_mean(received: str, options: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the nearest of `options`, or "" where none is near."""
    near = difflib.get_close_matches(received, list(options), n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""
