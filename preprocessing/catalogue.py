"""The catalogue of a data set for matching: every item of all splits, the one with the most training interactions first.

An item's number is its row here. The item's own columns are those of its first row, in file order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_specs import FeatureSpec
from preprocessing.counting import merged_counts
from preprocessing.negatives import all_items, distinct_items
from preprocessing.staging import opened, write_table


def item_columns(spec: FeatureSpec) -> list[str]:
    """Returns the names of the raw columns that describe the item, in the order of `spec.item_names`."""
    by_name = {feature.name: feature for feature in spec.features}
    return [column.name for name in spec.item_names for column in by_name[name].raw_inputs]


def write_first_rows(spec: FeatureSpec, examples: pa.Table, path: str) -> None:
    """Writes the first row of each item among raw examples [N]."""
    write_table(path, distinct_items(examples.select(["_item", *item_columns(spec)])))


def make_catalogue(first_rows: Iterable[str], counts: Iterable[str]) -> pa.Table:
    """Puts the catalogue together: `_item`, `_count`, and the raw columns of the items, by count, then by the bytes of `_item`.

    Args:
        first_rows: Files that `write_first_rows` wrote, in file order.
        counts: Files of `token` and `count`: how many training interactions an item has in each shard.
    """
    items = all_items(_read(path) for path in first_rows)
    if items is None:
        raise ValueError("there are no rows to take items from")
    counted = merged_counts(_read(path) for path in counts)
    place = pc.index_in(items["_item"].combine_chunks(), value_set=counted["token"].combine_chunks())
    items = items.add_column(1, "_count", pc.fill_null(counted["count"].combine_chunks().take(place), 0))
    order = pc.sort_indices(items, sort_keys=[("_count", "descending"), ("_item", "ascending")])
    return items.take(order).combine_chunks()


def numbers_of(keys: pa.Array, items: pa.Array) -> np.ndarray:
    """Returns the number of each item in the catalogue with these keys, int64 [N]; -1 where it is in none."""
    return pc.fill_null(pc.index_in(items, value_set=keys), -1).to_numpy().astype(np.int64)


def last_of(lists: pa.ListArray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the places, among `lists.flatten()`, of the last `length` values of each list, and their offsets, int32 [N + 1]."""
    begins = lists.offsets.to_numpy().astype(np.int64)
    begins = begins - begins[0]
    lengths = np.minimum(np.diff(begins), length)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return np.repeat(begins[1:] - lengths - offsets[:-1], lengths) + np.arange(offsets[-1]), offsets.astype(np.int32)


def lists_of(values: Sequence[int] | np.ndarray, counts: np.ndarray) -> pa.ListArray:
    """Returns lists of item numbers, of the lengths `counts` [N], int32."""
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.asarray(values, np.int32)))


def _read(path: str) -> pa.Table:
    with opened(path) as reader:
        return reader.read_all()
