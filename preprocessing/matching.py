"""The third stage for matching: the catalogue of items, and one row a user and split, instead of a row an interaction.

Every interaction still passes through the transform graph, for the statistics; the Parquet files hold what a model is trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_specs import FeatureSpec, SequenceFeature
from preprocessing import progress
from preprocessing.artifacts import ITEMS
from preprocessing.candidates import CandidatesPlan, FixedCandidates, candidates_of, read_candidates
from preprocessing.catalogue import item_columns, last_of, make_catalogue
from preprocessing.examples import SPLITS
from preprocessing.execution import Execution
from preprocessing.flat_examples import from_table
from preprocessing.measuring import SplitSummary
from preprocessing.sample import SAMPLE_ROWS
from preprocessing.sequences import TEST, TRAIN, Sequences
from preprocessing.shards import ParquetFile, TransformPlan, paired, rows_of_split, transformed
from preprocessing.staging import BATCH_ROWS, read_batches, write_table

ROW_GROUP = 8192


def write_items(plan: TransformPlan, catalogue: pa.Table) -> None:
    """Writes `items.parquet`: `_item`, `_count`, the transformed columns of the item's side, and `raw.<column>` of the raw ones."""
    raw_names = item_columns(plan.spec)
    with ParquetFile(f"{plan.folder}/{ITEMS}") as file:
        for begin in range(0, len(catalogue), BATCH_ROWS):
            items = catalogue.slice(begin, BATCH_ROWS)
            # The graph takes all columns: those of the user are missing.
            given = from_table(plan.spec, items.select(raw_names)).combine_chunks().to_batches()[0]
            made = transformed(plan, given)
            columns = {name: items[name] for name in ("_item", "_count")}
            columns.update({name: made.column(name) for name in outputs_of(plan.spec, plan.spec.item_names)})
            columns.update({f"raw.{name}": items[name] for name in raw_names})
            file.write(pa.table(columns))


def outputs_of(spec: FeatureSpec, names: Sequence[str]) -> list[str]:
    """Returns the names of the transformed columns of some features, in their order."""
    by_name = {feature.name: feature for feature in spec.features}
    return [column.name for name in names for column in by_name[name].outputs]


def write_users(
    execution: Execution,
    plan: TransformPlan,
    ranges: Sequence[dict[str, Any]],
    given: FixedCandidates,
    shards: Sequence[dict[str, Any]],
    staging: Path,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Runs the stage: `items.parquet`, `<split>-<shard>-of-<n>.parquet` and `sample.parquet`.

    Args:
        execution: Where it runs.
        plan: What it has to know.
        ranges: What became of each range that was read.
        given: The fixed candidates.
        shards: Raw examples.
        staging: The folder of the job.

    Returns:
        A record of each file, in order of the names; and how many items, users and, by split, users whom no earlier split has, there are.
    """
    counts = (f"{staging}/items/counts-{shard['index']:05d}.arrow" for shard in shards)
    catalogue = make_catalogue((record["items"] for record in ranges if "items" in record), counts)
    write_items(plan, catalogue)
    lists = CandidatesPlan(f"{plan.folder}/{ITEMS}", given.num_partitions, f"{staging}/items")
    read = execution.map("candidate", partial(read_candidates, lists), given.ranges) if given.ranges else []
    total = sum(sum(shard["splits"]) for shard in shards)
    work = partial(_transform_shard, plan, tuple(record["path"] for record in read))
    written = execution.map("transform", work, shards, total, tensorflow=True)
    files = sorted((file for record in written for file in record["files"]), key=lambda file: file["file"])
    write_users_sample(plan, shards)
    new = {split: sum(file["new"] for file in files if file["split"] == split) for split in SPLITS[1:]}
    return files, {"items": len(catalogue), "users": sum(record["users"] for record in written), "users_without_history": new}


def _transform_shard(plan: TransformPlan, candidates: tuple[str, ...], shard: dict[str, Any]) -> dict[str, Any]:
    catalogue = _Catalogue(plan)
    rows = _rows_of(shard)
    sequences = Sequences.of(rows, catalogue.keys)
    files = []
    for number, split in enumerate(SPLITS):
        if not shard["splits"][number]:
            continue
        users = sequences.of_split(number)
        if number == TEST and candidates:
            lists = candidates_of(users["_user"].combine_chunks(), users["_targets"].combine_chunks(), candidates, shard["index"])
            users = users.append_column("_candidates", lists)
        summary = SplitSummary(plan.spec, plan.table_rows)
        _summarise(plan, summary, shard, number)
        name = f"{split}-{shard['index']:05d}-of-{plan.num_shards:05d}.parquet"
        with ParquetFile(f"{plan.folder}/{name}") as file:
            for begin in range(0, len(users), ROW_GROUP):
                file.write(_of_users(plan, rows, users.slice(begin, ROW_GROUP).combine_chunks(), catalogue, summary))
        sketches = f"{plan.sketches}/{split}-{shard['index']:05d}.arrow"
        write_table(sketches, summary.to_table())
        new = int(np.count_nonzero(np.diff(users["_items"].combine_chunks().offsets.to_numpy()) == 0))
        files.append({"file": name, "split": split, "rows": len(users), "new": new, "sketches": sketches})
    return {"files": files, "users": sequences.num_users}


def _rows_of(shard: dict[str, Any]) -> pa.Table:
    return pa.Table.from_batches(list(read_batches(shard["path"]))).combine_chunks()


def _summarise(plan: TransformPlan, summary: SplitSummary, shard: dict[str, Any], number: int) -> None:
    """Adds the interactions of a split; their histories are those of the users, which `_of_users` adds."""
    features = [feature for feature in plan.spec.features if feature not in plan.spec.histories]
    for raw in rows_of_split(shard["path"], number):
        summary.add(raw, transformed(plan, raw), features)
        progress.advance(len(raw))


def _of_users(plan: TransformPlan, rows: pa.Table, users: pa.Table, catalogue: _Catalogue, summary: SplitSummary) -> pa.Table:
    """Returns what is written of some users: the columns of their side, and lists of item numbers."""
    made = transformed(plan, rows.take(users["_row"]).combine_chunks().to_batches()[0])
    if plan.spec.history is not None:
        summary.add(*catalogue.histories(plan.spec.history, users["_items"].combine_chunks()), [plan.spec.history])
    own = {name: made.column(name) for name in outputs_of(plan.spec, plan.spec.user_names)}
    return pa.table({**own, **{name: users[name] for name in users.column_names if name != "_row"}})


class _Catalogue:
    """What a shard needs of the catalogue: the keys of the items, and the values that a history of them has, raw and transformed."""

    def __init__(self, plan: TransformPlan) -> None:
        item = plan.spec.item_feature.name
        table = pq.read_table(f"{plan.folder}/{ITEMS}", columns=["_item", item, f"raw.{item}"])
        self.keys = table["_item"].combine_chunks()
        self._ids, self._raw = table[item].combine_chunks(), table[f"raw.{item}"].combine_chunks()

    def histories(self, history: SequenceFeature, items: pa.ListArray) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Returns the history, raw and transformed, of lists of item numbers."""
        raw = pa.ListArray.from_arrays(_offsets_of(items), self._raw.take(items.flatten()))
        cut = _cut(items, history.max_length)
        ids = pa.ListArray.from_arrays(cut.offsets, self._ids.take(cut.values))
        return pa.RecordBatch.from_arrays([raw], [history.name]), pa.RecordBatch.from_arrays([ids], [history.name])


def _cut(lists: pa.ListArray, length: int) -> pa.ListArray:
    """Returns the last `length` values of each list."""
    places, offsets = last_of(lists, length)
    return pa.ListArray.from_arrays(pa.array(offsets), lists.flatten().take(pa.array(places)))


def _offsets_of(lists: pa.ListArray) -> pa.Array:
    """Returns the offsets of lists, from 0 on also where they are a part of others."""
    offsets = lists.offsets.to_numpy()
    return pa.array(offsets - offsets[0])


def write_users_sample(plan: TransformPlan, shards: Sequence[dict[str, Any]]) -> None:
    """Writes `sample.parquet`: first targets of users in test, raw and transformed, with the history that `_items` holds.

    Where nobody is in test, they are the last training interactions, and the history is what came before.
    """
    catalogue = _Catalogue(plan)
    number = TEST if any(shard["splits"][TEST] for shard in shards) else TRAIN
    parts: list[pa.Table] = []
    for shard in shards:
        left = SAMPLE_ROWS - sum(map(len, parts))
        if left <= 0 or not shard["splits"][number]:
            continue
        rows = _rows_of(shard)
        users = Sequences.of(rows, catalogue.keys).of_split(number).slice(0, left)
        raw = rows.take(users["_row"]).combine_chunks()
        if plan.spec.history is not None:
            items = users["_items"].combine_chunks()
            seen = _cut(_all_but_last(items) if number == TRAIN else items, plan.spec.history.max_length)
            column = catalogue.histories(plan.spec.history, seen)[0].column(0)
            raw = raw.set_column(raw.column_names.index(plan.spec.history.name), plan.spec.history.name, column)
        batch = raw.combine_chunks().to_batches()[0]
        parts.append(paired(plan.spec, batch, pa.Table.from_batches([transformed(plan, batch)])))
    pq.write_table(pa.concat_tables(parts), Path(plan.folder) / "sample.parquet")


def _all_but_last(lists: pa.ListArray) -> pa.ListArray:
    offsets = _offsets_of(lists).to_numpy()
    kept = np.ones(offsets[-1], bool)
    kept[offsets[1:] - 1] = False
    return pa.ListArray.from_arrays(pa.array(offsets - np.arange(len(offsets), dtype=np.int32)), lists.flatten().filter(pa.array(kept)))
