"""What the user sees while the job works.

Stages report their rows here; worker processes of ours pass them on to the process that shows the bar. On another Beam runner only the
names of the stages are shown.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from tqdm import tqdm

_lock = threading.Lock()
_bar: tqdm | None = None
_report: Callable[[int], object] | None = None
_console: TextIO | None = None


def keep_quiet() -> None:
    """Keeps what libraries say to their own developers off the console; what goes wrong comes as an exception anyway."""
    global _console
    # The import of TensorFlow takes stderr away for a while; the bar goes on.
    if _console is None and sys.stderr.isatty():
        _console = os.fdopen(os.dup(sys.stderr.fileno()), "w")
    warnings.simplefilter("ignore")
    for name in ("absl", "apache_beam", "tensorflow", "tensorflow_transform", "root"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def stage(name: str, total: int | None = None, show: bool = True) -> Iterator[None]:
    """Shows a bar of rows where stderr is a terminal; elsewhere prints a line when the stage has ended."""
    global _bar
    started = time.monotonic()
    terminal = sys.stderr.isatty()
    with tqdm(total=total, desc=f"{name:<12}", unit=" rows", unit_scale=True, file=_console, disable=not (show and terminal)) as bar:
        _bar = bar
        try:
            yield
        finally:
            _bar = None
    if show and not terminal:
        print(f"{name:<10}{time.monotonic() - started:.1f} s", flush=True)


def advance(rows: int) -> None:
    """Reports that `rows` more rows are done in the current stage."""
    with _lock:
        if _report is not None:
            _report(rows)
        elif _bar is not None:
            _bar.update(rows)


def report_to(report: Callable[[int], object]) -> None:
    """Has `advance` call `report`, in a process that shows no bar itself."""
    global _report
    _report = report
