"""Runs a program and measures it with all its processes: time, CPU time, and memory, sampled from /proc (Linux); names the machine."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_EVERY_SECONDS = 0.2
# What decides the rate of products of matrices.
_MATRIX_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def machine() -> str:
    """Returns what measurements were taken on: "2 cores of Intel(R) Xeon(R) Processor (avx512f, amx_bf16)"."""
    about = dict(re.findall(r"^(model name|flags)\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE))
    matrix = ", ".join(name for name in _MATRIX_FLAGS if name in about.get("flags", "").split())
    return f"{len(os.sched_getaffinity(0))} cores of {about.get('model name', platform.machine())}{f' ({matrix})' if matrix else ''}"


@dataclass(frozen=True)
class Measured:
    """What a program took.

    Attributes:
        seconds: From its start to its end.
        cpu_seconds: Of all its processes.
        peak_pss: Largest sum, over its processes, of the memory they hold, pages that several share divided among them; bytes.
        peak_rss: The same with shared pages counted in each; bytes.
    """

    seconds: float
    cpu_seconds: float
    peak_pss: int
    peak_rss: int


def measure(command: Sequence[str], log: Path, cores: set[int] | None = None) -> Measured:
    """Runs `command` on some cores, its output in `log`, and measures it.

    Raises:
        RuntimeError: It failed.
    """
    tag = uuid.uuid4().hex
    cpu: dict[str, float] = {}
    pss = rss = 0
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Whatever the program starts, daemons too, inherits it.
            env={**os.environ, "BENCHMARK_TAG": tag},
            preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
        )
        while process.poll() is None:
            now_pss = now_rss = 0
            for folder in _processes(tag):
                memory = _memory(folder)
                now_pss, now_rss = now_pss + memory[0], now_rss + memory[1]
                cpu[folder.name] = max(cpu.get(folder.name, 0.0), _cpu(folder))
            pss, rss = max(pss, now_pss), max(rss, now_rss)
            time.sleep(_EVERY_SECONDS)
    seconds = time.monotonic() - started
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: see {log}")
    return Measured(seconds, sum(cpu.values()), pss, rss)


def busy_seconds() -> float:
    """Returns the CPU time that everything on this machine has taken, as /proc/stat counts it."""
    user, nice, system, _, _, irq, soft, *_ = (int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    return (user + nice + system + irq + soft) / _TICKS


def _processes(tag: str) -> list[Path]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if tag.encode() in (folder / "environ").read_bytes():
                    found.append(folder)
            except OSError:
                continue
    return found


def _memory(folder: Path) -> tuple[int, int]:
    try:
        lines = (folder / "smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0, 0
    values = {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines[1:]}
    return values.get("Pss", 0), values.get("Rss", 0)


def _cpu(folder: Path) -> float:
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    # User and system time; those of processes already waited for are in the samples of their own.
    return (int(fields[11]) + int(fields[12])) / _TICKS
