"""Large memory pages for training: a step's look-ups land anywhere in the tables, and with small pages each has to find its page first."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

_SETTING, _VALUE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
_MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart_with_huge_pages(module: str) -> None:
    """Starts the program anew, as the same process, with an allocator that asks for huge pages; does nothing where that is of no use.

    That is, where the program is not `python -m <module>` (a notebook, a test), where the kernel gives huge pages to all or to nobody,
    where the C library cannot ask for them (glibc can since 2.35), and where the user has set the allocator by GLIBC_TUNABLES, as
    the restarted program finds it. To be called before anything is printed or imported that takes long.
    """
    specification = getattr(sys.modules["__main__"], "__spec__", None)
    if getattr(specification, "name", None) != module or not _is_of_use(os.environ, _mode(), _libc()):
        return
    os.environ[_SETTING] = _VALUE
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _is_of_use(environment: Mapping[str, str], mode: str, libc: str) -> bool:
    name, _, version = libc.partition(" ")
    is_able = name == "glibc" and tuple(int(part) for part in version.split(".")[:2]) >= (2, 35)
    return is_able and "[madvise]" in mode and _SETTING not in environment


def _mode() -> str:
    try:
        return _MODE.read_text(encoding="ascii")
    except OSError:  # no Linux, or a kernel without them
        return ""


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, OSError, ValueError):  # no glibc
        return ""
