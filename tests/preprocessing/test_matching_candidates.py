"""Fixed candidates of the users in test, as the files of the NCF paper have them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from library import SPEC, by_user, table_of

from feature_specs import ColonnadeError, FeatureSpec
from preprocessing.artifacts import DataDirectory
from preprocessing.pipeline import build, transform_only
from preprocessing.sources import text

FILES = """split: {type: files, train: log.train, test: log.test, candidates: log.negative, valid_last: true}
source: {rows: {files: "log.*", delimiter: "\\t", header: false, columns: [reader, book, stars, day]}}
"""
NCF = (
    SPEC.split("split:")[0]
    .replace("- {kind: categorical, name: city, encoding: {type: vocabulary}}\n", "")
    .replace("- {kind: multi_valued, name: genres, encoding: {type: vocabulary}}\n- {kind: numeric, name: pages, scaling: none}\n", "")
    .replace("item_features: [genres, pages]\n", "")
) + FILES
# Of 1 the last by time validates, which is not the last line; 3 has a single training row.
TRAIN = "1\t10\t5\t100\n2\t10\t3\t50\n1\t12\t4\t300\n1\t11\t1\t200\n2\t13\t5\t50\n3\t12\t2\t10\n"
TEST = "1\t14\t5\t400\n2\t11\t5\t60\n3\t10\t5\t20\n"
NEGATIVE = "(1,14)\t13\t10\n(2,11)\t12\t11\t14\n(3,10)\t13\n"


def _built(folder: Path, negative: str = NEGATIVE, test: str = TEST) -> DataDirectory:
    raw = folder / "raw"
    raw.mkdir(parents=True)
    (raw / "log.train").write_text(TRAIN)
    (raw / "log.test").write_text(test)
    (raw / "log.negative.gz").write_bytes(gzip.compress(negative.encode()))
    return build(FeatureSpec.from_yaml(NCF), folder / "data", [str(raw)], show_progress=False)


def test_the_last_training_row_validates_and_candidates_are_as_listed(tmp_path: Path) -> None:
    data = _built(tmp_path)
    assert by_user(data, "train", "_items") == {"1": "1011", "2": "10", "3": "12"}
    assert by_user(data, "valid", "_items", "_targets") == {"1": ("1011", "12"), "2": ("10", "13")}
    # The list of 2 holds its own positive: it is kept as it is.
    assert by_user(data, "test", "_items", "_targets", "_candidates") == {
        "1": ("101112", "14", "1310"),
        "2": ("1013", "11", "121114"),
        "3": ("12", "10", "13"),
    }
    assert table_of(data, "test").schema.field("_candidates").type == pa.list_(pa.int32())
    assert "_candidates" not in table_of(data, "valid").column_names
    assert sorted(Path(name).name for name in data.success["inputs"]) == ["log.negative.gz", "log.test", "log.train"]


def test_many_shards_give_each_user_the_own_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "RANGE_BYTES", 200)
    users = range(60)
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "log.train").write_text("".join(f"{user}\t{(user + n) % 50}\t1\t{n}\n" for user in users for n in range(3)))
    (raw / "log.test").write_text("".join(f"{user}\t{(user + 7) % 50}\t1\t9\n" for user in reversed(users)))
    (raw / "log.negative").write_text("".join(f"({user},{(user + 7) % 50})\t{user % 50}\t{user % 11}\n" for user in users))
    data = build(FeatureSpec.from_yaml(NCF), tmp_path / "data", [str(raw / "log.*")], show_progress=False)
    assert len(data.shards("test")) > 3
    received = by_user(data, "test", "_targets", "_candidates")
    assert received == {str(user): (str((user + 7) % 50), f"{user % 50}{user % 11}") for user in users}


@pytest.mark.parametrize(
    ("negative", "message"),
    [
        ("(1,14)\t13\n(2,11)\t99\t12\t98\n(3,10)\t10\n", r"log\.negative\.gz', line 2: no interaction has the items '99', '98'\. Give"),
        ("(1,99)\t13\n", r"line 1: no interaction has the items '99'"),
        ("1,14\t13\n", r"line 1 should be `\(user,item\)`, a tab, then items separated by tabs\. Received: '1,14\\t13'\. Mend the line"),
        ("(1,14)\t13\n(2,11)\n", r"line 2 should be `\(user,item\)`"),
        (NEGATIVE + "(1,14)\t12\n", r"User '1': several lines in the candidates file\. Keep one"),
        (NEGATIVE.replace("(3,10)\t13\n", ""), r"User '3': rows in test and no line in the candidates file\. Add one"),
        (NEGATIVE + "(9,14)\t12\n", r"User '9': a line in the candidates file and no row in test\. Remove it"),
        (NEGATIVE.replace("(1,14)", "(1,13)"), r"User '1': another item in the candidates file than in test"),
    ],
)
def test_candidates_that_do_not_fit(negative: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ColonnadeError, match=message):
        _built(tmp_path, negative)
    assert not (tmp_path / "data" / "_SUCCESS").exists()


def test_a_missing_file_of_candidates(tmp_path: Path) -> None:
    for name, lines in (("log.train", TRAIN), ("log.test", TEST)):
        (tmp_path / name).write_text(lines)
    with pytest.raises(ColonnadeError, match=r"No input file is called 'log\.negative', which holds the candidates"):
        build(FeatureSpec.from_yaml(NCF), tmp_path / "data", [str(tmp_path / "log.*")], show_progress=False)


def test_raw_rows_through_an_existing_graph_have_the_history_of_these_rows(tmp_path: Path) -> None:
    data = _built(tmp_path)
    # The file of candidates lies in the folder too, and is no file of rows.
    pairs = [
        row
        for path in transform_only(data.spec, [str(tmp_path / "raw")], data.transform_fn, tmp_path / "pairs")
        for row in pq.read_table(path).to_pylist()
    ]
    assert len(pairs) == 9
    of_first = {row["raw.book"]: row for row in pairs if row["raw.reader"] == b"1"}
    assert {book: row["raw.read"] for book, row in of_first.items()} == {
        b"10": [],
        b"11": [b"10"],
        b"12": [b"10", b"11"],
        b"14": [b"11", b"12"],
    }
    ids = dict(zip(*(pq.read_table(data.items)[name].to_pylist() for name in ("_item", "book")), strict=True))
    for row in pairs:
        assert row["book"] == ids[row["raw.book"]]
        assert row["read"] == [ids[book] for book in row["raw.read"]][-2:]
