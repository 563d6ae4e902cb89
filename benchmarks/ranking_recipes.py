"""Writes into the recipes of the ranking models what their rows came to: score, seeds, epochs and seconds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.ranking_report import summary
from benchmarks.ranking_tables import TABLES

_MARK = "  # Ours: "
_ROW = re.compile(r"  ([^\s:#]+):")


def write_recipes(results: Mapping[tuple[str, str, int], Mapping[str, Any]], folder: Path) -> None:
    """Writes a comment above each row that has runs, in place of the one from before; all else of the files stays as it is."""
    for table in TABLES:
        ours = [run for (recipe, *_), run in results.items() if recipe == table.recipe and run["settings"] is not None]
        said = {row: summary(table, [run for run in ours if run["row"] == row]) for row in {run["row"] for run in ours}}
        path = folder / f"{table.recipe}.yaml"
        before = path.read_bytes()
        after = with_summaries(before.decode(), said).encode()
        if after != before:
            # Renamed into its place: runs that begin meanwhile read the recipe.
            partial = path.with_suffix(".tmp")
            partial.write_bytes(after)
            partial.rename(path)


def with_summaries(text: str, said: Mapping[str, str]) -> str:
    """Returns the text of a recipe with what is said of its rows above each; lines that were written so before are gone."""
    lines, in_rows = [], False
    for line in text.splitlines(keepends=True):
        if line.startswith(_MARK):
            continue
        if line[0] not in " #\r\n":
            in_rows = line.startswith("rows:")
        row = _ROW.match(line) if in_rows else None
        if row and row[1] in said:
            lines.append(f"{_MARK}{said[row[1]]}\n")
        lines.append(line)
    return "".join(lines)
