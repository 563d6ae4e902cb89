"""Files that stages hand to each other: Arrow tables and JSON, on any Beam file system.

Only their names flow through Beam, so memory does not grow with the number of rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.filesystems import FileSystems

BATCH_ROWS = 1 << 16


def write_batches(path: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Writes record batches as an Arrow file."""
    # Not compressed: lz4 takes five times as long to write and saves a quarter.
    with FileSystems.create(path) as stream, pa.ipc.new_file(stream, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def write_table(path: str, table: pa.Table) -> None:
    """Writes a table as an Arrow file, in batches of `BATCH_ROWS` rows."""
    write_batches(path, table.schema, table.to_batches(max_chunksize=BATCH_ROWS))


@contextmanager
def opened(path: str, columns: Sequence[str] | None = None) -> Iterator[pa.ipc.RecordBatchFileReader]:
    """Opens an Arrow file for reading batch by batch; of all columns, or of some."""
    with FileSystems.open(path) as stream:
        options = None
        if columns is not None:
            with pa.ipc.open_file(stream) as reader:
                names = reader.schema.names
            options = pa.ipc.IpcReadOptions(included_fields=[names.index(name) for name in columns])
        with pa.ipc.open_file(stream, options=options) as reader:
            yield reader


def read_batches(path: str) -> Iterator[pa.RecordBatch]:
    """Yields the record batches of an Arrow file."""
    with opened(path) as reader:
        for i in range(reader.num_record_batches):
            yield reader.get_batch(i)


def collect(records: beam.PCollection, path: str, label: str) -> None:
    """Writes small JSON records as one file, in no particular order, for the program that runs the pipeline."""
    _ = (
        records
        | f"Gather{label}" >> beam.CombineGlobally(beam.combiners.ToListCombineFn())
        | f"Write{label}" >> beam.Map(_write_json, path)
    )


def _write_json(records: list[dict[str, Any]], path: str) -> None:
    with FileSystems.create(path) as stream:
        stream.write(json.dumps(records).encode())


def read_json(path: str) -> list[dict[str, Any]]:
    """Reads what `collect` wrote."""
    with FileSystems.open(path) as stream:
        return json.loads(stream.read())
