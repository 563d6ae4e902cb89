"""A shop's rows, with what takes all rows of a user, and what the job has to make of them, by loops."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_specs import FeatureSpec
from preprocessing.job import Job
from preprocessing.staging import read_batches

SPEC = """
name: shop
features:
- {kind: categorical, name: row, encoding: {type: hash, num_buckets: 9}}
- {kind: categorical, name: item, encoding: {type: vocabulary}}
- {kind: categorical, name: shop, encoding: {type: vocabulary}}
- {kind: categorical, name: brand, encoding: {type: vocabulary}}
- {kind: categorical, name: city, encoding: {type: vocabulary}}
- {kind: numeric, name: price}
- {kind: sequence, name: past, history_of: item, table: item, max_length: 4}
- {kind: numeric_sequence, name: prices, history_of: price, max_length: 3}
- {kind: numeric_sequence, name: gaps, time_gaps: true, max_length: 4}
label: {column: stars, threshold: 3}
keys: {user: user, item: item, time: time}
split: {type: leave_last_out}
source:
  rows: {files: rows.csv}
  joins:
  - {table: {files: items.csv}, key: item}
  - {table: {files: users.csv}, key: user}
"""
NEGATIVES = "negatives: {per_positive: 2, resample: [shop]}\n"


class Backwards:
    """Works on the last item first, as workers may."""

    def map(self, _: str, function: Callable[[Any], dict[str, Any]], items: Sequence[Any], **__: object) -> list[dict[str, Any]]:
        results = {i: function(items[i]) for i in range(len(items) - 1, -1, -1)}
        return [results[i] for i in range(len(items))]

    def close(self) -> None:
        pass


def write_shop(folder: Path) -> Path:
    """Writes the rows and their side tables into `folder`, and returns it."""
    dice = random.Random(1)
    items = [f"i{n}" for n in range(15)]
    lines = ["row,user,item,shop,stars,time,price"]
    for row in range(1500):
        user = dice.choice(["", *(f"u{min(n, 40)}" for n in range(60))])
        item = dice.choice(["", *items[:4], *items])
        time = dice.choice(["", *range(100, 200)])
        stars = dice.choice(["1", "3", "5"] if row % 150 else ["", "many"])
        lines.append(f"{row},{user},{item},s{dice.randrange(5)},{stars},{time},{dice.choice(['', '1', '2.5'])}")
    lines += [f"{1500 + n},full,{item},s1,5,{n},1" for n, item in enumerate(items)]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    (folder / "items.csv").write_text("item,brand\n" + "".join(f"{item},b{n % 4}\n" for n, item in enumerate(items[1:])))
    (folder / "users.csv").write_text("user,city\n" + "".join(f"u{n},c{n % 7}\n" for n in range(30)))
    return folder


def read_rows(spec: str, files: Path, tmp_path: Path, backwards: bool = False) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Returns the rows, in order of their numbers, and the counts of the job."""
    staging = tmp_path / "staging"
    staging.mkdir(parents=True)
    job = Job(FeatureSpec.from_yaml(spec), staging, ("--direct_num_workers=1",), show_progress=False)
    with pytest.MonkeyPatch.context() as patch:
        if backwards:
            patch.setattr("preprocessing.job.choose", lambda *_: Backwards())
        job.ingest([str(files)])
    rows = [row for shard in job.shards for batch in read_batches(shard["path"]) for row in batch.to_pylist()]
    assert job.rows["out"] == len(rows) == job.rows["in"] - job.rows["rejected"] + job.rows["negatives"]
    return sorted(rows, key=lambda row: int(row["row"])), job.rows


def kept_rows(folder: Path) -> list[dict[str, str]]:
    """Returns the rows that have a label."""
    with (folder / "rows.csv").open() as stream:
        return [row for row in csv.DictReader(stream) if row["stars"] not in ("", "many")]


def expected_rows(kept: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Returns the examples without negatives."""
    by_user = defaultdict(list)
    for place, row in enumerate(kept):
        if row["user"] and row["time"]:
            by_user[row["user"]].append((int(row["time"]), place))
    splits = [0] * len(kept)
    for events in by_user.values():
        if len(events) >= 3:
            events.sort()
            splits[events[-1][1]], splits[events[-2][1]] = 2, 1
    expected = []
    for place, row in enumerate(kept):
        time = int(row["time"] or -1)
        seen = [(t, kept[other]) for t, other in by_user[row["user"]] if row["time"] and t < time and splits[other] == 0]
        with_item = [(t, r) for t, r in seen if r["item"]][-4:]
        number = int(row["item"][1:] or 0) if row["item"] else 0
        city = int(row["user"][1:]) if row["user"] not in ("", "full") else 99
        expected.append(
            {
                **{name: row[name].encode() for name in ("row", "item", "shop")},
                "brand": f"b{(number - 1) % 4}".encode() if number else b"",
                "city": f"c{city % 7}".encode() if city < 30 else b"",
                "price": float(row["price"] or "nan"),
                "past": [r["item"].encode() for _, r in with_item],
                "prices": [float(r["price"]) for _, r in seen if r["price"]][-3:],
                "gaps": [float(time - t) for t, _ in with_item],
                "label": float(int(row["stars"]) >= 3),
                "_user": row["user"].encode(),
                "_item": row["item"].encode(),
                "_group": row["user"].encode(),
                "_time": time,
                "_split": splits[place],
            }
        )
    return expected


def assert_same(received: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Compares rows, and the order of their columns."""
    for left, right in zip(received, expected, strict=True):
        np.testing.assert_equal(left, right)
        assert list(left) == list(right)
