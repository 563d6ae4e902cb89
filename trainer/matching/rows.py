"""The rows of a split that a matching model is evaluated on: who, what they had before, and what they took next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_specs.base import Column as SpecColumn
from feature_specs.errors import ColonnadeError
from feature_specs.spec import FeatureSpec
from trainer.data import Column, Lists, to_numpy, unreadable
from trainer.matching.catalogue import Catalogue
from trainer.matching.evaluation import EvaluationRows


@dataclass(frozen=True)
class Interactions:
    """All training interactions at once.

    Attributes:
        users: Row of each one's user, int64 `[N]`.
        items: Number of its item, `[N]`.
        num_users: Rows.
    """

    users: NDArray[np.int64]
    items: NDArray
    num_users: int


def read_interactions(shards: Sequence[Path]) -> Interactions:
    """Reads the training interactions of a matching data directory, users in the order of the files."""
    lists = _lists(_read(shards, ["_items"])["_items"])
    return Interactions(np.repeat(np.arange(len(lists.lengths)), lists.lengths), lists.values, len(lists.lengths))


def read_rows(shards: Sequence[Path], spec: FeatureSpec, catalogue: Catalogue, max_length: int) -> EvaluationRows:
    """Reads a split of a matching data directory into memory: one row a user.

    Args:
        shards: `valid-*.parquet` or `test-*.parquet`.
        spec: Of the data set.
        catalogue: Its items.
        max_length: Of histories; 0 gives none.

    Raises:
        ColonnadeError: A shard cannot be read or lacks a column, or there are no rows.
    """
    columns = [column for feature in spec.features if feature.name in spec.user_names for column in feature.outputs]
    table = _read(shards, ["_items", "_targets", *(column.name for column in columns)])
    seen, targets = (_lists(table[name]) for name in ("_items", "_targets"))
    return EvaluationRows(
        features=_Features(table, columns, seen, spec, catalogue, max_length),
        seen=seen,
        targets=targets,
        candidates=_lists(table["_candidates"]) if "_candidates" in table.column_names else None,
    )


class _Features:
    """The user features of rows, histories included."""

    def __init__(
        self, table: pa.Table, columns: Sequence[SpecColumn], seen: Lists, spec: FeatureSpec, catalogue: Catalogue, max_length: int
    ) -> None:
        sizes = {column.name: column.size for column in columns if column.layout == "vector"}
        self._columns = {column.name: to_numpy(table[column.name], sizes.get(column.name)) for column in columns}
        self._seen, self._padding, self._ids, self._max_length = seen, spec.paddings, catalogue.ids, max_length
        self._history = spec.history.name if spec.history is not None and max_length else None

    def __call__(self, begin: int, end: int) -> dict[str, NDArray]:
        rows = np.arange(begin, end)
        found = {name: _taken(column, rows, self._padding.get(name, 0)) for name, column in self._columns.items()}
        if self._history is not None:
            lengths = np.minimum(self._seen.lengths[rows], self._max_length)
            first = self._seen.starts[rows] + self._seen.lengths[rows] - lengths
            # A column of padding at least: a maximum over no steps is undefined.
            places = np.arange(max(1, int(lengths.max(initial=0))))
            within = places < lengths[:, None]
            history = np.zeros(within.shape, np.int64)
            history[within] = self._ids[self._seen.values[(first[:, None] + places)[within]]]
            found[self._history] = history
        return found


def _read(shards: Sequence[Path], columns: list[str]) -> pa.Table:
    tables = []
    for path in shards:
        try:
            with pq.ParquetFile(path) as file:
                names = file.schema_arrow.names
                lacking = [name for name in columns if name not in names]
                if lacking:
                    raise ColonnadeError(f"Shard {str(path)!r} lacks the columns {', '.join(lacking)}. Preprocess again with this spec.")
                tables.append(file.read([*columns, *(name for name in ("_candidates",) if name in names)], use_threads=False))
        except (OSError, pa.ArrowException) as error:
            raise unreadable(path, error) from error
    if not sum(map(len, tables)):
        raise ColonnadeError(f"There is no user in {', '.join(path.name for path in shards) or 'no shards'}. Change the split.")
    return pa.concat_tables(tables)


def _lists(column: pa.ChunkedArray) -> Lists:
    lists = to_numpy(column)
    if not isinstance(lists, Lists):
        raise TypeError("a column of item numbers is a list")
    return lists


def _taken(column: Column, rows: NDArray, padding: float) -> NDArray:
    if isinstance(column, Lists):
        padded = column.take(rows).padded(padding)
        return padded if padded.shape[1] else np.full((len(rows), 1), padding, padded.dtype)
    return column[rows]
