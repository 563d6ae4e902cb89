"""Batches from Parquet shards: shuffled in blocks, in an order that (seed, epoch) decides, from any position.

An epoch's order: the row groups of all shards are shuffled, joined into blocks of at most `shuffle_rows` rows, and the rows of a block
are shuffled. Memory is one block and a few chunks, whatever the size of the data, and a resumed epoch skips blocks by their row counts
without reading them. Python hands chunks of many batches to the graph, all columns of one type as one array, and the graph cuts them: what
Python does is paid once a chunk.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from trainer.packing import Column, Lists, Packing
from trainer.pipelines import untuned

__all__ = ["Column", "Lists", "ParquetBatches", "element_spec", "shape_of", "to_numpy", "unreadable"]

LABEL, WEIGHT = "label", "_weight"
# Few enough for arrays that the allocator uses again: fresh pages cost as much as filling them.
_CHUNK_ROWS = 1 << 15


class _RowGroup(NamedTuple):
    """A row group: its shard, its number in there, how many rows it has, and how many rows of the split come before them."""

    shard: int
    number: int
    rows: int
    first: int


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
        self.num_rows = 0
        self._groups = [group for number, path in enumerate(self.shards) for group in self._read_footer(number, path)]
        if self.num_rows == 0:
            names = ", ".join(path.name for path in self.shards) or "no shards"
            raise ColonnadeError(f"There is no row to read in {names}. Check the split's fractions and the job's rejected-*.jsonl.")
        self.num_batches = -(-self.num_rows // batch_size)
        self.element_spec = element_spec(spec)
        types = {**self.element_spec[0], **dict(zip(self._beside, self.element_spec[1:], strict=True))}
        self._packing = Packing(types, spec.paddings)
        self._chunk_rows = batch_size * max(1, _CHUNK_ROWS // batch_size)
        self._kept: dict[str, Column] | None = None
        self._taken: dict[int, dict[str, Any]] = {}
        self._taken_from: tuple[int, int] | None = None
        self._lock = threading.Lock()
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
            yield _RowGroup(number, index, metadata.row_group(index).num_rows, self.num_rows)
            self.num_rows += metadata.row_group(index).num_rows

    def dataset(self, epoch: int = 0, start_batch: int = 0) -> tf.data.Dataset:
        """Returns the batches of one epoch from `start_batch` on."""
        # Traced once for all epochs: building a pipeline takes longer than reading an epoch of small data.
        variant = self._pipeline(tf.constant(epoch, tf.int64), tf.constant(start_batch, tf.int64))
        return untuned(tf.data.experimental.from_variant(variant, self.element_spec))

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
        with self.errors_of_reading():
            yield from self.dataset(epoch, start_batch).as_numpy_iterator()

    def read_column(self, name: str) -> pa.ChunkedArray | None:
        """Returns a whole column in the order of the files, or None where the shards have no such column."""
        if any(name not in pq.read_schema(path).names for path in self.shards):
            return None
        return pa.concat_tables([pq.read_table(path, columns=[name]) for path in self.shards])[name]

    @functools.cached_property
    def _pipeline(self) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        number = tf.TensorSpec([], tf.int64)
        return tf.function(self._built, autograph=False).get_concrete_function(number, number)

    def _built(self, epoch: tf.Tensor, start_batch: tf.Tensor) -> tf.Tensor:
        """Returns the dataset of an epoch, as a tensor."""
        flat = tf.nest.flatten(self._packing.spec)

        def read(number: tf.Tensor) -> Any:  # noqa: ANN401 (a chunk)
            # No from_generator: it makes malloc return memory at once, for the whole process, and steps then pay for fresh pages.
            parts = tf.numpy_function(self._flat_chunk, [epoch, number], [spec.dtype for spec in flat])
            return tf.nest.pack_sequence_as(
                self._packing.spec, [tf.ensure_shape(*pair) for pair in zip(parts, (spec.shape for spec in flat), strict=True)]
            )

        options = tf.data.Options()
        options.experimental_optimization.apply_default_optimizations = False  # it takes half of an epoch's start, and finds nothing
        batches = self._chunk_rows // self.batch_size
        numbers = tf.data.Dataset.range(start_batch // batches, -(-self.num_rows // self._chunk_rows))
        chunks = numbers.map(tf.autograph.experimental.do_not_convert(read)).prefetch(2)
        whole = chunks.flat_map(tf.autograph.experimental.do_not_convert(self._cut)).skip(start_batch % batches)
        return tf.data.experimental.to_variant(whole.prefetch(4).with_options(options))

    def _cut(self, chunk: Mapping[str, Any]) -> tf.data.Dataset:
        rows = self._packing.num_rows(chunk)

        @tf.autograph.experimental.do_not_convert
        def batch(first: tf.Tensor) -> tuple[Any, ...]:
            columns = self._packing.cut(chunk, first, tf.minimum(rows, first + self.batch_size))
            return {name: columns[name] for name in self.element_spec[0]}, *(columns[name] for name in self._beside)

        return tf.data.Dataset.range(0, rows, self.batch_size).map(batch)

    def _flat_chunk(self, epoch: int, number: int) -> list[NDArray]:
        with self._lock:
            chunk = self._chunk(int(epoch), int(number))
        return tf.nest.flatten(chunk)

    def _chunk(self, epoch: int, number: int) -> dict[str, Any]:
        """Returns rows of an epoch: those of chunk `number`, which may lie in several blocks."""
        begin, end = number * self._chunk_rows, min((number + 1) * self._chunk_rows, self.num_rows)
        pieces, first = [], 0
        for place, block in enumerate(self._blocks(epoch)):
            after = first + sum(group.rows for group in block)
            if after > begin and first < end:
                if self._taken_from != (epoch, place) or number not in self._taken:
                    self._taken = {}  # or the next block would be read beside it
                    self._taken = self._take(epoch, place, block, first, after, number)
                    self._taken_from = epoch, place
                pieces.append(self._taken.pop(number))
            first = after
        return self._packing.join(pieces)

    def _take(self, epoch: int, place: int, block: Sequence[_RowGroup], first: int, after: int, number: int) -> dict[int, dict[str, Any]]:
        """Returns rows `first` to `after` of an epoch, which are those of `block`, by chunk, from chunk `number` on."""
        order = self._rng(epoch, place).permutation(after - first) if self.shuffle_rows else np.arange(after - first)
        columns: Iterable[tuple[str, Column]] = self._columns_of(block)
        if len(block) == len(self._groups):
            # The only block stays in memory, in the order of the files; that of the row groups is another in each epoch.
            self._kept = self._kept or dict(self._columns_of(self._groups))
            order = np.concatenate([np.arange(group.first, group.first + group.rows) for group in block])[order]
            columns = self._kept.items()
        rows = {
            chunk: order[max(chunk * self._chunk_rows - first, 0) : (chunk + 1) * self._chunk_rows - first]
            for chunk in range(number, -(-after // self._chunk_rows))
        }
        return dict(zip(rows, self._packing.take(columns, list(rows.values())), strict=True))

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

    def _columns_of(self, block: Sequence[_RowGroup]) -> Iterator[tuple[str, Column]]:
        """Yields the columns of a block one by one."""
        parts: dict[str, list[pa.Array]] = {name: [] for name in self.columns}
        for group in block:
            table = self._read_group(group)
            for name, chunks in parts.items():
                chunks += table[name].chunks
            del table  # its columns go one by one
        for name in self.columns:
            yield name, to_numpy(pa.chunked_array(parts.pop(name)), self._vectors.get(name))

    def _read_group(self, group: _RowGroup) -> pa.Table:
        path = self.shards[group.shard]
        try:
            with pq.ParquetFile(path) as file:
                return file.read_row_group(group.number, columns=self.columns, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            self._failure = unreadable(path, error)
            raise self._failure from error


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
