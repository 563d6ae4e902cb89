"""Ranges: the pieces that files are cut into, and what reading one gives, whatever the format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from feature_specs.sources import Table

_SHOWN_CHARACTERS = 500


@dataclass(frozen=True)
class Range:
    """Some rows of a file; small, for it travels to a worker.

    Attributes:
        path: The user's name of the file.
        stored: Where its bytes lie.
        index: Number of the range among those of its table, in file order.
        begin: Where it begins: a byte, or in Parquet the number of a row.
        end: Where it ends; None where only decompressing tells.
        size: Number of bytes, about; 0 where it is unknown.
        columns: Names of all columns.
        table: What the spec says of the file.
        depths: Of each column: 0 for values, 1 for lists, 2 for lists of lists.
        rows_before: Rows of the file before the range, where they were counted.
    """

    path: str
    stored: str
    index: int
    begin: int
    end: int | None
    size: int
    columns: tuple[str, ...]
    table: Table
    depths: tuple[int, ...] = ()
    rows_before: int = 0


@dataclass
class ParsedRange:
    """What became of a range.

    Attributes:
        source: The range.
        table: The well-formed rows, each column as text: see `values`.
        ragged: Row number in the range, from 0, and the reason, of each row that is none.
        places: Yields the line in the file, from 1, and the text of rows, given their numbers in the range, ascending.
    """

    source: Range
    table: pa.Table
    ragged: dict[int, str]
    places: Callable[[Sequence[int]], Iterator[tuple[int, str]]] = field(repr=False)

    def numbers(self) -> np.ndarray:
        """Returns the number in the range, from 0, of each row of `table`."""
        everything = np.arange(self.table.num_rows + len(self.ragged))
        return np.delete(everything, sorted(self.ragged))

    def locate(self, numbers: Sequence[int]) -> Iterator[tuple[int, str]]:
        """Yields the line in the file, from 1, and the text (the begin of a long one) of each row; numbers ascend."""
        for line, text in self.places(numbers):
            yield line, text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}... ({len(text):,} characters)"
