"""`python -m serving.recommend`: what goes in, what comes out, and what a user reads when something is wrong."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tiny_matching import TinyMatching, export

from feature_specs import ColonnadeError
from preprocessing.artifacts import DataDirectory
from serving.predict import predict_file
from serving.recommend import main, recommend_file

FILE = """key,user,age,history
first,u1,30,i3|i4
"bad, row",u2,old,i3
second,new,,
short,u3
third,u7,27,"i39|unheard of|i3"
"""
GOOD = [("first", "u1", 30.0, ["i3", "i4"]), ("second", "new", None, []), ("third", "u7", 27.0, ["i39", "unheard of", "i3"])]


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users.csv"
    path.write_text(FILE)
    return path


def by_hand(version: Path, k: int, exclude_seen: bool = True) -> list[tuple[list[str], list[float]]]:
    loaded = tf.saved_model.load(str(version))
    found = loaded.retrieve(
        user=tf.constant([user for _, user, _, _ in GOOD]),
        age=tf.constant([float("nan") if age is None else age for _, _, age, _ in GOOD]),
        history=tf.ragged.constant([items for *_, items in GOOD], dtype=tf.string).to_tensor(""),
        k=tf.constant(k),
        exclude_seen=tf.constant(exclude_seen),
    )
    return [
        ([item.decode() for item in ids if item], scores[: sum(ids != b"")].tolist())
        for ids, scores in zip(found["item_ids"].numpy(), found["scores"].numpy(), strict=True)
    ]


def test_json_lines_have_a_row_a_user(matching: Path, users: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "lists.jsonl"
    main(["--export_dir", str(matching.parent), "--users", str(users), "--k", "4", "--output", str(output)])
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [list(row) for row in rows] == [["key", "user", "age", "item_ids", "scores"]] * 3
    assert [(row["key"], row["user"]) for row in rows] == [(key, user) for key, user, *_ in GOOD]
    assert [(row["item_ids"], row["scores"]) for row in rows] == by_hand(matching, 4)

    rejected = [json.loads(line) for line in (tmp_path / "lists.jsonl.rejected.jsonl").read_text().splitlines()]
    assert {record["line"]: record["reason"] for record in rejected} == {
        3: "column 'age': expected float32, received 'old'",
        5: "expected 4 values, received 2",
    }
    said = capsys.readouterr().out
    assert said.startswith("served 3 rows in ")
    assert f"with {matching}: {output}; 2 rows set aside: see {output}.rejected.jsonl\n" in said


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_delimited_text_has_a_row_an_item(matching: Path, users: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"lists{suffix}"
    recommend_file(matching, users, output, k=40, batch_size=2)
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter={".csv": ",", ".tsv": "\t"}[suffix]))
    assert list(rows[0]) == ["key", "user", "age", "rank", "item_id", "score"]
    lists = by_hand(matching, 40)
    assert [len(items) for items, _ in lists] == [38, 40, 38]
    expected = [
        (key, str(rank), item, score)
        for (key, *_), (items, scores) in zip(GOOD, lists, strict=True)
        for rank, (item, score) in enumerate(zip(items, scores, strict=True), 1)
    ]
    assert [(row["key"], row["rank"], row["item_id"], float(row["score"])) for row in rows] == expected


def test_who_has_seen_everything_has_an_empty_list_and_no_row_of_delimited_text(matching: Path, tmp_path: Path) -> None:
    users, everything = tmp_path / "users.csv", "|".join(f"i{n}" for n in range(40))
    users.write_text(f"key,user,history\nfirst,u1,i3\nall,u2,{everything}\n")
    recommend_file(matching, users, tmp_path / "lists.jsonl", k=2)
    assert [len(json.loads(line)["item_ids"]) for line in (tmp_path / "lists.jsonl").read_text().splitlines()] == [2, 0]

    said = recommend_file(matching, users, tmp_path / "lists.csv", k=2)
    assert said.startswith("served 1 row in ")
    assert "; 1 row set aside" in said
    assert [line.split(",")[0] for line in (tmp_path / "lists.csv").read_text().splitlines()] == ["key", "first", "first"]
    rejected = json.loads((tmp_path / "lists.csv.rejected.jsonl").read_text())
    assert (rejected["line"], rejected["reason"]) == (3, "no item is left to recommend: the user has seen all of them")


def test_parquet_in_and_out_with_items_seen(matching: Path, tmp_path: Path) -> None:
    names = ("key", "user", "age", "history")
    table = pa.table({name: pa.array([row[place] for row in GOOD]) for place, name in enumerate(names)})
    pq.write_table(table, tmp_path / "users.parquet")
    recommend_file(matching, tmp_path / "users.parquet", tmp_path / "lists.parquet", k=100, include_seen=True)
    found = pq.read_table(tmp_path / "lists.parquet")
    assert found.schema.field("item_ids").type == pa.list_(pa.string())
    assert found.schema.field("scores").type == pa.list_(pa.float32())
    lists = list(zip(found["item_ids"].to_pylist(), found["scores"].to_pylist(), strict=True))
    # Any k that is larger than the number of items means all of them.
    assert lists == by_hand(matching, 40, exclude_seen=False)


def test_integer_ids_and_items_given_as_seen(integers: DataDirectory, tmp_path: Path) -> None:
    version = export(TinyMatching(integers), integers, tmp_path)
    lines = [{"user": 3, "seen": []}, {"user": 3, "seen": [5, 6]}, {"user": 3}]
    (tmp_path / "users.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = recommend_file(version, tmp_path / "users.jsonl", tmp_path / "lists.jsonl", k=40)
    rows = [json.loads(line) for line in (tmp_path / "lists.jsonl").read_text().splitlines()]
    assert rows[0]["item_ids"] == rows[2]["item_ids"]
    assert rows[1]["item_ids"] == [item for item in rows[0]["item_ids"] if item not in (5, 6)]
    assert "no column" not in said
    (tmp_path / "ids.csv").write_text("user\n3\n")
    said = recommend_file(version, tmp_path / "ids.csv", tmp_path / "lists.jsonl")
    assert "; no column, so missing: seen" in said
    assert json.loads((tmp_path / "lists.jsonl").read_text())["item_ids"] == rows[0]["item_ids"][:10]


def test_users_whom_the_model_does_not_know_are_set_aside(strings: DataDirectory, users: Path, tmp_path: Path) -> None:
    version = export(TinyMatching(strings, knows_all=False), strings, tmp_path)
    said = recommend_file(version, users, tmp_path / "lists.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "lists.jsonl").read_text().splitlines()]
    assert [row["key"] for row in rows] == ["first", "third"]
    rejected = [json.loads(line) for line in (tmp_path / "lists.jsonl.rejected.jsonl").read_text().splitlines()]
    assert (rejected[-1]["line"], rejected[-1]["reason"]) == (4, "Users are unknown: 1")
    assert "served 2 rows" in said
    assert "3 rows set aside" in said

    (tmp_path / "strangers.csv").write_text("user\nme\nyou\n")
    with pytest.raises(ColonnadeError, match=r"No row of .* can be served. The first, line 2: Users are unknown: 1\. See "):
        recommend_file(version, tmp_path / "strangers.csv", tmp_path / "none.jsonl")
    assert not (tmp_path / "none.jsonl").exists()
    # Pairs are scored by the same rule.
    (tmp_path / "pairs.csv").write_text("user,movie\nu1,i3\nme,i3\n")
    assert "scored 1 row in" in predict_file(version, tmp_path / "pairs.csv", tmp_path / "scores.csv")


def test_mistakes_are_told(matching: Path, exported: Path, users: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    for flag, value in (("k", 0), ("k", 2**31), ("batch_size", 0), ("batch_size", 10**20)):
        with pytest.raises(ColonnadeError, match=rf"--{flag} should be above 0 and below 2\*\*31. Received: {value}"):
            recommend_file(matching, users, output, **{flag: value})
    with pytest.raises(ColonnadeError, match=r"is of a ranking model, which retrieves no items. Score pairs with serving.predict"):
        recommend_file(exported, users, output)
    with pytest.raises(ColonnadeError, match="There is no input file"):
        recommend_file(matching, tmp_path / "gone.csv", output)
    (tmp_path / "other.csv").write_text("who\nme\n")
    with pytest.raises(ColonnadeError, match="has the column of no feature. Received the columns who; expected some of user, age, history"):
        recommend_file(matching, tmp_path / "other.csv", output)
    (tmp_path / "taken.csv").write_text("user,scores\nu1,1\n")
    with pytest.raises(ColonnadeError, match="already has a column 'scores'"):
        recommend_file(matching, tmp_path / "taken.csv", output)
    assert not output.exists()


def test_the_command(matching: Path, users: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serving.recommend", "--export_dir", str(matching.parent), "--users", users.name]
    done = subprocess.run([*command, "--output", "lists.csv", "--k", "2"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("served 3 rows in ")
    assert len((tmp_path / "lists.csv").read_text().splitlines()) == 7
    done = subprocess.run([*command, "--output", "lists.csv", "--index", "best"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "invalid choice: 'best'" in done.stderr
    assert done.stderr.count("\n") == 1
