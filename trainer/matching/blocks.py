"""Users' sequences from Parquet shards, in blocks that fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_specs.base import Column
from feature_specs.errors import ColonnadeError
from trainer.data import Lists, to_numpy, unreadable

ITEMS = "_items"


class _RowGroup(NamedTuple):
    shard: int
    number: int
    users: int
    interactions: int
    examples: int
    positives: int


class Blocks:
    """The row groups of the shards, in the order of the files, joined into blocks of at most so many interactions (or of one group).

    Args:
        shards: `train-*.parquet` of a matching data directory.
        columns: User-side columns that are read beside the sequences.
        num_items: Of the catalogue.
        limit: Interactions of a block.
        count: Says how many examples, and how many positives, there are in sequences of given lengths.

    Attributes:
        examples: Of each block.
        max_users: Of any block.
        positives: Of all blocks.
        failure: The error of the last `read` that failed.

    Raises:
        ColonnadeError: A shard cannot be read, lacks a column or does not fit the catalogue.
    """

    def __init__(
        self, shards: Sequence[Path], columns: Sequence[Column], num_items: int, limit: int, count: Callable[[NDArray], tuple[int, int]]
    ) -> None:
        self.shards, self.columns, self._num_items, self._count = list(shards), list(columns), num_items, count
        self._vectors = {column.name: column.size for column in columns if column.layout == "vector"}
        groups = [group for number, path in enumerate(self.shards) for group in self._groups_of(number, path)]
        self._blocks = _joined(groups, limit)
        self.examples = [sum(group.examples for group in block) for block in self._blocks]
        self.max_users = max((sum(group.users for group in block) for block in self._blocks), default=0)
        self.positives = sum(group.positives for group in groups)
        self.failure: ColonnadeError | None = None

    def __len__(self) -> int:
        return len(self._blocks)

    def _groups_of(self, shard: int, path: Path) -> Iterator[_RowGroup]:
        """Yields what the row groups hold, with no more than one group's sequences in memory."""
        try:
            with pq.ParquetFile(path) as file:
                names = set(file.schema_arrow.names)
                lacking = [name for name in (ITEMS, *(column.name for column in self.columns)) if name not in names]
                if lacking:
                    raise ColonnadeError(f"Shard {str(path)!r} lacks the columns {', '.join(lacking)}. Preprocess again with this spec.")
                for index in range(file.metadata.num_row_groups):
                    lists = to_numpy(file.read_row_group(index, columns=[ITEMS], use_threads=False)[ITEMS])
                    if not isinstance(lists, Lists):
                        raise ColonnadeError(f"Shard {str(path)!r} has no lists in the column {ITEMS}. Preprocess again.")
                    self._check(path, lists.values)
                    yield _RowGroup(shard, index, len(lists.lengths), len(lists.values), *self._count(lists.lengths))
        except (OSError, pa.ArrowException) as error:
            raise unreadable(path, error) from error

    def _check(self, path: Path, items: NDArray) -> None:
        wrong = items[(items < 0) | (items >= self._num_items)]
        if len(wrong):
            raise ColonnadeError(
                f"Shard {str(path)!r} has the item number {wrong[0]}; items.parquet has {self._num_items} items. Preprocess again."
            )

    def read(self, number: int) -> dict[str, Any]:
        """Reads a block.

        Returns:
            `items` of all users, one after the other, int32 `[I]`; `starts`, int64 `[U + 1]`: where each user's begin and, last, where all
            end; `columns` by name: `[U]`, `[U, size]`, or for lists `values` and `starts`.

        Raises:
            ColonnadeError: A shard cannot be read.
        """
        wanted, tables = [ITEMS, *(column.name for column in self.columns)], []
        for group in self._blocks[number]:
            path = self.shards[group.shard]
            try:
                with pq.ParquetFile(path) as file:
                    tables.append(file.read_row_group(group.number, columns=wanted, use_threads=False))
            except (OSError, pa.ArrowException) as error:
                self.failure = unreadable(path, error)
                raise self.failure from error
        table = pa.concat_tables(tables).combine_chunks()
        columns = {column.name: _flat(to_numpy(table[column.name], self._vectors.get(column.name))) for column in self.columns}
        items = _flat(to_numpy(table[ITEMS]))
        return {"items": items["values"].astype(np.int32), "starts": items["starts"], "columns": columns}


def _joined(groups: Sequence[_RowGroup], limit: int) -> list[list[_RowGroup]]:
    blocks: list[list[_RowGroup]] = []
    held = 0
    for group in groups:
        if not blocks or held + group.interactions > limit:
            blocks.append([])
            held = 0
        blocks[-1].append(group)
        held += group.interactions
    return blocks


def _flat(column: NDArray | Lists) -> Any:  # noqa: ANN401 (a tree of arrays)
    if not isinstance(column, Lists):
        return column
    return {"values": column.values, "starts": np.concatenate([[0], np.cumsum(column.lengths, dtype=np.int64)])}
