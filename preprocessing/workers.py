"""Worker processes on this machine: a function is called on many items, in several processes at once.

They are plain processes that import what reading needs (pyarrow and Beam's file systems, no TensorFlow) once and then fork, so they start
within two seconds and never run the user's own main module, as `multiprocessing` would.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from feature_specs import ColonnadeError
from preprocessing import progress


class Workers:
    """A number of worker processes; they end with `close`, or when this process ends, however it does."""

    def __init__(self, count: int) -> None:
        pairs = [socket.socketpair() for _ in range(count)]
        theirs = [end.fileno() for _, end in pairs]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "preprocessing.workers", *map(str, theirs)],
            pass_fds=theirs,
            # Held open: when it closes, because this process ends, the workers are ended too.
            stdin=subprocess.PIPE,
            # Ctrl-C is for the program that runs the job; it ends the workers itself.
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        for _, end in pairs:
            end.close()
        self._connections = [Connection(end.detach()) for end, _ in pairs]

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """Returns `function` of each item, in their order; an exception in a worker is raised here, a ColonnadeError as it was."""
        results: dict[int, Any] = {}
        waiting = list(enumerate(items))[::-1]
        busy: dict[Connection, int] = {}
        idle = list(self._connections)
        while waiting or busy:
            while idle and waiting:
                connection = idle.pop()
                number, item = waiting.pop()
                connection.send((function, item))
                busy[connection] = number
            for ready in wait(list(busy)):
                connection = ready  # type: ignore[assignment]
                kind, content = self._received(connection)
                if kind == "rows":
                    progress.advance(content)
                elif kind == "done":
                    results[busy.pop(connection)] = content
                    idle.append(connection)
                else:
                    raise ColonnadeError(content) if kind == "mistake" else RuntimeError(f"In a worker process:\n{content}")
        return [results[number] for number in range(len(items))]

    def _received(self, connection: Connection) -> tuple[str, Any]:
        try:
            return connection.recv()
        except (EOFError, ConnectionError) as error:
            raise ColonnadeError(
                "A worker process ended unexpectedly, perhaps for want of memory. Free some, or read in one process: "
                "--direct_num_workers 1."
            ) from error

    def close(self) -> None:
        """Ends the processes, whatever they are doing."""
        for connection in self._connections:
            connection.close()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


def _serve(connection: Connection) -> None:
    """Answers one request after the other until the other side hangs up."""
    import pyarrow as pa

    # As many processes as cores: more threads in each would only be in each other's way.
    pa.set_cpu_count(1)
    progress.report_to(lambda rows: connection.send(("rows", rows)))
    while True:
        try:
            function, item = connection.recv()
        except (EOFError, ConnectionError):
            return
        try:
            answer = ("done", function(item))
        except ColonnadeError as error:
            answer = ("mistake", str(error))
        except Exception:
            answer = ("failed", traceback.format_exc())
        del function, item
        connection.send(answer)
        pa.default_memory_pool().release_unused()


def _main(descriptors: Sequence[int]) -> None:
    progress.keep_quiet()
    # Imported once, then shared by all processes.
    import preprocessing.ingest  # noqa: F401

    warnings.simplefilter("ignore")
    gc.freeze()
    children = []
    for place, descriptor in enumerate(descriptors):
        child = os.fork()
        if child == 0:
            # The other ends belong to other workers: held here, they would hide that one of those has died.
            for other in descriptors[place + 1 :]:
                os.close(other)
            with suppress(BrokenPipeError):
                _serve(Connection(descriptor))
            os._exit(0)
        os.close(descriptor)
        children.append(child)
    sys.stdin.buffer.read()
    for child in children:
        os.kill(child, signal.SIGKILL)
    for _ in children:
        os.wait()


if __name__ == "__main__":
    _main([int(argument) for argument in sys.argv[1:]])
