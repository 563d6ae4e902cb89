"""The first stage: text to raw examples, with joins, labels, rejections, splits, histories and negatives.

Every range of a file becomes one shard of raw examples. Where an example takes other rows (of its user, or the times of all), rows are
first dealt out, through files, so that a shard holds all rows of its users.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from apache_beam.io.filesystems import FileSystems

from feature_specs import FeatureSpec, RandomSplit
from preprocessing import progress
from preprocessing.counting import Counter
from preprocessing.examples import SPLITS, from_columns
from preprocessing.execution import Execution
from preprocessing.grouped import finish
from preprocessing.partitions import Everywhere, deal_out, gather, in_two_steps, one_batch
from preprocessing.sources.joins import SideTable, join_all
from preprocessing.sources.ranges import ParsedRange, Range
from preprocessing.sources.tables import read
from preprocessing.splits import of_rows
from preprocessing.staging import BATCH_ROWS, write_batches


@dataclass(frozen=True)
class IngestPlan:
    """What a worker has to know.

    Attributes:
        spec: The data set.
        wanted: Columns to read from the rows.
        sides: The side tables.
        num_shards: Number of raw shards, see `partition_count`.
        staging: Folder for files between stages; it has the folders `shuffle`, `moments`, `items`, `raw` and `rejected`.
    """

    spec: FeatureSpec
    wanted: tuple[str, ...]
    sides: tuple[SideTable, ...]
    num_shards: int
    staging: str

    def raw_shard(self, index: int) -> str:
        """Returns the path of a shard of raw examples."""
        return f"{self.staging}/raw/{index:05d}.arrow"


def ingest(execution: Execution, plan: IngestPlan, ranges: list[Range]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Runs the stage; returns what became of each range, and the raw shards, both in order."""
    read_ranges = execution.map("read", partial(_read_range, plan), ranges)
    if not in_two_steps(plan.spec):
        return read_ranges, [record["shard"] for record in read_ranges]
    everywhere = gather(plan.spec, plan.staging, read_ranges)
    if not everywhere.dealt:
        return read_ranges, []
    shards = execution.map("group", partial(_finish, plan, everywhere), range(plan.num_shards))
    return read_ranges, [record for record in shards if sum(record["splits"])]


def _read_range(plan: IngestPlan, source: Range) -> dict[str, Any]:
    """Reads a range into one shard or, where examples take other rows, into a file from which they are put together."""
    spec = plan.spec
    parsed = read(source, plan.wanted)
    raw = {name: parsed.table[name].combine_chunks() for name in plan.wanted}
    columns = join_all(raw, plan.sides)
    examples, reasons = from_columns(spec, columns)
    by = spec.split.by if isinstance(spec.split, RandomSplit) else ()
    # Without `by` the columns of the rows themselves, not those of side tables.
    hashed = [columns[name] for name in by] or list(raw.values())
    times = examples["_time"].to_numpy() if spec.keys.time is not None else None
    splits = of_rows(spec.split, hashed, times, source.path)
    if splits is not None:
        examples = examples.append_column("_split", pa.array(splits))
    rejected = _write_rejected(plan, parsed, reasons)
    mask = np.ones(len(examples), bool)
    mask[list(reasons)] = False
    left_out = 0
    if spec.is_matching:
        # What the label does not call positive is no interaction.
        positive = examples["label"].to_numpy() == 1
        left_out = int(np.count_nonzero(mask & ~positive))
        mask &= positive
    if not mask.all():
        kept = pa.array(mask)
        examples, raw = examples.filter(kept).combine_chunks(), {name: column.filter(kept) for name, column in raw.items()}
    rows_in = parsed.table.num_rows + len(parsed.ragged)
    progress.advance(rows_in)
    record = {"range": source.index, "rows": rows_in, "rejected": rejected, "left_out": left_out}
    if in_two_steps(spec):
        return {**record, **deal_out(spec, source.index, plan.num_shards, plan.staging, raw, examples)}
    return {**record, "shard": write_shard(plan, source.index, _batches(examples))}


def _finish(plan: IngestPlan, everywhere: Everywhere, partition: int) -> dict[str, Any]:
    """Puts the rows of a partition together and writes the shard."""
    rows, examples = finish(plan.spec, plan.sides, everywhere, partition)
    record = write_shard(plan, partition, examples)
    return {**record, "negatives": sum(record["splits"]) - rows}


def _batches(examples: pa.Table) -> Iterator[pa.Table]:
    # One table at least: it says what the columns are.
    for begin in range(0, max(len(examples), 1), BATCH_ROWS):
        yield examples.slice(begin, BATCH_ROWS)


def write_shard(plan: IngestPlan, index: int, examples: Iterable[pa.Table]) -> dict[str, Any]:
    """Writes a shard of raw examples, which come in tables of at most `BATCH_ROWS` rows, as it is going to be analyzed and transformed."""
    counts = np.zeros(len(SPLITS), np.int64)
    # The order of the spec, histories included, then label, keys and split.
    features = [column.name for column in plan.spec.raw_inputs]
    counter = Counter(plan.spec)

    def batches() -> Iterator[pa.RecordBatch]:
        for table in examples:
            counter.add(table)
            counts[:] += np.bincount(table["_split"].to_numpy(), minlength=len(SPLITS))
            yield one_batch(table.select([*features, *(name for name in table.column_names if name not in features)]))

    path = plan.raw_shard(index)
    ordered = batches()
    first = next(ordered, None)
    if first is not None:
        write_batches(path, first.schema, (batch for batch in chain([first], ordered) if len(batch)))
    counter.write(plan.staging, index)
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
