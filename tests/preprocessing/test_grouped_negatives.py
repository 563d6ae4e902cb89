"""Sampled negatives, against what each user has, however files are cut and in whatever order workers end."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from shop import NEGATIVES, SPEC, assert_same, expected_rows, read_rows

from feature_specs import ColonnadeError
from preprocessing.sources import text


def test_negatives(shop_files: Path, shop_rows: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, counts = read_rows(SPEC + NEGATIVES, shop_files, tmp_path / "whole")
    monkeypatch.setattr(text, "RANGE_BYTES", 8000)
    monkeypatch.setattr("preprocessing.grouped.BATCH_ROWS", 40)
    cut, cut_counts = read_rows(SPEC + NEGATIVES, shop_files, tmp_path / "cut", backwards=True)
    assert_same(cut, whole)
    assert cut_counts == counts
    # The first of each row's examples is the row itself.
    expected = {row["row"]: row for row in expected_rows(shop_rows)}
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
    other, _ = read_rows(SPEC + NEGATIVES.replace("}", ", seed: 7}"), shop_files, tmp_path / "other")
    assert [row["item"] for row in other] != [row["item"] for row in whole]


@pytest.mark.parametrize(
    ("resample", "message"),
    [("[brand]", r"no column 'brand', which negatives \(in the rows"), ("[shp]", r"no column 'shp', which.* Did you mean 'shop'\?")],
)
def test_what_is_resampled_is_in_the_rows(resample: str, message: str, shop_files: Path, tmp_path: Path) -> None:
    with pytest.raises(ColonnadeError, match=message):
        read_rows(SPEC + NEGATIVES.replace("[shop]", resample), shop_files, tmp_path)


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
    rows, counts = read_rows(spec, tmp_path / "clicks.csv", tmp_path / "job")
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


def test_negatives_of_some_splits(shop_files: Path, tmp_path: Path) -> None:
    rows, _ = read_rows(SPEC + NEGATIVES.replace("}", ", splits: [valid, test]}"), shop_files, tmp_path)
    original = {row["row"]: row["_item"] for row in rows[::-1]}
    sampled = [row["_split"] for row in rows if row["_item"] != original[row["row"]] and row["label"] == 0]
    assert set(sampled) == {1, 2}
