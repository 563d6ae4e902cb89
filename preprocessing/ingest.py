"""The first stage: text to raw examples, with joins, labels, rejections, splits and histories.

Every range of a file becomes one shard of raw examples. Where the spec has histories, rows are first dealt out by user, through files, so
that a shard holds all rows of its users.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from apache_beam.io.filesystems import FileSystems

from feature_specs import FeatureSpec
from preprocessing import progress
from preprocessing.examples import SPLITS, from_columns
from preprocessing.execution import Execution
from preprocessing.histories import add_histories
from preprocessing.sources import text
from preprocessing.sources.joins import SideTable, join_all
from preprocessing.sources.text import ParsedRange, TextRange, read
from preprocessing.splits import assign, hash_rows
from preprocessing.staging import opened, write_batches, write_table

_PARTITION_SEED = 1


@dataclass(frozen=True)
class IngestPlan:
    """What a worker has to know.

    Attributes:
        spec: The data set.
        wanted: Columns to read from the rows.
        sides: The side tables.
        num_shards: Number of raw shards: one a range, or one a partition of the users.
        staging: Folder for files between stages; it has the folders `shuffle`, `raw` and `rejected`.
    """

    spec: FeatureSpec
    wanted: tuple[str, ...]
    sides: tuple[SideTable, ...]
    num_shards: int
    staging: str

    def raw_shard(self, index: int) -> str:
        """Returns the path of a shard of raw examples."""
        return f"{self.staging}/raw/{index:05d}.arrow"


def ingest(execution: Execution, plan: IngestPlan, ranges: list[TextRange]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Runs the stage; returns what became of each range, and the raw shards, both in order."""
    read_ranges = execution.map("read", partial(_read_range, plan), ranges)
    if not plan.spec.histories:
        return read_ranges, [record["shard"] for record in read_ranges]
    dealt = [record["dealt"] for record in read_ranges if record["dealt"]]
    shards = execution.map("histories", partial(_add_histories, plan, dealt), range(plan.num_shards))
    return read_ranges, [record for record in shards if sum(record["splits"])]


def partition_count(ranges: Sequence[TextRange]) -> int:
    """Returns into how many partitions the users are dealt: four a range, for histories make rows several times as big."""
    return max(len(ranges), math.ceil(4 * sum(source.size for source in ranges) / text.RANGE_BYTES))


def _read_range(plan: IngestPlan, source: TextRange) -> dict[str, Any]:
    """Reads a range into one shard or, where rows are grouped by user, into one file with a batch a partition of the users."""
    parsed = read(source, plan.wanted)
    columns = {name: parsed.table[name].combine_chunks() for name in plan.wanted}
    # The columns of the rows themselves, before the side tables add theirs.
    hashed = [columns[name] for name in plan.spec.split.by or plan.wanted if name in columns]
    columns = join_all(columns, plan.sides)
    hashed = hashed if not plan.spec.split.by else [columns[name] for name in plan.spec.split.by]
    examples, reasons = from_columns(plan.spec, columns)
    examples = examples.append_column("_split", pa.array(assign(hashed, plan.spec.split)))
    rejected = _write_rejected(plan, parsed, reasons)
    kept = np.ones(len(examples), bool)
    kept[list(reasons)] = False
    examples = examples.filter(pa.array(kept)).combine_chunks()
    rows_in = parsed.table.num_rows + len(parsed.ragged)
    progress.advance(rows_in)
    record = {"range": source.index, "rows": rows_in, "rejected": rejected}
    if plan.spec.histories:
        return {**record, "dealt": _deal_out(plan, source, examples)}
    return {**record, "shard": write_shard(plan, source.index, examples)}


def _deal_out(plan: IngestPlan, source: TextRange, examples: pa.Table) -> str | None:
    """Writes the rows as one file with one batch a partition, some of them empty, and returns its path; None where there is no row."""
    if not len(examples):
        return None
    path = f"{plan.staging}/shuffle/{source.index:05d}.arrow"
    partition = hash_rows([examples["_user"].combine_chunks()], _PARTITION_SEED) % np.uint64(plan.num_shards)
    # Stable: within a partition the rows stay in file order.
    order = np.argsort(partition, kind="stable")
    bounds = np.searchsorted(partition[order], np.arange(plan.num_shards + 1))
    sorted_rows = examples.take(pa.array(order)).combine_chunks()
    pieces = (sorted_rows.slice(begin, end - begin) for begin, end in zip(bounds, bounds[1:], strict=False))
    # Slices share the buffers of the whole; combining them copies each piece alone.
    write_batches(path, examples.schema, (piece.combine_chunks().to_batches()[0] if len(piece) else _nothing(piece) for piece in pieces))
    return path


def _nothing(like: pa.Table) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in like.schema], schema=like.schema)


def _add_histories(plan: IngestPlan, dealt: Sequence[str], partition: int) -> dict[str, Any]:
    """Puts the rows of a partition together, in file order, and writes the shard."""
    batches = []
    for path in dealt:
        with opened(path) as reader:
            batches.append(reader.get_batch(partition))
    table = pa.Table.from_batches(batches).combine_chunks()
    return write_shard(plan, partition, add_histories(plan.spec, table))


def write_shard(plan: IngestPlan, index: int, examples: pa.Table) -> dict[str, Any]:
    """Writes a shard of raw examples as it is going to be analyzed and transformed."""
    # The order of the spec, histories included, then label, keys and split.
    features = [feature.name for feature in plan.spec.features]
    path = plan.raw_shard(index)
    write_table(path, examples.select([*features, *(name for name in examples.column_names if name not in features)]))
    counts = np.bincount(examples["_split"].to_numpy(), minlength=len(SPLITS))
    return {"index": index, "path": path, "splits": counts.tolist()}


def _write_rejected(plan: IngestPlan, parsed: ParsedRange, reasons: dict[int, str]) -> int:
    """Writes the rows of a range that are set aside, as JSON lines, and returns how many they are."""
    numbers = parsed.numbers() if reasons else np.zeros(0, np.int64)
    by_number = {**parsed.ragged, **{int(numbers[row]): reason for row, reason in reasons.items()}}
    if not by_number:
        return 0
    ordered = sorted(by_number)
    with FileSystems.create(f"{plan.staging}/rejected/{parsed.source.index:05d}.jsonl") as stream:
        for number, (line, text) in zip(ordered, parsed.locate(ordered), strict=True):
            record = {"reason": by_number[number], "file": parsed.source.path, "line": line, "text": text}
            stream.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
    return len(ordered)
