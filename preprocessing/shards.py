"""The third stage: raw examples through the transform graph into Parquet, and statistics of both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystems import FileSystems

from feature_specs import FeatureSpec
from preprocessing import progress
from preprocessing.examples import SPLITS
from preprocessing.execution import Execution
from preprocessing.graph import load_transform
from preprocessing.measuring import SplitSummary
from preprocessing.staging import BATCH_ROWS, read_batches, write_table
from preprocessing.tensors import to_arrow, to_tensors

Graph = Callable[[Mapping[str, Any]], dict[str, Any]]
_loading = threading.Lock()
_graphs: dict[str, Graph] = {}


@dataclass(frozen=True)
class TransformPlan:
    """What a worker has to know.

    Attributes:
        spec: The data set.
        transform_fn: Where the transform graph is.
        folder: Where Parquet files go.
        num_shards: Of how many shards a file is part.
        sketches: Where the sketches for the statistics go.
        table_rows: Rows of each embedding table.
    """

    spec: FeatureSpec
    transform_fn: str
    folder: str
    num_shards: int
    sketches: str
    table_rows: Mapping[str, int]


def transform(execution: Execution, plan: TransformPlan, shards: Sequence[dict[str, Any]], total: int) -> list[dict[str, Any]]:
    """Runs the stage; it writes `<split>-<shard>-of-<n>.parquet` and returns a record of each file, in order of the names."""
    written = execution.map("transform", partial(_transform_shard, plan), shards, total, tensorflow=True)
    return sorted((file for record in written for file in record["files"]), key=lambda file: file["file"])


def transform_in_pairs(execution: Execution, plan: TransformPlan, shards: Sequence[dict[str, Any]]) -> list[str]:
    """Writes, for each raw shard, `pairs-<shard>-of-<n>.parquet`: raw and transformed values of the same row. Returns the names."""
    return [record["file"] for record in execution.map("transform", partial(_pair_shard, plan), shards, tensorflow=True)]


def graph(path: str) -> Graph:
    """Returns the transform graph in the folder `path`, loaded once in a process."""
    with _loading:
        if path not in _graphs:
            keep(path, load_transform(path))
        return _graphs[path]


def keep(path: str, function: Graph) -> None:
    """Has `graph` return `function` for `path` from now on: whoever has traced a graph need not load what was saved of it."""
    _graphs.clear()
    _graphs[path] = function


def _transform_shard(plan: TransformPlan, shard: dict[str, Any]) -> dict[str, Any]:
    """Writes one file a split that has rows in the shard; row groups are batches."""
    files = []
    # A file a split, so that a reader of one split opens nothing else.
    for number, split in enumerate(SPLITS):
        if not shard["splits"][number]:
            continue
        name = f"{split}-{shard['index']:05d}-of-{plan.num_shards:05d}.parquet"
        summary = SplitSummary(plan.spec, plan.table_rows)
        with ParquetFile(f"{plan.folder}/{name}") as file:
            for raw in rows_of_split(shard["path"], number):
                made = transformed(plan, raw)
                summary.add(raw, made)
                file.write(_with_label_and_keys(made, raw))
                progress.advance(len(raw))
        sketches = f"{plan.sketches}/{split}-{shard['index']:05d}.arrow"
        write_table(sketches, summary.to_table())
        files.append({"file": name, "split": split, "rows": shard["splits"][number], "sketches": sketches})
    return {"files": files}


def _pair_shard(plan: TransformPlan, shard: dict[str, Any]) -> dict[str, Any]:
    name = f"pairs-{shard['index']:05d}-of-{plan.num_shards:05d}.parquet"
    with ParquetFile(f"{plan.folder}/{name}") as file:
        for raw in read_batches(shard["path"]):
            file.write(paired(plan.spec, raw, pa.Table.from_batches([transformed(plan, raw)])))
            progress.advance(len(raw))
    return {"file": name}


def paired(spec: FeatureSpec, raw: pa.RecordBatch, transformed: pa.Table) -> pa.Table:
    """Returns `raw.<raw column>`, then the transformed columns, then `label` where there is one, of the same rows."""
    columns = {f"raw.{column.name}": raw.column(column.name) for column in spec.raw_inputs}
    columns.update({column.name: transformed[column.name] for column in spec.outputs})
    if "label" in raw.schema.names:
        columns["label"] = raw.column("label")
    return pa.table(columns)


def transformed(plan: TransformPlan, raw: pa.RecordBatch) -> pa.RecordBatch:
    """Pushes raw examples through the transform graph."""
    return to_arrow(plan.spec, graph(plan.transform_fn)(to_tensors(plan.spec, raw)))


class ParquetFile:
    """A Parquet file on any Beam file system; each table written is one row group."""

    def __init__(self, path: str) -> None:
        self._stream = FileSystems.create(path)
        self._writer: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> None:
        """Appends the rows of `table`."""
        self._writer = self._writer or pq.ParquetWriter(self._stream, table.schema)
        self._writer.write_table(table)

    def __enter__(self) -> ParquetFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
        self._stream.close()


def rows_of_split(path: str, number: int) -> Iterator[pa.RecordBatch]:
    """Yields the rows of one split, in file order, in batches of `BATCH_ROWS` rows but for the last."""
    waiting: list[pa.RecordBatch] = []
    for batch in read_batches(path):
        waiting.append(batch.filter(pa.array(batch.column("_split").to_numpy() == number)))
        if sum(map(len, waiting)) >= BATCH_ROWS:
            # Row groups of one size, whatever share of a batch is in the split.
            table = pa.Table.from_batches(waiting).combine_chunks()
            yield from table.slice(0, BATCH_ROWS).combine_chunks().to_batches()
            waiting = table.slice(BATCH_ROWS).combine_chunks().to_batches()
    if sum(map(len, waiting)):
        yield from pa.Table.from_batches(waiting).combine_chunks().to_batches()


def _with_label_and_keys(transformed: pa.RecordBatch, raw: pa.RecordBatch) -> pa.Table:
    table = pa.Table.from_batches([transformed])
    for name in raw.schema.names:
        if name == "label" or (name.startswith("_") and name != "_split"):
            table = table.append_column(name, raw.column(name))
    return table
