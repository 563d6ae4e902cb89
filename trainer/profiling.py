"""A TensorBoard profile of some training steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf


class StepProfile:
    """Profiles the steps from the first to the last of `steps`, both counted, and writes what it finds below `folder`.

    As a context it ends the profile where training ends before the last step, and says so where no step of them was trained.

    Args:
        steps: Numbers of steps, the first of a run being 1; nothing is profiled where not given.
        folder: Of TensorBoard's events.
    """

    def __init__(self, steps: tuple[int, int] | None, folder: Path) -> None:
        self.first, self.last = steps or (0, 0)
        self.folder = folder
        self._begin: int | None = None  # the first step that is in the profile
        self._is_running = False
        self._done = 0

    def __enter__(self) -> StepProfile:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        self._stop()
        if self.last and self._begin is None and error is None:
            print(f"No profile: steps {self.first} to {self.last} are none of those that were trained now.", flush=True)

    def allowed(self, done: int, steps: int) -> int:
        """Returns how many of the next `steps` steps one call may run: those that are profiled have a call each, and so a mark in it."""
        if done < self.first - 1:
            return min(steps, self.first - 1 - done)
        return 1 if done < self.last else steps

    @contextmanager
    def around(self, done: int) -> Iterator[None]:
        """Inside, the call after `done` steps is run."""
        if not self.first - 1 <= done < self.last:
            yield
            return
        if not self._is_running:
            tf.profiler.experimental.start(str(self.folder))
            self._begin, self._is_running = done + 1, True
        with tf.profiler.experimental.Trace("train", step_num=done + 1, _r=1):  # _r marks it as a step for the viewer
            yield
        self._done = done + 1
        if self._done == self.last:
            self._stop()

    def _stop(self) -> None:
        if self._is_running:
            self._is_running = False
            tf.profiler.experimental.stop()
            print(f"profiled steps {self._begin} to {self._done}: tensorboard --logdir {self.folder}", flush=True)
