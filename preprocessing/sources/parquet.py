"""Parquet: files are cut between rows, so that one file, or one row group of a million rows, feeds many workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from feature_specs import ColonnadeError, ParquetTable
from preprocessing.sources import text
from preprocessing.sources.ranges import ParsedRange, Range
from preprocessing.sources.streams import InputFile, opened
from preprocessing.sources.values import as_json, depth_of, text_form

_BATCH_ROWS = 1 << 15


def plan(table: ParquetTable, file: InputFile) -> list[Range]:
    """Cuts a file into ranges of about `text.RANGE_BYTES`, decompressed."""
    stored = file.stored or file.path
    with _parquet(stored, file.path) as parquet:
        groups = [parquet.metadata.row_group(i) for i in range(parquet.num_row_groups)]
        rows, size = parquet.metadata.num_rows, sum(group.total_byte_size for group in groups)
        columns = tuple(parquet.schema_arrow.names)
        depths = tuple(depth_of(field.type) for field in parquet.schema_arrow)
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise ColonnadeError(f"Input {file.path!r} has several columns of the same name: {', '.join(map(repr, twice))}. Rename them.")
    count = min(max(1, -(-size // text.RANGE_BYTES)), max(rows, 1))
    bounds = [rows * i // count for i in range(count + 1)]
    return [
        Range(file.path, stored, 0, begin, end, size // count, columns, table, depths, begin)
        for begin, end in zip(bounds, bounds[1:], strict=False)
    ]


def read(source: Range, wanted: Sequence[str]) -> ParsedRange:
    """Reads the columns `wanted` of a range of rows."""
    end = source.begin if source.end is None else source.end
    with _parquet(source.stored, source.path) as parquet:
        if parquet.metadata.num_rows < end:
            raise text.became_shorter(source)
        schema = pa.schema([parquet.schema_arrow.field(name) for name in wanted])
        rows = pa.Table.from_batches(list(_rows(parquet, source.begin, end, wanted)), schema)
    table = pa.table({name: text_form(rows[name]) for name in wanted})

    def places(numbers: Sequence[int]) -> Iterator[tuple[int, str]]:
        for number in numbers:
            yield source.begin + number + 1, as_json(rows.slice(number, 1).to_pylist()[0]).decode("utf-8", errors="replace")

    return ParsedRange(source, table, {}, places)


def _rows(parquet: pq.ParquetFile, begin: int, end: int, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yields rows [begin, end), reading no more row groups than hold them."""
    bounds = [0]
    for i in range(parquet.num_row_groups):
        bounds.append(bounds[-1] + parquet.metadata.row_group(i).num_rows)
    groups = [i for i in range(parquet.num_row_groups) if bounds[i] < end and bounds[i + 1] > begin]
    if not groups:
        return
    position = bounds[groups[0]]
    for batch in parquet.iter_batches(_BATCH_ROWS, row_groups=groups, columns=list(wanted)):
        first, position = position, position + len(batch)
        if position > begin:
            yield batch.slice(max(begin - first, 0), min(end, position) - max(begin, first))
        if position >= end:
            return


@contextmanager
def _parquet(stored: str, path: str) -> Iterator[pq.ParquetFile]:
    with opened(stored) as stream:
        try:
            yield pq.ParquetFile(stream)
        except (pa.ArrowException, OSError) as error:
            said = " ".join(str(error).split()).rstrip(".")
            raise ColonnadeError(f"Cannot read {path!r} as Parquet: {said}. Write or fetch the file again.") from error
