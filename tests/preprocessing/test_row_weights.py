"""The weight of rows: read, checked, carried to Parquet, and inherited by sampled negatives."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_specs import ColonnadeError, FeatureSpec, Label
from preprocessing.artifacts import DataDirectory
from preprocessing.check import _readable_part
from preprocessing.labels import row_weights
from preprocessing.pipeline import build, transform_only

SPEC = """
name: weighted
features:
- {kind: categorical, name: item, encoding: {type: vocabulary}}
label: {column: clicked, weight: importance}
keys: {user: user, item: item}
split: {fractions: [1, 0, 0]}
"""
ROWS = [("u", "a", "1", "0.5"), ("u", "b", "0", "3"), ("v", "a", "1", "0"), ("v", "c", "1", "1e2")]
BAD = [("u", "c", "1", "-1"), ("u", "c", "1", ""), ("u", "c", "1", "much"), ("u", "c", "", "nan")]


def _write(path: Path, rows: list[tuple[str, ...]], header: str = "user,item,clicked,importance") -> Path:
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return path


def _built(spec: str, files: list[Path], folder: Path) -> DataDirectory:
    return build(FeatureSpec.from_yaml(spec), folder, [str(file) for file in files], show_progress=False, max_rejected_fraction=0.9)


def _rows(data: DataDirectory) -> list[dict[str, Any]]:
    return [row for path in data.shards("train") for row in pq.read_table(path).to_pylist()]


def test_numbers_of_zero_or_more() -> None:
    reasons: dict[int, str] = {5: "another"}
    cells = pa.array([b"2.5", b"0", b" 1e3", b"-0.1", b"inf", b"x", b"1e39", None, b"", b"NaN"], pa.binary())
    values = row_weights("w", cells, reasons)
    assert values.type == pa.float32()
    assert values.to_pylist()[:3] == [2.5, 0.0, 1000.0]
    expected = "a finite number of 0 or more"
    assert reasons == {
        3: f"column 'w': '-0.1' is not {expected}",
        4: f"column 'w': 'inf' is not {expected}",
        5: "another",
        6: f"column 'w': '1e39' is not {expected}",
        7: "weight 'w' is missing",
        8: "weight 'w' is missing",
        9: "weight 'w' is missing",
    }
    reasons = {}
    lists = row_weights("w", pa.array([[b"2"], [b"1", b"2"], []], pa.list_(pa.binary())), reasons)
    assert lists.to_pylist()[0] == 2.0
    assert reasons == {1: "column 'w': a list of 2 is not one value", 2: "weight 'w' is missing"}


def test_a_row_is_carried_with_its_weight_or_set_aside_with_a_reason(tmp_path: Path) -> None:
    data = _built(SPEC, [_write(tmp_path / "rows.csv", [*ROWS, *BAD])], tmp_path / "data")
    assert str(pq.read_schema(data.shards("train")[0]).field("_weight").type) == "float"
    received = [(row["_user"].decode(), row["_item"].decode(), row["label"], row["_weight"]) for row in _rows(data)]
    assert received == [(user, item, float(clicked), float(weight)) for user, item, clicked, weight in ROWS]
    rejected = [json.loads(line) for path in data.path.glob("rejected-*.jsonl") for line in path.read_text().splitlines()]
    assert [(each["line"], each["reason"]) for each in rejected] == [
        (6, "column 'importance': '-1' is not a finite number of 0 or more"),
        (7, "weight 'importance' is missing"),
        (8, "column 'importance': 'much' is not a finite number of 0 or more"),
        (9, "label 'clicked' is missing"),
    ]


@pytest.mark.parametrize("of_items", [False, True], ids=["in the rows", "in a side table of items"])
def test_a_negative_has_the_weight_of_its_positive(of_items: bool, tmp_path: Path) -> None:
    spec = SPEC + "negatives: {per_positive: 2}\n"
    files = [_write(tmp_path / "rows.csv", ROWS)]
    weights = {("u", "a"): 0.5, ("v", "a"): 0.0, ("v", "c"): 100.0}
    if of_items:
        spec += "source: {rows: {files: rows.csv}, joins: [{table: {files: items.csv}, key: item}]}\n"
        files = [_write(files[0], [row[:3] for row in ROWS], "user,item,clicked")]
        files.append(_write(tmp_path / "items.csv", [("a", "1"), ("b", "2"), ("c", "3")], "item,importance"))
        weights = {("u", "a"): 1.0, ("v", "a"): 1.0, ("v", "c"): 3.0}
    received: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    parent = ("", "")
    for row in _rows(_built(spec, files, tmp_path / "data")):
        # A positive comes before its negatives; the one row with label 0 of its own is u's, of item b.
        if row["label"] == 1:
            parent = (row["_user"].decode(), row["_item"].decode())
        elif (row["_user"], row["_item"]) != (b"u", b"b"):
            received[parent].append((row["label"], row["_weight"]))
    assert received == {pair: [(0.0, weight)] * 2 for pair, weight in weights.items()}


def test_rows_that_are_only_to_be_transformed_need_no_weight(tmp_path: Path) -> None:
    data = _built(SPEC, [_write(tmp_path / "rows.csv", ROWS)], tmp_path / "data")
    plain = _write(tmp_path / "plain.csv", [row[:3] for row in ROWS], "user,item,clicked")
    (pairs,) = transform_only(data.spec, [str(plain)], data.transform_fn, tmp_path / "pairs")
    assert pq.read_table(pairs)["label"].to_pylist() == [1.0, 0.0, 1.0, 1.0]


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = _write(tmp_path / "rows.csv", ROWS, "user,item,clicked,importanc")
    with pytest.raises(ColonnadeError, match=r"no column 'importance', which label\.weight needs\. Did you mean 'importanc'\?"):
        _built(SPEC, [path], tmp_path / "data")


def test_new_data_may_come_without_weights() -> None:
    spec = FeatureSpec.from_yaml(SPEC)
    reading, found = _readable_part(spec, ["user", "item", "clicked"])
    assert reading.label == Label(column="clicked")
    assert found.notes == ["there is no column 'importance': the weights of rows are not read"]
    reading, found = _readable_part(spec, ["user", "item", "clicked", "importance"])
    assert (reading.label, found.notes) == (spec.label, [])
