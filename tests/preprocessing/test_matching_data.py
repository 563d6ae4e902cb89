"""Data for matching: the catalogue of items and one row a user and split, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from library import LEAVE_LAST_OUT, LOANS, SPEC, built, by_user, table_of

from feature_specs import ColonnadeError
from preprocessing.artifacts import DataDirectory
from preprocessing.pipeline import build


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> DataDirectory:
    """The last loan of each reader is for test, the one before for validation."""
    return built(tmp_path_factory.mktemp("library"))


def test_the_catalogue_is_in_order_of_training_counts(library: DataDirectory) -> None:
    items = pq.read_table(library.items)
    assert items.column_names == ["_item", "_count", "book", "genres", "pages", "raw.book", "raw.genres", "raw.pages"]
    # Equal counts in order of the keys; d, which only a test row has, is there with no count.
    assert items["_item"].to_pylist() == [b"a", b"b", b"c", b"z", b"d"]
    assert items["_count"].to_pylist() == [3, 1, 1, 1, 0]
    # A vocabulary has equal counts in descending order, and d is unknown to it.
    assert items["book"].to_pylist() == [1, 4, 3, 2, 5]
    assert items["raw.genres"].to_pylist() == [[b"war", b"love"], [b"love"], [], [], [b"war"]]
    assert [len(ids) for ids in items["genres"].to_pylist()] == [2, 1, 0, 0, 1]
    assert items["pages"].to_pylist()[:3] == [100, 200, 300]
    assert items.schema.field("_count").type == pa.int64()


def test_leave_last_out_has_one_row_a_user_and_split(library: DataDirectory) -> None:
    assert by_user(library, "train", "_items") == {"ann": "ac", "bob": "a", "cid": "ab", "eve": "z"}
    assert by_user(library, "valid", "_items", "_targets") == {"ann": ("ac", "b"), "bob": ("a", "b")}
    assert by_user(library, "test", "_items", "_targets") == {"ann": ("acb", "a"), "bob": ("ab", "d")}
    assert library.success["splits"] == {"train": 4, "valid": 2, "test": 2}
    assert library.num_rows("train") == 4
    train, test = table_of(library, "train"), table_of(library, "test")
    assert train.column_names == ["reader", "city", "_user", "_items"]
    assert test.column_names == ["reader", "city", "_user", "_items", "_targets"]
    assert train.schema.field("_items").type == test.schema.field("_targets").type == pa.list_(pa.int32())
    # Cities: Rom has three training rows of four; Oslo one. Eve is in no table.
    assert by_user(library, "train", "city") == {"ann": 1, "bob": 2, "cid": 1, "eve": 0}


def test_statistics_count_interactions_and_users(library: DataDirectory) -> None:
    statistics = library.statistics
    assert statistics["rows"] == {"in": 12, "out": 10, "rejected": 2, "negatives": 0, "left_out": 0}
    assert statistics["splits"] == statistics["interactions"] == {"train": 6, "valid": 2, "test": 2}
    assert statistics["user_rows"] == library.success["splits"]
    assert (statistics["items"], statistics["users"]) == (5, 4)
    assert statistics["users_without_history"] == {"valid": 0, "test": 0}
    assert statistics["features"]["book"]["train"]["rows"] == 6
    # Histories are those of the users: of ann, bob, cid and eve 2, 1, 2 and 1 items.
    history = statistics["features"]["read"]
    assert (history["train"]["rows"], history["train"]["length_mean"], history["train"]["values"]) == (4, 1.5, 6)
    # In test ann has read three, of which two are kept.
    assert (history["test"]["length_max"], history["test"]["cut_share"]) == (2, 0.5)
    # How often a user comes is the split's doing.
    assert statistics["drift"]["reader"] == {}
    reasons = (library.path / "rejected-00000-of-00001.jsonl").read_text()
    assert "user 'reader' is missing" in reasons
    assert "item 'book' is missing" in reasons


def test_the_sample_has_whole_rows_with_the_history(library: DataDirectory) -> None:
    sample = pq.read_table(library.path / "sample.parquet")
    names = {column.name for column in library.spec.outputs} | {f"raw.{column.name}" for column in library.spec.raw_inputs}
    assert set(sample.column_names) == names | {"label"}
    rows = {row["raw.reader"]: row for row in sample.to_pylist()}
    assert rows[b"ann"]["raw.book"] == b"a"
    # The last two of a, c, b.
    assert rows[b"ann"]["raw.read"] == [b"c", b"b"]
    assert rows[b"ann"]["read"] == [3, 4]
    assert rows[b"bob"]["raw.read"] == [b"a", b"b"]
    assert (rows[b"bob"]["book"], rows[b"bob"]["pages"], rows[b"bob"]["raw.genres"]) == (5, 400, [b"war"])


def test_without_a_test_split_the_sample_is_of_the_last_training_rows(tmp_path: Path) -> None:
    data = built(tmp_path, SPEC.replace(LEAVE_LAST_OUT, "split: {fractions: [1, 0, 0]}"))
    rows = {row["raw.reader"]: row for row in pq.read_table(data.path / "sample.parquet").to_pylist()}
    assert {user: (row["raw.book"], row["raw.read"]) for user, row in rows.items()} == {
        b"ann": (b"a", [b"c", b"b"]),
        b"bob": (b"d", [b"a", b"b"]),
        b"cid": (b"b", [b"a"]),
        b"eve": (b"z", []),
    }
    assert by_user(data, "train", "_items")["ann"] == "acba"
    assert data.shards("test") == []


def test_a_temporal_split_has_users_whom_training_never_saw(tmp_path: Path) -> None:
    data = built(tmp_path, SPEC.replace(LEAVE_LAST_OUT, "split: {type: temporal, boundaries: [5, 7]}"))
    assert by_user(data, "train", "_items") == {"ann": "acba"}
    assert by_user(data, "valid", "_items", "_targets") == {"bob": ("", "abd"), "cid": ("", "a")}
    assert by_user(data, "test", "_items", "_targets") == {"cid": ("a", "b"), "eve": ("", "z")}
    assert data.statistics["users_without_history"] == {"valid": 2, "test": 1}
    assert data.statistics["users"] == 4
    # Bob is unknown: the id for what is out of the vocabulary.
    assert by_user(data, "valid", "reader")["bob"] == data.table_rows["reader"] - 1


def test_rows_without_a_time_come_first(tmp_path: Path) -> None:
    data = built(tmp_path, loans=LOANS.replace("ann,a,4", "ann,a,"))
    assert by_user(data, "test", "_items", "_targets")["ann"] == ("aac", "b")
    no_time = SPEC.replace("time: day}", "}").replace(LEAVE_LAST_OUT, "split: {fractions: [1, 0, 0]}").replace("item: book, ", "item: book")
    data = built(
        tmp_path / "no_time", no_time.replace("- {kind: sequence, name: read, history_of: book, table: book, max_length: 2}\n", "")
    )
    # In the order of the file.
    assert by_user(data, "train", "_items") == {"ann": "abca", "bob": "abd", "cid": "ba", "eve": "z"}


def test_an_item_is_described_by_its_first_row(tmp_path: Path) -> None:
    spec = SPEC.split("source:")[0].replace("- {kind: categorical, name: city, encoding: {type: vocabulary}}\n", "")
    loans = "reader,book,day,genres,pages\nann,a,2,old,7\nann,b,1,,8\nbob,a,1,new,9\n"
    data = built(tmp_path, spec + 'source: {rows: {files: "loans*.csv"}}\n', loans)
    items = pq.read_table(data.items).select(["_item", "raw.genres", "raw.pages"]).to_pylist()
    assert [tuple(row.values()) for row in items] == [(b"a", [b"old"], 7.0), (b"b", [], 8.0)]


def test_only_positive_rows_are_interactions(tmp_path: Path) -> None:
    stars = {"ann,b,3": 1, "bob,d,5": 2, "eve,z,9": 2}
    lines = LOANS.splitlines()
    loans = "\n".join([f"{lines[0]},stars", *(f"{line},{stars.get(line, 4)}" for line in lines[1:]), "fay,a,1,", "fay,a,1,lots"]) + "\n"
    data = built(tmp_path, SPEC.replace("implicit: true", "column: stars, threshold: 3"), loans)
    assert data.statistics["rows"] == {"in": 14, "out": 7, "rejected": 4, "negatives": 0, "left_out": 3}
    assert by_user(data, "train", "_items") == {"ann": "a", "bob": "ab", "cid": "ab"}
    assert by_user(data, "test", "_items", "_targets") == {"ann": ("ac", "a")}
    assert [key.decode() for key in pq.read_table(data.items)["_item"].to_pylist()] == ["a", "b", "c"]
    assert set(data.statistics["label"].values()) == {1.0}
    assert not any("label" in warning for warning in data.statistics["warnings"])


def test_features_that_are_on_the_wrong_side(tmp_path: Path) -> None:
    with pytest.raises(ColonnadeError, match=r"'pages' is read from the side table of 'book', the items.*Add 'pages' to item_features"):
        built(tmp_path / "a", SPEC.replace("item_features: [genres, pages]", "item_features: [genres]"))
    with pytest.raises(ColonnadeError, match=r"'city' is read from the side table of 'reader', the users.*Leave it out"):
        built(tmp_path / "b", SPEC.replace("item_features: [", "item_features: [city, "))


def test_a_catalogue_that_is_damaged_is_refused(tmp_path: Path) -> None:
    data = built(tmp_path)
    before = data.success["digest"]
    data.items.write_bytes(data.items.read_bytes()[:-1])
    with pytest.raises(ColonnadeError, match=r"Shard '.*items\.parquet' has .* bytes, expected"):
        DataDirectory.open(data.path)
    data.items.unlink()
    with pytest.raises(ColonnadeError, match=r"Shard '.*items\.parquet' is missing"):
        DataDirectory.open(data.path)
    # A build that was interrupted leaves no _SUCCESS; what it left is ours, and is built anew.
    (data.path / "_SUCCESS").unlink()
    (data.path / "items.parquet").write_bytes(b"half")
    rebuilt = build(data.spec, data.path, [str(tmp_path / "raw")], show_progress=False, max_rejected_fraction=0.5)
    assert rebuilt.digest == before


def test_integer_items_without_features_of_the_user(tmp_path: Path) -> None:
    spec = """
name: sessions
features:
- {kind: categorical, name: item, dtype: int64, on_invalid: missing, encoding: {type: identity, num_buckets: 10}}
- {kind: sequence, name: seen, history_of: item, table: item, dtype: int64}
label: {implicit: true, task: matching}
keys: {user: session, item: item, time: at}
split: {type: leave_last_out}
"""
    loans = "session,item,at\ns,7,1\ns,12,2\ns,07,3\ns,none,4\ns,-1,5\nt,7,1\n"
    data = built(tmp_path, spec + 'source: {rows: {files: "loans*.csv"}}\n', loans)
    # Neither a word nor -1, which is missing, is an item: its id would be that of padding.
    assert data.statistics["rows"]["rejected"] == 2
    items = pq.read_table(data.items).to_pylist()
    # A key keeps the bytes of the file; 12 is out of range.
    assert [(row["_item"], row["_count"], row["item"], row["raw.item"]) for row in items] == [
        (b"7", 2, 8, 7),
        (b"07", 0, 8, 7),
        (b"12", 0, 11, 12),
    ]
    assert table_of(data, "test").column_names == ["_user", "_items", "_targets"]
    assert by_user(data, "test", "_items", "_targets") == {"s": ("712", "07")}
    assert pq.read_table(data.path / "sample.parquet")["raw.seen"].to_pylist() == [[7, 12]]
