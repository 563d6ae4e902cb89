"""The whole job on the tiny data set: rows in; rows, vocabularies and statistics out."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from feature_specs import FeatureSpec
from preprocessing.artifacts import DataDirectory
from preprocessing.pipeline import build
from preprocessing.sources import text

SPLITS = ("train", "valid", "test")
BAD_LINES = 4


@pytest.fixture(scope="module")
def rows(tiny_data_dir: Path) -> dict[str, list[dict[str, Any]]]:
    data = DataDirectory.open(tiny_data_dir)
    return {split: [row for path in data.shards(split) for row in pq.read_table(path).to_pylist()] for split in SPLITS}


@pytest.fixture(scope="module")
def raw_rows(tiny_files: Path) -> list[dict[str, str]]:
    """The good lines of ratings.csv, joined with the side tables; None where there is no such user or item."""
    users = {row["user"]: row for row in csv.DictReader((tiny_files / "users.tsv").read_text().splitlines(), delimiter="\t")}
    items = {row["item"]: row for row in csv.DictReader((tiny_files / "items.csv").read_text().splitlines())}
    lines = [
        row
        for row in csv.DictReader((tiny_files / "ratings.csv").read_text().splitlines())
        if row["rating"] not in ("", "five") and row["price"] != "cheap"
    ]
    return [{**users.get(row["user"], {}), **items.get(row["item"], {}), **row} for row in lines if row["clicks"] is not None]


def _vocabulary(folder: Path, table: str) -> list[str]:
    return (folder / "transform_fn" / "assets" / f"vocabulary-{table}").read_text().splitlines()


def test_rows_in_are_rows_out_and_rejected(tiny_data_dir: Path, raw_rows: list[dict[str, str]], rows: dict[str, list]) -> None:
    data = DataDirectory.open(tiny_data_dir)
    good = len(raw_rows)
    assert data.statistics["rows"] == {"in": good + BAD_LINES, "out": good, "rejected": BAD_LINES, "negatives": 0}
    assert {split: len(rows[split]) for split in SPLITS} == data.statistics["splits"] == {s: data.num_rows(s) for s in SPLITS}
    assert min(len(rows[split]) for split in SPLITS) > 20
    written = Counter((r["_user"].decode(), r["_item"].decode(), str(r["_time"]), r["label"]) for split in SPLITS for r in rows[split])
    assert written == Counter((r["user"], r["item"], r["time"], float(int(r["rating"]) >= 4)) for r in raw_rows)


def test_rejected_rows_have_reason_file_line_and_text(tiny_data_dir: Path) -> None:
    lines = [json.loads(line) for path in sorted(tiny_data_dir.glob("rejected-*.jsonl")) for line in path.read_text().splitlines()]
    assert [(entry["line"], entry["reason"], entry["text"]) for entry in lines] == [
        (101, "expected 6 values, received 4", "u1,i1,3,880000000"),
        (102, "label 'rating' is missing", "u1,i1,,880000000,1,"),
        (103, "column 'rating': 'five' is not a finite number", "u1,i1,five,880000000,1,"),
        (104, "column 'price': 'cheap' is not a finite number", "u1,i1,5,880000000,cheap,"),
    ]
    assert all(entry["file"].endswith("ratings.csv") for entry in lines)


def test_parquet_schema(tiny_data_dir: Path, tiny_spec: FeatureSpec) -> None:
    schema = pq.read_schema(DataDirectory.open(tiny_data_dir).shards("train")[0])
    types = {"numeric": "float", "categorical": "int64", "multi_valued": "list<element: int64>", "sequence": "list<element: int64>"}
    expected = {feature.name: types[feature.kind] for feature in tiny_spec.features}
    keys = {"label": "float", "_user": "binary", "_item": "binary", "_group": "binary", "_time": "int64"}
    assert {field.name: str(field.type) for field in schema} == {**expected, **keys}


def test_analysis_saw_the_training_split_only(tiny_data_dir: Path, rows: dict[str, list]) -> None:
    counts = Counter(row["_item"].decode() for row in rows["train"])
    expected = sorted((item for item in counts if counts[item] >= 2), key=lambda item: (counts[item], item), reverse=True)
    assert _vocabulary(tiny_data_dir, "item") == expected
    outside = [row["item"] for split in SPLITS for row in rows[split] if row["_item"].decode() not in expected]
    assert set(outside) == {len(expected) + 1, len(expected) + 2}


def test_histories_hold_strictly_earlier_training_items(rows: dict[str, list], raw_rows: list[dict[str, str]]) -> None:
    everything = [row for split in SPLITS for row in rows[split]]
    place = {(row["user"], row["item"]): i for i, row in enumerate(raw_rows)}
    train = [(row["_user"], row["_time"], place[row["_user"].decode(), row["_item"].decode()], row["item"]) for row in rows["train"]]
    non_empty = 0
    for row in everything:
        seen = sorted(event[1:] for event in train if event[0] == row["_user"] and event[1] < row["_time"])
        assert row["history"] == [event[2] for event in seen][-5:]
        non_empty += bool(seen)
    assert non_empty > 100


def test_a_row_without_side_table_entry_is_kept_with_missing_values(rows: dict[str, list]) -> None:
    unknown_users = [row for split in SPLITS for row in rows[split] if row["_user"] == b"u99"]
    unknown_items = [row for split in SPLITS for row in rows[split] if row["_item"] == b"i99"]
    assert unknown_users
    assert unknown_items
    assert {(row["city"], row["zip_prefix"], row["age"]) for row in unknown_users} == {(0, 0, 0.0)}
    assert all(row["year"] == 0 and row["tags"] == [] for row in unknown_items)


def test_numbers(rows: dict[str, list], raw_rows: list[dict[str, str]]) -> None:
    raw = {(row["user"], row["item"]): row for row in raw_rows}
    ages = {row["user"]: float(row["age"]) for row in raw_rows if row.get("age")}
    known = [ages[row["_user"].decode()] for row in rows["train"] if row["_user"].decode() in ages]
    mean, deviation = np.mean(known), np.std(known)
    for row in rows["test"]:
        user = row["_user"].decode()
        assert row["age"] == pytest.approx((ages[user] - mean) / deviation if user in ages else 0.0, abs=1e-5)
        price = raw[user, row["_item"].decode()]["price"]
        assert row["price"] == pytest.approx(np.log1p(float(price or 1.0)), rel=1e-6)


def test_statistics(tiny_data_dir: Path, rows: dict[str, list], tiny_spec: FeatureSpec) -> None:
    statistics = DataDirectory.open(tiny_data_dir).statistics
    assert list(statistics["tables"]) == list(tiny_spec.tables)
    sizes = {table: len(_vocabulary(tiny_data_dir, table)) for table in ("user", "item", "year", "zip_prefix", "tags")}
    assert sizes["year"] == 5
    expected = {
        **{table: size + 2 for table, size in sizes.items()},
        "item": sizes["item"] + 3,
        "city": 8,
        "clicks": 11,
        "hour": 26,
        "weekday": 9,
    }
    assert statistics["tables"] == expected
    for split in SPLITS:
        assert statistics["label"][split] == pytest.approx(np.mean([row["label"] for row in rows[split]]))
        features = {name: by_split[split] for name, by_split in statistics["features"].items()}
        items, lengths = [row["item"] for row in rows[split]], [len(row["tags"]) for row in rows[split]]
        assert features["item"]["oov_share"] == pytest.approx(np.mean([i > sizes["item"] for i in items]))
        assert features["tags"]["length_mean"] == pytest.approx(np.mean(lengths))
        assert features["tags"]["length_max"] == max(lengths) == 3
        assert features["tags"]["missing_share"] == pytest.approx(np.mean([n == 0 for n in lengths]))
        assert features["year"]["missing_share"] == pytest.approx(np.mean([row["year"] == 0 for row in rows[split]]))
        clicks = [i for row in rows[split] for i in row["clicks"]]
        assert features["clicks"]["oov_share"] == pytest.approx(np.mean([i == 10 for i in clicks]))
        assert 0.1 < features["age"]["missing_share"] < 0.5
        assert 18 <= features["age"]["min"] < features["age"]["mean"] < features["age"]["max"] <= 70


def test_sample_holds_raw_and_transformed_test_rows(tiny_data_dir: Path, rows: dict[str, list], tiny_spec: FeatureSpec) -> None:
    sample = pq.read_table(tiny_data_dir / "sample.parquet")
    names = [feature.name for feature in tiny_spec.features]
    assert sample.column_names == [f"raw.{name}" for name in names] + names + ["label"]
    listed = sample.to_pylist()
    for row, written in zip(listed, rows["test"], strict=True):
        assert row["raw.user"] == written["_user"]
        assert all(row[name] == written[name] for name in [*names, "label"])
    assert any(np.isnan(row["raw.age"]) for row in listed)


def test_a_second_run_is_identical(tiny_data_dir: Path, tiny_spec: FeatureSpec, tiny_files: Path, tmp_path: Path) -> None:
    again = build(tiny_spec, tmp_path / "again", [str(tiny_files)], show_progress=False)
    names = sorted(path.name for path in tiny_data_dir.glob("*.*"))
    assert names == sorted(path.name for path in again.path.glob("*.*"))
    assert all((again.path / name).read_bytes() == (tiny_data_dir / name).read_bytes() for name in names)


def test_a_file_cut_in_ranges_gives_the_same_rows(
    tiny_spec: FeatureSpec, tiny_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: dict[str, list]
) -> None:
    monkeypatch.setattr(text, "RANGE_BYTES", 4000)
    cut = build(tiny_spec, tmp_path / "cut", [str(tiny_files)], show_progress=False)
    assert len(cut.shards("train")) > 2
    for split in SPLITS:
        pieces = [row for path in cut.shards(split) for row in pq.read_table(path).to_pylist()]
        received, expected = ({(row["_user"], row["_item"]): row for row in some} for some in (pieces, rows[split]))
        assert len(received) == len(pieces)
        for key, row in expected.items():
            # The last bit of a logarithm depends on the place in the batch.
            assert received[key] == {**row, "price": pytest.approx(row["price"], rel=1e-6)}
    lines = [json.loads(line)["line"] for path in sorted(cut.path.glob("rejected-*.jsonl")) for line in path.read_text().splitlines()]
    assert lines == [101, 102, 103, 104]
