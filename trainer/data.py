"""Batches from Parquet shards: shuffled in blocks, in an order that (seed, epoch) decides, from any position.

An epoch's order: the row groups of all shards are shuffled, joined into blocks of at most `shuffle_rows` rows, and the rows of a block
are shuffled. Memory is one block, whatever the size of the data, and a resumed epoch skips blocks by their row counts without reading
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs.base import Column as SpecColumn
from feature_specs.errors import ColonnadeError
from feature_specs.spec import FeatureSpec

LABEL, WEIGHT = "label", "_weight"


class _RowGroup(NamedTuple):
    shard: int
    number: int
    rows: int


class Lists(NamedTuple):
    """A list column: all values of its rows one after the other, and each row's first value and length, `[N]`."""

    values: NDArray
    starts: NDArray
    lengths: NDArray

    def take(self, rows: NDArray) -> Lists:
        """Returns the lists of `rows` alone."""
        lengths = self.lengths[rows]
        ends = np.cumsum(lengths)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
        return Lists(self.values[np.repeat(self.starts[rows], lengths) + within], ends - lengths, lengths)

    def padded(self, padding: float = 0) -> NDArray:
        """Returns the lists as `[N, T]`, padded on the right to the longest of them."""
        longest = int(self.lengths.max(initial=0))
        result = np.full((len(self.lengths), longest), padding, self.values.dtype)
        result[np.arange(longest) < self.lengths[:, None]] = self.values
        return result


Column = NDArray | Lists


class ParquetBatches:
    """The rows of one split, as batches of `(features, label)`, or `(features, label, weight)` where the spec's label has a weight.

    Features are what the transform graph gives, a tensor a column of `spec.outputs`: single values `[B]`, vectors `[B, size]`, lists
    `[B, T]`, padded on the right to the longest of the batch: ids with 0, numbers with NaN, steps with -1.

    Args:
        shards: Parquet files of one split.
        spec: Says which columns are features.
        batch_size: Rows of a batch; the last of an epoch may be smaller.
        shuffle_rows: Rows of a block; 0 keeps the order of the files.
        seed: Of the order.

    Raises:
        ColonnadeError: A shard is no readable Parquet file or lacks a column, or there are no rows at all.
    """

    def __init__(self, shards: Sequence[Path], spec: FeatureSpec, batch_size: int, *, shuffle_rows: int = 0, seed: int = 0) -> None:
        self.spec, self.batch_size, self.shuffle_rows, self.seed = spec, batch_size, shuffle_rows, seed
        self.shards = list(shards)
        self._beside = (LABEL,) if spec.label.weight is None else (LABEL, WEIGHT)
        self.columns = [*(column.name for column in spec.outputs), *self._beside]
        self._vectors = {column.name: column.size for column in spec.outputs if column.layout == "vector"}
        self._padding = spec.paddings
        self._groups = [group for number, path in enumerate(self.shards) for group in self._read_footer(number, path)]
        self.num_rows = sum(group.rows for group in self._groups)
        if self.num_rows == 0:
            names = ", ".join(path.name for path in self.shards) or "no shards"
            raise ColonnadeError(f"There is no row to read in {names}. Check the split's fractions and the job's rejected-*.jsonl.")
        self.num_batches = -(-self.num_rows // batch_size)
        self.element_spec = element_spec(spec)
        self._failure: ColonnadeError | None = None

    def _read_footer(self, number: int, path: Path) -> Iterator[_RowGroup]:
        try:
            with pq.ParquetFile(path) as file:
                metadata, names = file.metadata, set(file.schema_arrow.names)
        except (OSError, pa.ArrowException) as error:
            raise unreadable(path, error) from error
        lacking = [name for name in self.columns if name not in names]
        if lacking:
            raise ColonnadeError(f"Shard {str(path)!r} lacks the columns {', '.join(lacking)}. Preprocess again with this spec.")
        for index in range(metadata.num_row_groups):
            yield _RowGroup(number, index, metadata.row_group(index).num_rows)

    def dataset(self, epoch: int = 0, start_batch: int = 0) -> tf.data.Dataset:
        """Returns the batches of one epoch from `start_batch` on."""
        return tf.data.Dataset.from_generator(lambda: self.batches(epoch, start_batch), output_signature=self.element_spec).prefetch(2)

    @contextmanager
    def errors_of_reading(self) -> Iterator[None]:
        """Inside, an error of reading a shard comes as it was raised, not wrapped in one of TensorFlow's."""
        try:
            yield
        except tf.errors.OpError as error:
            if self._failure is None:
                raise
            raise self._failure from error

    def batches(self, epoch: int = 0, start_batch: int = 0) -> Iterator[tuple[Any, ...]]:
        """Yields what `dataset` holds, as NumPy arrays."""
        pending: list[dict[str, Column]] = []
        waiting = 0
        for piece in self._pieces(epoch, start_batch * self.batch_size):
            pending.append(piece)
            waiting += len(piece[LABEL])
            if waiting == self.batch_size:
                yield self._collate(pending)
                pending, waiting = [], 0
        if pending:
            yield self._collate(pending)

    def read_column(self, name: str) -> pa.ChunkedArray | None:
        """Returns a whole column in the order of the files, or None where the shards have no such column."""
        if any(name not in pq.read_schema(path).names for path in self.shards):
            return None
        return pa.concat_tables([pq.read_table(path, columns=[name]) for path in self.shards])[name]

    def _pieces(self, epoch: int, start: int) -> Iterator[dict[str, Column]]:
        """Yields parts of blocks that end where a batch or their block ends, leaving out the first `start` rows of the epoch."""
        first = 0
        for number, block in enumerate(self._blocks(epoch)):
            rows = sum(group.rows for group in block)
            if first + rows > start:
                columns = self._read(block)
                order = self._rng(epoch, number).permutation(rows) if self.shuffle_rows else np.arange(rows)
                at = max(start - first, 0)
                while at < rows:
                    end = min(rows, at + self.batch_size - (first + at) % self.batch_size)
                    chosen = order[at:end]
                    yield {name: c.take(chosen) if isinstance(c, Lists) else c[chosen] for name, c in columns.items()}
                    at = end
            first += rows

    def _blocks(self, epoch: int) -> Iterator[list[_RowGroup]]:
        order = self._rng(epoch).permutation(len(self._groups)) if self.shuffle_rows else range(len(self._groups))
        block: list[_RowGroup] = []
        for group in (self._groups[i] for i in order):
            if block and sum(g.rows for g in block) + group.rows > self.shuffle_rows:
                yield block
                block = []
            block.append(group)
        yield block

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *key])

    def _read(self, block: Sequence[_RowGroup]) -> dict[str, Column]:
        tables = []
        for group in block:
            path = self.shards[group.shard]
            try:
                with pq.ParquetFile(path) as file:
                    tables.append(file.read_row_group(group.number, columns=self.columns, use_threads=False))
            except (OSError, pa.ArrowException) as error:
                self._failure = unreadable(path, error)
                raise self._failure from error
        table = pa.concat_tables(tables).combine_chunks()
        return {name: to_numpy(table[name], self._vectors.get(name)) for name in self.columns}

    def _collate(self, pieces: Sequence[dict[str, Column]]) -> tuple[Any, ...]:
        batch: dict[str, NDArray] = {}
        for name in pieces[0]:
            parts = [piece[name] for piece in pieces]
            if isinstance(parts[0], Lists):
                lists = [part for part in parts if isinstance(part, Lists)]
                lengths = np.concatenate([part.lengths for part in lists])
                values = np.concatenate([part.values for part in lists])
                batch[name] = Lists(values, np.cumsum(lengths) - lengths, lengths).padded(self._padding[name])
            else:
                batch[name] = np.concatenate(parts) if len(parts) > 1 else parts[0]
        return batch, *(batch.pop(name) for name in self._beside)


def unreadable(path: Path, error: Exception) -> ColonnadeError:
    """Returns the error of a shard that cannot be read."""
    return ColonnadeError(f"Shard {str(path)!r} cannot be read: {' '.join(str(error).split()).rstrip('.')}. Preprocess again.")


def to_numpy(column: pa.ChunkedArray, size: int | None = None) -> Column:
    """Returns a column; one of vectors, of `size` numbers each, as `[N, size]`."""
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if size is not None:
        return array.flatten().to_numpy(zero_copy_only=False).reshape(-1, size)
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        offsets = array.offsets.to_numpy(zero_copy_only=False)
        return Lists(array.values.to_numpy(zero_copy_only=False), offsets[:-1], np.diff(offsets))
    return array.to_numpy(zero_copy_only=False)


def element_spec(spec: FeatureSpec) -> tuple[Any, ...]:
    """Returns the types of a batch: features by name, label and, where the spec's label has one, weight."""
    features = {c.name: tf.TensorSpec(shape_of(c), tf.as_dtype(c.dtype)) for c in spec.outputs}
    return features, *[tf.TensorSpec([None], tf.float32)] * (1 if spec.label.weight is None else 2)


def shape_of(column: SpecColumn) -> list[int | None]:
    """Returns the shape of a batch of a column."""
    if column.layout == "single":
        return [None]
    return [None, column.size if column.layout == "vector" else None]
