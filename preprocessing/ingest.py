"""The first Beam stage: text to raw examples, with joins, labels, rejections, splits and histories.

Every range of a file becomes one shard of raw examples. Where the spec has histories, rows are first dealt out by user, through files, so
that a shard holds all rows of its users.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.io.filesystems import FileSystems

from feature_specs import FeatureSpec
from preprocessing import progress
from preprocessing.examples import SPLITS, from_columns
from preprocessing.histories import add_histories
from preprocessing.sources import text
from preprocessing.sources.joins import SideTable, join_all
from preprocessing.sources.text import ParsedRange, TextRange, read
from preprocessing.splits import assign, hash_rows
from preprocessing.staging import collect, opened, write_batches, write_table

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


def ingest(pipeline: beam.Pipeline, plan: IngestPlan, ranges: list[TextRange]) -> None:
    """Adds the stage to `pipeline`; it writes `staging/ranges.json` and `staging/shards.json`."""
    read_ranges = (
        pipeline | beam.Create(ranges) | beam.Reshuffle() | beam.ParDo(_ReadRange(plan)).with_outputs("pieces", "shards", main="ranges")
    )
    if plan.spec.histories:
        shards = read_ranges.pieces | "ByUser" >> beam.GroupByKey() | "AddHistories" >> beam.Map(_add_histories, plan)
    else:
        shards = read_ranges.shards
    collect(read_ranges.ranges, f"{plan.staging}/ranges.json", "Ranges")
    collect(shards, f"{plan.staging}/shards.json", "Shards")


def partition_count(ranges: Sequence[TextRange]) -> int:
    """Returns into how many partitions the users are dealt: four a range, for histories make rows several times as big."""
    return max(len(ranges), math.ceil(4 * sum(source.size for source in ranges) / text.RANGE_BYTES))


class _ReadRange(beam.DoFn):
    """Yields what was read; to "shards" a finished shard, or to "pieces" where the rows of each partition of users lie."""

    def __init__(self, plan: IngestPlan) -> None:
        self._plan = plan

    def process(self, source: TextRange) -> Iterator[Any]:
        plan = self._plan
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
        yield {"range": source.index, "rows": rows_in, "rejected": rejected}
        if plan.spec.histories:
            yield from self._deal_out(source, examples)
        else:
            yield beam.pvalue.TaggedOutput("shards", _write_shard(plan, source.index, examples))

    def _deal_out(self, source: TextRange, examples: pa.Table) -> Iterator[beam.pvalue.TaggedOutput]:
        """Writes one file with one batch a partition."""
        path = f"{self._plan.staging}/shuffle/{source.index:05d}.arrow"
        partition = hash_rows([examples["_user"].combine_chunks()], _PARTITION_SEED) % np.uint64(self._plan.num_shards)
        # Stable: within a partition the rows stay in file order.
        order = np.argsort(partition, kind="stable")
        bounds = np.searchsorted(partition[order], np.arange(self._plan.num_shards + 1))
        sorted_rows = examples.take(pa.array(order)).combine_chunks()
        # Slices share the buffers of the whole; combining them below copies each piece alone.
        pieces = [sorted_rows.slice(begin, end - begin) for begin, end in zip(bounds, bounds[1:], strict=False)]
        filled = [number for number, piece in enumerate(pieces) if len(piece)]
        write_batches(path, examples.schema, (batch for number in filled for batch in pieces[number].combine_chunks().to_batches()))
        for place, number in enumerate(filled):
            yield beam.pvalue.TaggedOutput("pieces", (number, (source.index, path, place)))


def _add_histories(dealt: tuple[int, Iterable[tuple[int, str, int]]], plan: IngestPlan) -> dict[str, Any]:
    """Puts the rows of a partition together, in file order, and writes the shard."""
    partition, pieces = dealt
    batches = []
    # Ranges are numbered in file order.
    for _, path, place in sorted(pieces):
        with opened(path) as reader:
            batches.append(reader.get_batch(place))
    table = pa.Table.from_batches(batches).combine_chunks()
    return _write_shard(plan, partition, add_histories(plan.spec, table))


def _write_shard(plan: IngestPlan, index: int, examples: pa.Table) -> dict[str, Any]:
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
