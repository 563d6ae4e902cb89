"""Training asks for huge pages where the kernel gives them on request."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer import huge_pages

MADVISE, GLIBC = "always [madvise] never", "glibc 2.36"


@pytest.mark.parametrize(
    ("environment", "mode", "libc", "expected"),
    [
        ({}, MADVISE, GLIBC, True),
        ({}, MADVISE, "glibc 2.35", True),
        ({}, MADVISE, "glibc 2.34", False),
        ({}, MADVISE, "", False),
        ({}, "[always] madvise never", GLIBC, False),
        ({}, "always madvise [never]", GLIBC, False),
        ({}, "", GLIBC, False),
        ({"GLIBC_TUNABLES": "glibc.malloc.check=1"}, MADVISE, GLIBC, False),
    ],
)
def test_where_a_restart_is_of_use(environment: dict[str, str], mode: str, libc: str, expected: bool) -> None:
    assert huge_pages._is_of_use(environment, mode, libc) is expected


def test_other_programs_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "execv", lambda *arguments: pytest.fail(f"restarted: {arguments}"))
    monkeypatch.setattr(huge_pages, "_is_of_use", lambda *_: True)
    huge_pages.restart_with_huge_pages("trainer.task")


def test_a_program_starts_once_more_with_its_arguments(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import os, sys\n"
        "from trainer import huge_pages\n"
        "huge_pages._mode, huge_pages._libc = lambda: 'always [madvise] never', lambda: 'glibc 2.36'\n"
        "huge_pages.restart_with_huge_pages('program')\n"
        "print(os.environ['GLIBC_TUNABLES'], sys.argv[1:], os.getpid())\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(Path(huge_pages.__file__).parents[1])])
    command = [sys.executable, "-m", "program", "--model", "a b"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        printed, _ = process.communicate()
    assert printed == f"glibc.malloc.hugetlb=1 ['--model', 'a b'] {process.pid}\n"
