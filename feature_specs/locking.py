"""A folder that one process at a time writes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_specs.errors import ColonnadeError


@contextmanager
def locked(folder: Path, busy: str) -> Iterator[None]:
    """Holds a lock on an existing folder; it ends with the process, however that ends, and leaves no file.

    Args:
        folder: What is locked.
        busy: What the user is told where another process holds the lock.

    Raises:
        ColonnadeError: Another process holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ColonnadeError(busy) from error
        yield
    finally:
        os.close(descriptor)
