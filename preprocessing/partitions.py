"""Rows dealt out by user: what takes all rows of a user (splits, histories, negatives) is done a partition of the users at a time.

Rows go through files: every range writes one file with a batch a partition, and a partition reads its batch from every file, in file order.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from feature_specs import FeatureSpec, TemporalSplit
from preprocessing.catalogue import write_first_rows
from preprocessing.examples import key_columns
from preprocessing.hashing import hash_rows
from preprocessing.histories import sources
from preprocessing.moments import Moments
from preprocessing.negatives import all_items, distinct_items, resampled
from preprocessing.sources import text
from preprocessing.sources.casting import is_missing
from preprocessing.sources.ranges import Range
from preprocessing.splits import needs_quantiles, needs_users
from preprocessing.staging import read_batches, write_batches, write_table

_PARTITION_SEED = 1
RAW = "raw:"  # begins the name of a raw column beside examples


@dataclass(frozen=True)
class Everywhere:
    """What is known once all ranges are read.

    Attributes:
        dealt: The file of each range that has rows, by its number, in order.
        boundaries: Of a temporal split by quantiles.
        items: The file of all items, where negatives are sampled.
    """

    dealt: Mapping[int, str]
    boundaries: tuple[int, int] = (0, 0)
    items: str = ""


def by_user(spec: FeatureSpec) -> bool:
    """Whether anything takes all rows of a user together."""
    return spec.is_matching or bool(spec.histories) or needs_users(spec.split) or spec.negatives is not None


def in_two_steps(spec: FeatureSpec) -> bool:
    """Whether a row's example takes other rows; if so, rows are dealt out first."""
    return by_user(spec) or needs_quantiles(spec.split)


def partition_count(spec: FeatureSpec, ranges: Sequence[Range]) -> int:
    """Returns how many raw shards there are: one a range, or one a partition, smaller where rows become bigger or more."""
    if not by_user(spec):
        return len(ranges)
    # For matching, histories are not made for each row.
    grows = spec.negatives or (spec.histories and not spec.is_matching)
    growth = max(4 if grows else 1, 1 + (spec.negatives.per_positive if spec.negatives else 0))
    return max(len(ranges), math.ceil(growth * sum(source.size for source in ranges) / text.RANGE_BYTES))


def deal_out(
    spec: FeatureSpec, index: int, num_partitions: int, staging: str, raw: Mapping[str, pa.Array], examples: pa.Table
) -> dict[str, Any]:
    """Writes the rows of a range, none of them rejected, for `finish`.

    Args:
        spec: The data set.
        index: Number of the range.
        num_partitions: Among how many partitions users are dealt.
        staging: Folder with the folders `shuffle`, `moments` and `items`.
        raw: Columns [N] of the rows themselves, without those of side tables.
        examples: Raw examples [N].

    Returns:
        A record of the files.
    """
    if not len(examples):
        return {}
    record: dict[str, Any] = {"dealt": f"{staging}/shuffle/{index:05d}.arrow"}
    if needs_quantiles(spec.split):
        moments = Moments.of(examples["_time"].to_numpy())
        record.update(moments=f"{staging}/moments/{index:05d}.arrow", shift=moments.shift)
        write_table(record["moments"], pa.table({"cells": moments.cells, "counts": moments.counts}))
    if spec.negatives is not None:
        # Features are made again when items have been drawn and side tables joined; until then only this of them is needed.
        first = [name for name in examples.column_names if name in (*key_columns(spec), "label", "_weight", "_split", *sources(spec))]
        examples = pa.table({**{name: examples[name] for name in first}, **{RAW + name: column for name, column in raw.items()}})
        record["items"] = f"{staging}/items/{index:05d}.arrow"
        write_table(record["items"], distinct_items(examples.select(["_item", *(RAW + name for name in resampled(spec))])))
    if spec.is_matching:
        record["items"] = f"{staging}/items/{index:05d}.arrow"
        write_first_rows(spec, examples, record["items"])
    if by_user(spec):
        dealt_by_user(examples, num_partitions, index, record["dealt"])
    else:
        _deal(examples, np.zeros(len(examples), np.uint64), 1, record["dealt"])
    return record


def dealt_by_user(rows: pa.Table, num_partitions: int, index: int, path: str) -> None:
    """Writes rows with `_user`, those of range `index`, as one batch a partition of the users."""
    users = rows["_user"].combine_chunks()
    partition = hash_rows([users], _PARTITION_SEED) % np.uint64(num_partitions)
    # Rows without a user belong to nobody: they stay where they are.
    _deal(rows, np.where(is_missing(users), np.uint64(index % num_partitions), partition), num_partitions, path)


def _deal(rows: pa.Table, partition: np.ndarray, num_partitions: int, path: str) -> None:
    # Stable: within a partition the rows stay in file order.
    order = np.argsort(partition, kind="stable")
    bounds = np.searchsorted(partition[order], np.arange(num_partitions + 1, dtype=np.uint64))
    ordered = rows.take(pa.array(order)).combine_chunks()
    pieces = (ordered.slice(begin, end - begin) for begin, end in zip(bounds, bounds[1:], strict=False))
    # Slices share the buffers of the whole; combining them copies each piece alone.
    write_batches(path, ordered.schema, (one_batch(piece) for piece in pieces))


def one_batch(piece: pa.Table) -> pa.RecordBatch:
    """Returns the rows of a table, none too, as one record batch that shares nothing with other rows."""
    if len(piece):
        return piece.combine_chunks().to_batches()[0]
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in piece.schema], schema=piece.schema)


def gather(spec: FeatureSpec, staging: str, records: Sequence[Mapping[str, Any]]) -> Everywhere:
    """Puts together what the ranges, in order, found out: where times are cut, and all items."""
    dealt = [record for record in records if "dealt" in record]
    boundaries, items = (0, 0), ""
    if isinstance(spec.split, TemporalSplit) and needs_quantiles(spec.split):
        total = Moments.of(np.zeros(0, np.int64))
        for record in dealt:
            table = pa.Table.from_batches(read_batches(record["moments"]))
            total = total.merged(Moments(record["shift"], table["cells"].to_numpy(), table["counts"].to_numpy()))
        boundaries = total.boundaries(spec.split.fractions)
    if spec.negatives is not None and dealt:
        merged = all_items(pa.Table.from_batches(list(read_batches(record["items"]))) for record in dealt)
        # A name of its own: workers keep what they have loaded.
        items = f"{staging}/items/{uuid.uuid4().hex}.arrow"
        write_table(items, merged)
    return Everywhere({record["range"]: record["dealt"] for record in dealt}, boundaries, items)
