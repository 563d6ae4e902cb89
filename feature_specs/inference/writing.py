"""Writes a proposed spec as YAML with a comment above each choice."""

from __future__ import annotations

import os
import re
import shlex
import stat
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

_WIDTH = 140


def comment(text: str, indent: str = "") -> str:
    """Returns `text` as lines of comment, without characters that YAML refuses."""
    clean = re.sub(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]", "?", text)
    return "\n".join(
        f"{indent}# {line}" for line in textwrap.wrap(clean, _WIDTH - 4, break_long_words=False, break_on_hyphens=False) or [""]
    )


def flow(tree: Any) -> str:  # noqa: ANN401 (any part of a spec)
    """Returns a part of a spec on one line."""
    return yaml.safe_dump(tree, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf")).strip()


def feature_lines(features: Sequence[dict[str, Any]], *, commented: bool) -> list[str]:
    """Returns one line a feature, as comments where they are only suggested."""
    return [("# " if commented else "") + "- " + flow(feature) for feature in features]


def commands(spec_file: str, name: str, inputs: Sequence[str], rejected: float) -> str:
    """Returns the two commands that follow, as lines of comment; `rejected` is the share of rows that cannot be used."""
    # The job fails over 1 %; the other rows may have a few more.
    allowed = f" --max_rejected_fraction {min(1.0, rejected + 0.01):.2f}" if rejected > 0.005 else ""
    data = f"data/{name}"
    given = " ".join(shlex.quote(path) for path in inputs)
    lines = (
        f"python -m preprocessing.task --spec {shlex.quote(spec_file)} --input {given} --output {data}{allowed}",
        f"python -m trainer.task --spec {shlex.quote(spec_file)} --data_dir {data} --model nfm",
    )
    return "\n".join("# " + re.sub(r"[\x00-\x1f\x7f]", "?", line) for line in lines)


def output_file() -> str:
    """Returns the file that the shell has redirected our output to, where the system says it; "my.yaml" otherwise."""
    try:
        number = sys.stdout.fileno()
        if stat.S_ISREG(os.fstat(number).st_mode):
            path = Path(os.readlink(f"/proc/self/fd/{number}"))
            if path.suffix in (".yaml", ".yml"):
                return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
    except (OSError, ValueError):
        pass
    return "my.yaml"
