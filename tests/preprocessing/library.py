"""Loans of a library, for tests of matching: a few by hand, and many by chance with what the job has to make of them, by loops."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from feature_specs import FeatureSpec
from preprocessing.artifacts import DataDirectory
from preprocessing.pipeline import build

SPEC = """
name: library
features:
- {kind: categorical, name: reader, encoding: {type: vocabulary}}
- {kind: categorical, name: city, encoding: {type: vocabulary}}
- {kind: categorical, name: book, encoding: {type: vocabulary}}
- {kind: sequence, name: read, history_of: book, table: book, max_length: 2}
- {kind: multi_valued, name: genres, encoding: {type: vocabulary}}
- {kind: numeric, name: pages, scaling: none}
item_features: [genres, pages]
label: {implicit: true, task: matching}
keys: {user: reader, item: book, time: day}
split: {type: leave_last_out}
source:
  rows: {files: "loans*.csv"}
  joins:
  - {table: {files: readers.csv}, key: reader}
  - {table: {files: books.csv}, key: book}
"""
LEAVE_LAST_OUT = "split: {type: leave_last_out}"
# Ann borrows a twice; Bob three books in a day; Cid and Eve too few to be split; z is in no table of books.
LOANS = """reader,book,day
ann,a,1
bob,a,5
ann,b,3
cid,b,7
bob,b,5
ann,c,2
,a,1
cid,a,6
bob,d,5
dan,,2
ann,a,4
eve,z,9
"""
READERS = "reader,city\nann,Rom\nbob,Oslo\ncid,Rom\n"
BOOKS = "book,genres,pages\na,war|love,100\nb,love,200\nc,,300\nd,war,400\n"


def write_library(folder: Path, loans: str = LOANS) -> list[str]:
    """Writes the files into `folder` and returns their names."""
    for name, text in {"loans.csv": loans, "readers.csv": READERS, "books.csv": BOOKS}.items():
        (folder / name).write_text(text)
    return [str(folder)]


def built(folder: Path, spec: str = SPEC, loans: str = LOANS, **more: Any) -> DataDirectory:
    """Builds a data directory of the files in `folder`, which is made."""
    (folder / "raw").mkdir(parents=True)
    inputs = write_library(folder / "raw", loans)
    return build(FeatureSpec.from_yaml(spec), folder / "data", inputs, show_progress=False, max_rejected_fraction=0.5, **more)


def table_of(data: DataDirectory, split: str) -> pa.Table:
    """Returns the rows of a split."""
    return pa.concat_tables([pq.read_table(path) for path in data.shards(split)])


def by_user(data: DataDirectory, split: str, *columns: str) -> dict[str, Any]:
    """Returns a column of a split, or several, by user; items as their raw ids."""
    names = [key.decode() for key in pq.read_table(data.items)["_item"].to_pylist()]
    found = {}
    for row in table_of(data, split).to_pylist() if data.shards(split) else []:
        values = tuple(
            "".join(names[number] for number in row[name]) if name in ("_items", "_targets", "_candidates") else row[name]
            for name in columns
        )
        assert row["_user"].decode() not in found
        found[row["_user"].decode()] = values if len(columns) > 1 else values[0]
    return found


def expected(rows: list[tuple[str, str, int]], splits: list[int]) -> tuple[list[tuple[str, int]], list[Mapping[str, Any]]]:
    """Returns the catalogue (item and count), and by split what each user has seen before and what comes, by loops.

    Args:
        rows: User, item and time, -1 where missing, in file order.
        splits: 0, 1 or 2 for each row.
    """
    counts = Counter({item: 0 for _, item, _ in rows})
    counts.update(item for (_, item, _), split in zip(rows, splits, strict=True) if split == 0)
    catalogue = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0].encode()))
    by_user_: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for place, (user, _, time) in enumerate(rows):
        by_user_[user].append((time, place))
    found: list[Mapping[str, Any]] = []
    for split in range(3):
        users = {}
        for user, events in by_user_.items():
            ordered = [place for _, place in sorted(events)]
            targets = [rows[place][1] for place in ordered if splits[place] == split]
            seen = [rows[place][1] for place in ordered if splits[place] < split]
            if targets:
                users[user] = targets if split == 0 else (seen, targets)
        found.append(users)
    return catalogue, found
