"""How the stages of the job run: here, in worker processes, or on a Beam runner of the user's choice.

A stage is a function that is called on every item (a range of a file, a shard) and returns a small record; rows travel in files. So it
is the same function wherever it runs, and the result does not depend on where.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

from feature_specs import ColonnadeError
from feature_specs.command import load_tensorflow
from preprocessing.progress import stage
from preprocessing.workers import Workers

Records = list[dict[str, Any]]
Function = Callable[[Any], dict[str, Any]]
_loading = threading.Lock()

# Below it, worker processes take longer to start than they save: see docs/preprocessing.md.
WORKERS_FROM_BYTES = 96 << 20


def choose(size: int, options: Sequence[str], staging: Path, show: bool = True) -> Execution:
    """Returns where the stages run.

    Args:
        size: Bytes of input.
        options: What the user said to Beam.
        staging: A folder for what stages hand to each other.
        show: Whether to report stages and rows on stderr.
    """
    said = PipelineOptions(list(options))
    workers = said.view_as(DirectOptions).direct_num_workers if any("direct_num_workers" in option for option in options) else None
    others = [option for option in options if "direct_num_workers" not in option and not option.isdigit()]
    if others:
        return OnBeam(options, staging, show)
    if workers is None:
        workers = 0 if size >= WORKERS_FROM_BYTES else 1
    count = workers or cores()
    return InWorkers(count, show) if count > 1 else InProcess(show)


class Execution(Protocol):
    """Where stages run."""

    def map(self, name: str, function: Function, items: Sequence[Any], total: int | None = None, tensorflow: bool = False) -> Records:
        """Returns the record that `function`, of one argument and picklable, makes of each item, in their order.

        Args:
            name: Of the stage, for the user.
            function: What is done with an item; its record is JSON.
            items: The items.
            total: Number of rows, for the progress bar.
            tensorflow: Whether the function needs TensorFlow.
        """
        ...

    def close(self) -> None:
        """Ends what was started."""
        ...


class InProcess:
    """One item after the other, in this process; what needs TensorFlow, in threads."""

    def __init__(self, show: bool = True) -> None:
        self._show = show

    def map(self, name: str, function: Function, items: Sequence[Any], total: int | None = None, tensorflow: bool = False) -> Records:
        """See `Execution`."""
        with stage(name, total, self._show):
            return in_threads(function, items) if tensorflow else [function(item) for item in items]

    def close(self) -> None:
        """Nothing was started."""


class InWorkers:
    """In worker processes; what needs TensorFlow runs in threads of this process, so that it and the vocabularies are loaded once."""

    def __init__(self, count: int, show: bool = True) -> None:
        self._workers = Workers(count)
        self._show = show

    def map(self, name: str, function: Function, items: Sequence[Any], total: int | None = None, tensorflow: bool = False) -> Records:
        """See `Execution`."""
        with stage(name, total, self._show):
            return in_threads(function, items) if tensorflow else self._workers.map(function, items)

    def close(self) -> None:
        """Ends the workers."""
        self._workers.close()


class OnBeam:
    """On the Beam runner that the user's options name; `staging` is a folder that its workers share with this process."""

    def __init__(self, options: Sequence[str], staging: Path, show: bool = True) -> None:
        self._options = list(options)
        self._staging = staging
        self._show = show

    def map(self, name: str, function: Function, items: Sequence[Any], total: int | None = None, tensorflow: bool = False) -> Records:
        """See `Execution`; any worker may load TensorFlow."""
        del tensorflow
        import apache_beam as beam
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner

        from preprocessing.staging import collect, read_json

        options = PipelineOptions(self._options)
        direct = options.view_as(StandardOptions).runner in (None, "DirectRunner", "FnApiRunner")
        path = f"{self._staging}/{name}.json"
        with stage(name, total, self._show):
            try:
                # DirectRunner would first try to download another runner.
                pipeline = beam.Pipeline(runner=FnApiRunner() if direct else None, options=options)
            except ValueError as error:
                raise ColonnadeError(f"Beam refuses its options: {' '.join(str(error).split())}") from error
            numbered = pipeline | beam.Create(list(enumerate(items))) | beam.Reshuffle()
            collect(numbered | name >> beam.Map(_numbered, function), path, name)
            try:
                pipeline.run().wait_until_finish()
            except Exception as error:
                mistake = _users_mistake(error)
                if mistake is None:
                    raise
                raise ColonnadeError(mistake) from error
        # Workers end in any order.
        return [pair["record"] for pair in sorted(read_json(path), key=lambda pair: pair["number"])] if items else []

    def close(self) -> None:
        """Pipelines end by themselves."""


def load() -> None:
    """Returns when TensorFlow, and what stands on it here, is imported in this process."""
    with _loading:
        if "tensorflow" not in sys.modules:
            load_tensorflow()
        for name in ("preprocessing.analysis", "preprocessing.shards"):
            importlib.import_module(name)


@contextmanager
def loading() -> Iterator[None]:
    """Calls `load` in the background, while rows are read."""
    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    try:
        yield
    finally:
        # An error is not shown before: what is said on stderr during the import is thrown away.
        thread.join()


def in_threads(function: Function, items: Sequence[Any]) -> Records:
    """Calls a function that spends its time outside of Python, on all cores."""
    with ThreadPoolExecutor(min(cores(), len(items)) or 1) as threads:
        return list(threads.map(function, items))


def _numbered(pair: tuple[int, Any], function: Function) -> dict[str, Any]:
    return {"number": pair[0], "record": function(pair[1])}


def _users_mistake(error: Exception) -> str | None:
    """Returns the message of a ColonnadeError raised in a worker; Beam adds where it was, or hands on the text of the traceback alone."""
    said = re.search(
        r"ColonnadeError: (.*)$", f"ColonnadeError: {error}" if isinstance(error, ColonnadeError) else str(error), re.MULTILINE
    )
    return said and said[1].split(" [while running")[0]


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
