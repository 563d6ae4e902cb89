"""Rows that were set aside: how many are too many, and what is said then."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from feature_specs import ColonnadeError

MAX_REJECTED_FRACTION = 0.01
_SHOWN_REASONS = 5
_SHOWN_CHARACTERS = 100
# What differs from row to row: the value itself, and where in a line JSON ends to be some.
_VALUE = re.compile(r"""(?<=: )(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(?= is )|(?<=no valid JSON): .*|(?<=UTF-8): .*""")


def check_fraction(fraction: float) -> None:
    """Refuses a share that is none.

    Raises:
        ColonnadeError: It is not in [0, 1].
    """
    if not 0 <= fraction <= 1:
        raise ColonnadeError(f"max_rejected_fraction should be a share from 0 to 1. Received: {fraction}.")


def check_rejected(rows: int, rejected: int, limit: float, written: Sequence[Path], kept: str | None) -> None:
    """Refuses input of which too many rows were set aside.

    Args:
        rows: How many rows there were.
        rejected: How many of them were set aside.
        limit: The share that is allowed; all of them never are.
        written: The files of rejected rows, in order.
        kept: Where the user finds them, if anywhere.

    Raises:
        ColonnadeError: It is so; the message has the commonest reasons, each with its first row.
    """
    if rejected <= limit * rows and rejected < rows:
        return
    allowed = f"more than --max_rejected_fraction {limit:g} allows" if rejected > limit * rows else "so nothing is left"
    # Rounded up: what the message says should be enough, were it given.
    enough = min(1.0, -(-rejected * 1000 // rows) / 1000)
    more = f", or allow more with --max_rejected_fraction {enough:g}" if rejected < rows else ""
    where = f"All of them are in {kept}. " if kept else ""
    reasons = "\n".join(f"  {line}" for line in _commonest(written))
    raise ColonnadeError(
        f"{rejected:,} of {rows:,} rows ({rejected / rows:.2%}) were set aside, {allowed}. The commonest reasons:\n{reasons}\n"
        f"{where}Mend the input or the spec{more}."
    )


def _commonest(written: Sequence[Path]) -> Iterator[str]:
    counts: dict[str, int] = {}
    first: dict[str, dict[str, Any]] = {}
    for path in written:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                reason = _VALUE.sub("...", record["reason"])
                counts[reason] = counts.get(reason, 0) + 1
                first.setdefault(reason, record)
    for reason in sorted(counts, key=lambda reason: -counts[reason])[:_SHOWN_REASONS]:
        row = first[reason]
        said = f" ({row['reason']})" if row["reason"] != reason else ""
        yield f"{counts[reason]:,} x {reason}. First: {row['file']}, line {row['line']}{said}: {row['text'][:_SHOWN_CHARACTERS]!r}"
    if len(counts) > _SHOWN_REASONS:
        yield f"and {len(counts) - _SHOWN_REASONS:,} other reasons"
