"""Reading with what takes all rows of a user, against loops over the file, however it is cut and in whatever order workers end."""

from __future__ import annotations

import csv
import random
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_specs import ColonnadeError, FeatureSpec
from preprocessing.pipeline import _Job, build, transform_only
from preprocessing.sources import text
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


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
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


def _read(spec: str, files: Path, tmp_path: Path, backwards: bool = False) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Returns the rows, in order of their numbers, and the counts of the job."""
    staging = tmp_path / "staging"
    staging.mkdir(parents=True)
    job = _Job(FeatureSpec.from_yaml(spec), staging, ("--direct_num_workers=1",), show_progress=False)
    with pytest.MonkeyPatch.context() as patch:
        if backwards:
            patch.setattr("preprocessing.pipeline.choose", lambda *_: Backwards())
        job.ingest([str(files)])
    rows = [row for shard in job.shards for batch in read_batches(shard["path"]) for row in batch.to_pylist()]
    assert job.rows["out"] == len(rows) == job.rows["in"] - job.rows["rejected"] + job.rows["negatives"]
    return sorted(rows, key=lambda row: int(row["row"])), job.rows


@pytest.fixture(scope="module")
def kept(files: Path) -> list[dict[str, str]]:
    with (files / "rows.csv").open() as stream:
        return [row for row in csv.DictReader(stream) if row["stars"] not in ("", "many")]


def _expected(kept: list[dict[str, str]]) -> list[dict[str, Any]]:
    """The examples without negatives, by loops."""
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


def _same(received: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    for left, right in zip(received, expected, strict=True):
        np.testing.assert_equal(left, right)
        assert list(left) == list(right)


@pytest.mark.parametrize(("range_bytes", "backwards"), [(32 << 20, False), (8000, False), (8000, True)])
def test_leave_last_out_and_histories(
    files: Path, kept: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, range_bytes: int, backwards: bool
) -> None:
    monkeypatch.setattr(text, "RANGE_BYTES", range_bytes)
    received, counts = _read(SPEC, files, tmp_path, backwards)
    _same(received, _expected(kept))
    assert counts == {"in": 1515, "out": 1505, "rejected": 10, "negatives": 0}


def test_negatives(files: Path, kept: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, counts = _read(SPEC + NEGATIVES, files, tmp_path / "whole")
    monkeypatch.setattr(text, "RANGE_BYTES", 8000)
    monkeypatch.setattr("preprocessing.grouped.BATCH_ROWS", 40)
    cut, cut_counts = _read(SPEC + NEGATIVES, files, tmp_path / "cut", backwards=True)
    _same(cut, whole)
    assert cut_counts == counts
    # The first of each row's examples is the row itself.
    expected = {row["row"]: row for row in _expected(kept)}
    has, first = defaultdict(set), {}
    for row in expected.values():
        has[row["_user"]].add(row["item"])
        first.setdefault(row["item"], row)
    sampled = defaultdict(list)
    for row in whole:
        own = expected[row["row"]]
        if row["row"] not in sampled:
            np.testing.assert_equal(row, own)
            sampled[row["row"]] = []
            continue
        sampled[row["row"]].append(row["item"])
        assert row["item"] not in has[row["_user"]]
        of_item = first[row["item"]]
        drawn = {**own, **{name: of_item[name] for name in ("item", "shop", "brand", "_item")}, "label": 0.0}
        np.testing.assert_equal(row, drawn)
    for name, items in sampled.items():
        user = expected[name]["_user"]
        gets = expected[name]["label"] == 1 and user and len(has[user] - {b""}) < 15
        assert len(items) == (2 if gets else 0)
    assert counts["negatives"] == sum(map(len, sampled.values())) > 500
    other, _ = _read(SPEC + NEGATIVES.replace("}", ", seed: 7}"), files, tmp_path / "other")
    assert [row["item"] for row in other] != [row["item"] for row in whole]


@pytest.mark.parametrize(
    "split",
    [
        "{type: temporal, fractions: [0.6, 0.2, 0.2]}",
        "{type: temporal, boundaries: [130, 170]}",
        "{type: within_user, fractions: [0.5, 0.25, 0.25]}",
        "{type: random, by: [brand, user]}",
        "{type: files, train: 'rows*', test: other, valid_fraction: 0.3}",
    ],
)
def test_splits_do_not_depend_on_how_files_are_cut(split: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SPEC.replace("{type: leave_last_out}", split)
    whole, _ = _read(spec, files, tmp_path / "whole")
    without_histories = "\n".join(line for line in spec.splitlines() if "history_of" not in line and "time_gaps" not in line)
    monkeypatch.setattr(text, "RANGE_BYTES", 8000)
    cut, _ = _read(spec, files, tmp_path / "cut", backwards=True)
    _same(cut, whole)
    alone, _ = _read(without_histories, files, tmp_path / "alone")
    assert [row["_split"] for row in alone] == [row["_split"] for row in whole]
    shares = np.bincount([row["_split"] for row in whole], minlength=3) / len(whole)
    times = np.array([row["_time"] for row in whole])
    splits = np.array([row["_split"] for row in whole])
    if "temporal" in split:
        assert np.all(splits[times == -1] == 0)
        ranges = [(times[(splits == n) & (times != -1)].min(), times[splits == n].max()) for n in range(3)]
        assert ranges[0][1] < ranges[1][0] <= ranges[1][1] < ranges[2][0]
    if "boundaries" in split:
        assert [begin for begin, _ in ranges[1:]] == [130, 170]
    elif "files" in split:
        np.testing.assert_allclose(shares, [0.7, 0.3, 0.0], atol=0.05)
    elif "fractions" in split:
        known = (times != -1) if "temporal" in split else np.array([row["_user"] != b"" for row in whole])
        fractions = [0.6, 0.2, 0.2] if "temporal" in split else [0.5, 0.25, 0.25]
        np.testing.assert_allclose(np.bincount(splits[known]) / known.sum(), fractions, atol=0.02)


def test_a_file_of_no_split(files: Path, tmp_path: Path) -> None:
    with pytest.raises(ColonnadeError, match=r"rows\.csv' is in no split: its name matches none of 'day-1', 'day-2'"):
        _read(SPEC.replace("{type: leave_last_out}", "{type: files, train: day-1, test: day-2}"), files, tmp_path)


@pytest.mark.parametrize(
    ("resample", "message"),
    [("[brand]", r"no column 'brand', which negatives \(in the rows"), ("[shp]", r"no column 'shp', which.* Did you mean 'shop'\?")],
)
def test_what_is_resampled_is_in_the_rows(resample: str, message: str, files: Path, tmp_path: Path) -> None:
    with pytest.raises(ColonnadeError, match=message):
        _read(SPEC + NEGATIVES.replace("[shop]", resample), files, tmp_path)


def test_an_implicit_label_and_every_row_of_a_user(tmp_path: Path) -> None:
    (tmp_path / "clicks.csv").write_text("row,user,item\n0,a,x\n1,a,y\n2,b,z\n3,b,x\n4,b,y\n")
    spec = """
    name: clicks
    features:
    - {kind: categorical, name: row, encoding: {type: hash, num_buckets: 9}}
    - {kind: categorical, name: item, encoding: {type: vocabulary}}
    label: {implicit: true}
    keys: {user: user, item: item}
    negatives: {per_positive: 1}
    """
    rows, counts = _read(spec, tmp_path / "clicks.csv", tmp_path / "job")
    # User a has not z; b has everything.
    assert [(row["row"], row["item"], row["label"]) for row in rows] == [
        (b"0", b"x", 1.0),
        (b"0", b"z", 0.0),
        (b"1", b"y", 1.0),
        (b"1", b"z", 0.0),
        (b"2", b"z", 1.0),
        (b"3", b"x", 1.0),
        (b"4", b"y", 1.0),
    ]
    assert counts == {"in": 5, "out": 7, "rejected": 0, "negatives": 2}


def test_negatives_of_some_splits(files: Path, tmp_path: Path) -> None:
    rows, _ = _read(SPEC + NEGATIVES.replace("}", ", splits: [valid, test]}"), files, tmp_path)
    original = {row["row"]: row["_item"] for row in rows[::-1]}
    sampled = [row["_split"] for row in rows if row["_item"] != original[row["row"]] and row["label"] == 0]
    assert set(sampled) == {1, 2}


def test_a_changed_side_table_is_read_again(files: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(files, tmp_path / "files"))
    _read(SPEC, folder, tmp_path)
    shutil.rmtree(tmp_path / "staging")
    (folder / "items.csv").write_text("item,brand\n" + "".join(f"i{n},new\n" for n in range(15)))
    rows, _ = _read(SPEC, folder, tmp_path)
    assert {row["brand"] for row in rows if row["item"]} == {b"new"}


def test_types_of_histories(files: Path, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    job = _Job(FeatureSpec.from_yaml(SPEC), staging, ("--direct_num_workers=1",), show_progress=False)
    job.ingest([str(files)])
    schema = next(read_batches(job.shards[0]["path"])).schema
    assert schema.field("past").type == pa.list_(pa.binary())
    assert schema.field("gaps").type == schema.field("prices").type == pa.list_(pa.float32())


def test_the_whole_job(files: Path, kept: list, tmp_path: Path) -> None:
    spec = FeatureSpec.from_yaml(SPEC + NEGATIVES)
    data = build(spec, tmp_path / "data", [str(files)], show_progress=False)
    counts = data.statistics["rows"]
    assert counts["in"] == counts["out"] - counts["negatives"] + counts["rejected"] == 1515
    splits = {split: pa.concat_tables(pq.read_table(path) for path in data.shards(split)) for split in ("train", "valid", "test")}
    assert {split: len(table) for split, table in splits.items()} == data.statistics["splits"]
    assert sum(map(len, splits.values())) == counts["out"]
    expected = _expected(kept)
    for number, table in enumerate(splits.values()):
        own = [row for row in expected if row["_split"] == number]
        assert sum(table["label"].to_pylist()) == sum(row["label"] for row in own)
        assert len(table) > len(own)
        # Every event of a history has its gap.
        assert table["past"].combine_chunks().value_lengths() == table["gaps"].combine_chunks().value_lengths()
    # Rows given to an existing graph come back as they are.
    pairs = transform_only(spec, [str(files)], data.transform_fn, tmp_path / "pairs")
    assert sum(len(pq.read_table(path)) for path in pairs) == len(kept)
