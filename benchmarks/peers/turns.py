"""The contenders' side of a benchmark in turns: a process that does what it is told, a line of standard input at a time.

It needs nothing but Python, for it runs in the environment of each contender.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TextIO


def take_output() -> TextIO:
    """Returns what was standard output; what libraries print there goes where errors go from now on."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return output


def serve(output: TextIO, facts: Mapping[str, Any], commands: Mapping[str, Callable[[int], Any]]) -> NoReturn:
    """Says that it is ready, with some facts, then answers lines `COMMAND NUMBER`, as JSON, until `stop` or the end of the input.

    The answer to `stop` is the most memory that this process has held, in bytes.
    """
    _say(output, facts)
    for line in sys.stdin:
        name, _, number = line.strip().partition(" ")
        if name == "stop":
            _say(output, peak_memory())
            break
        _say(output, commands[name](int(number)))
    output.close()
    os._exit(0)  # a library's thread that waits for a network would be waited for


def peak_memory() -> int:
    """Returns the largest resident set that this process has had, in bytes (Linux)."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise RuntimeError("/proc/self/status names no VmHWM.")


def _say(output: TextIO, answer: Any) -> None:  # noqa: ANN401 (whatever JSON holds)
    print(json.dumps(answer), file=output, flush=True)
