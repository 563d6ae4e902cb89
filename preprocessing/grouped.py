"""The rows of a partition put together: splits, histories and negatives, which take all rows of a user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_specs import FeatureSpec, FilesSplit, Negatives
from preprocessing.examples import SPLITS, from_columns, value_type
from preprocessing.histories import Histories
from preprocessing.negatives import resampled, sample
from preprocessing.partitions import RAW, Everywhere, by_user
from preprocessing.sources.casting import lists as lists_from
from preprocessing.sources.joins import SideTable, join_all
from preprocessing.splits import last_training_row, of_users
from preprocessing.staging import BATCH_ROWS, opened, read_batches
from preprocessing.users import Users


def finish(spec: FeatureSpec, sides: Sequence[SideTable], everywhere: Everywhere, partition: int) -> tuple[int, Iterator[pa.Table]]:
    """Puts the rows of a partition together.

    Returns:
        How many rows were read, and the finished raw examples in tables of at most `BATCH_ROWS` rows; each row is followed by its
        negatives.
    """
    batches = []
    for index, path in everywhere.dealt.items():
        # Without users a partition is a range.
        if by_user(spec) or index == partition:
            with opened(path) as reader:
                batches.append(reader.get_batch(partition if by_user(spec) else 0))
    if not batches:
        return 0, iter(())
    rows = pa.Table.from_batches(batches).combine_chunks()
    users = Users.of(rows)
    if "_split" not in rows.column_names:
        rows = rows.append_column("_split", pa.array(of_users(spec.split, users, everywhere.boundaries)))
    if isinstance(spec.split, FilesSplit) and spec.split.valid_last:
        changed = pa.array(last_training_row(users, rows["_split"].to_numpy()))
        rows = rows.set_column(rows.column_names.index("_split"), "_split", changed)
    if spec.is_matching:
        return len(rows), _interactions(spec, rows)
    histories = Histories(spec, rows, users)
    if spec.negatives is None:
        return len(rows), _as_they_are(rows, histories)
    return len(rows), _with_negatives(spec, spec.negatives, sides, rows, users, histories, load_items(everywhere.items))


def _interactions(spec: FeatureSpec, rows: pa.Table) -> Iterator[pa.Table]:
    """Yields rows for matching: with an empty history, for that is made when there is one row a user."""
    no_rows = np.zeros(0, np.int64)
    for begin in range(0, len(rows), BATCH_ROWS):
        batch = rows.slice(begin, BATCH_ROWS)
        for feature in spec.histories:
            batch = batch.append_column(feature.name, lists_from(no_rows, pa.array([], value_type(feature)), len(batch)))
        yield batch


def _as_they_are(rows: pa.Table, histories: Histories) -> Iterator[pa.Table]:
    for begin in range(0, len(rows), BATCH_ROWS):
        batch = rows.slice(begin, BATCH_ROWS)
        yield _with_histories(batch, histories, np.arange(begin, begin + len(batch)))


def _with_histories(batch: pa.Table, histories: Histories, rows: np.ndarray) -> pa.Table:
    for name, lists in histories.of(rows).items():
        batch = batch.append_column(name, lists)
    return batch


@lru_cache(maxsize=2)
def load_items(path: str) -> pa.Table:
    """Reads the file of all items, once in a process."""
    return pa.Table.from_batches(read_batches(path)).combine_chunks()


def _with_negatives(
    spec: FeatureSpec,
    negatives: Negatives,
    sides: Sequence[SideTable],
    rows: pa.Table,
    users: Users,
    histories: Histories,
    items: pa.Table,
) -> Iterator[pa.Table]:
    numbers = pc.fill_null(pc.index_in(rows["_item"].combine_chunks(), value_set=items["_item"].combine_chunks()), -1).to_numpy()
    splits = [SPLITS.index(name) for name in negatives.splits]
    positive = (rows["label"].to_numpy() == 1) & np.isin(rows["_split"].to_numpy(), splits)
    parents, drawn = sample(users, numbers.astype(np.int64), positive, len(items), negatives)
    order = np.argsort(np.concatenate([np.arange(len(rows)), parents]), kind="stable")
    origin = np.concatenate([np.arange(len(rows)), parents])[order]
    item = np.concatenate([np.full(len(rows), -1), drawn])[order]
    # Behind the rows' own values those of the items, so that one look-up fetches either.
    raw = {name.removeprefix(RAW): rows[name].combine_chunks() for name in rows.column_names if name.startswith(RAW)}
    either = {name: pa.concat_arrays([raw[name], items[RAW + name].combine_chunks()]) for name in resampled(spec)}
    for begin in range(0, len(order), BATCH_ROWS):
        own, other = origin[begin : begin + BATCH_ROWS], item[begin : begin + BATCH_ROWS]
        place = pa.array(np.where(other >= 0, len(rows) + other, own))
        columns = {name: either[name].take(place) if name in either else raw[name].take(pa.array(own)) for name in raw}
        batch, reasons = from_columns(spec, join_all(columns, sides))
        label = np.where(other >= 0, 0, batch["label"].to_numpy()).astype(np.float32)
        batch = batch.set_column(batch.column_names.index("label"), "label", pa.array(label))
        batch = batch.append_column("_split", rows["_split"].take(pa.array(own)))
        if "_weight" in rows.column_names:
            # That of the positive, also where a side table has the weights of items: a row of weight n is as good as n rows.
            batch = batch.set_column(batch.column_names.index("_weight"), "_weight", rows["_weight"].take(pa.array(own)))
        batch = _with_histories(batch, histories, own)
        # Of two good rows a bad one may be made, where a list and its weights are not resampled together: then there is no such negative.
        kept = np.ones(len(batch), bool)
        kept[list(reasons)] = False
        yield batch.filter(pa.array(kept | (other < 0)))
