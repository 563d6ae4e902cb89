"""New raw data beside what was trained on: what is found, in which words, and with which exit status."""

from __future__ import annotations

import csv
import gzip
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_specs import ColonnadeError, FeatureSpec
from preprocessing.artifacts import DataDirectory
from preprocessing.check import check, main
from preprocessing.pipeline import build

SPEC = """
name: visits
features:
- {kind: categorical, name: city, encoding: {type: vocabulary, min_count: 2}}
- {kind: categorical, name: device, encoding: {type: hash, num_buckets: 100}}
- {kind: categorical, name: floor, dtype: int64, encoding: {type: identity, num_buckets: 5}, on_invalid: missing}
- {kind: numeric, name: age}
- {kind: multi_valued, name: tags, encoding: {type: vocabulary}}
- {kind: crossed, name: city_device, inputs: [city, device], num_buckets: 50}
label: {column: bought}
keys: {user: visitor}
split: {by: [visitor]}
"""
Row = dict[str, str]
Change = Callable[[int, Row], object]


def _rows(seed: int, number: int) -> list[Row]:
    dice = random.Random(seed)
    return [
        {
            "visitor": str(dice.randrange(10**6)),
            "city": dice.choice(["Rom", "Köln", "Oslo"] if dice.random() < 0.97 else [f"village {dice.randrange(10**6)}"]),
            "device": dice.choice(["tv", "pc", "phone"]),
            "floor": str(dice.randrange(5)),
            "age": str(dice.randint(18, 80)) if dice.random() < 0.9 else "",
            "tags": "|".join(dice.sample(["a", "b", "c"], dice.randrange(4))),
            "bought": str(int(dice.random() < 0.3)),
        }
        for _ in range(number)
    ]


def _write(path: Path, rows: list[Row], delimiter: str = ",") -> str:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataDirectory:
    folder = tmp_path_factory.mktemp("visits")
    return build(FeatureSpec.from_yaml(SPEC), folder / "data", [_write(folder / "old.csv", _rows(0, 4000))], show_progress=False)


@pytest.fixture
def anomalies(data: DataDirectory, tmp_path: Path) -> Callable[[Change], list[str]]:
    """Returns what is found in 1,000 new rows that a function has changed in place."""

    def found(change: Change) -> list[str]:
        rows = _rows(1, 1000)
        for number, row in enumerate(rows):
            change(number, row)
        return check(data, [_write(tmp_path / "new.csv", rows)], show_progress=False).anomalies

    return found


def test_rows_like_those_of_the_training_pass(data: DataDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in data.path.rglob("*")}
    assert main(["--data_dir", str(data.path), "--input", _write(tmp_path / "new.csv", _rows(1, 1000))]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        "No anomaly: 1,000 rows, 0 of them rejected, 6 features compared. The new data looks like the training data of visits."
    )
    assert {path: path.stat().st_mtime_ns for path in data.path.rglob("*")} == before


def test_few_rows_and_rows_without_label_and_key_pass(data: DataDirectory, tmp_path: Path) -> None:
    few = check(data, [_write(tmp_path / "few.csv", _rows(2, 30))], show_progress=False)
    assert few.anomalies == []
    rows = [{key: value for key, value in row.items() if key not in ("bought", "visitor")} for row in _rows(3, 500)]
    bare = check(data, [_write(tmp_path / "bare.csv", rows)], show_progress=False)
    assert (bare.anomalies, bare.notes) == ([], ["there is no column 'bought': labels are not compared"])


# What is changed in every so many rows (in place), and what is said then.
CHANGES: dict[str, tuple[int, Callable[[Row], object], str]] = {
    "new tokens": (
        5,
        lambda r: r.update(city=f"new {r['age']}"),
        r"feature 'city': 2\d\.\d% of the values are in no training row \(\d\.\d% would be usual\), such as 'new ', 'new \d\d', 'new",
    ),
    "new hashed tokens": (
        5,
        lambda r: r.update(device="watch"),
        r"feature 'device': 20\.0% of the values are in no training row \(0\.0% would be usual\), such as 'watch'$",
    ),
    "outside the range": (5, lambda r: r.update(floor="17"), r"feature 'floor': 20\.0% of the values are in no training row .* '17'$"),
    "another type, as missing": (2, lambda r: r.update(floor="first"), r"feature 'floor': 50\.0% of the rows have no valid value, 0\.0%"),
    "another type": (
        5,
        lambda r: r.update(age="old"),
        r"column 'age': 20\.0% of the values are not a finite number, such as 'old' \(.*new\.csv, line 2\)$",
    ),
    "more missing": (2, lambda r: r.update(age=""), r"feature 'age': 5\d\.\d% of the rows have no valid value, 1\d\.\d% in training$"),
    "extreme numbers": (
        1,
        lambda r: r.update(age=r["age"] and str(1960 + int(r["age"]))),
        r"feature 'age': 100\.0% of the numbers are outside of \[11\.8, 86\.2\], the training range and 10% of its width on either side, "
        r"such as 2040$",
    ),
    "other numbers": (
        1,
        lambda r: r.update(age=r["age"] and str(18 + int(r["age"]) // 8)),
        r"feature 'age': the new data differs from train, Jensen-Shannon 0\.\d\d\d, L-infinity 0\.\d\d\d; most in numbers",
    ),
    "other shares": (
        1,
        lambda r: r["city"] == "Rom" and r.update(city="Oslo"),
        r"feature 'city': the new data differs from train, .* most in Oslo: 3\d\.\d% in train, 6\d\.\d% in the new data$",
    ),
    "longer lists": (
        1,
        lambda r: r["tags"] and r.update(tags="a|b|c|a|b|c"),
        r"feature 'tags': rows have 4\.\d+ values on average, 1\.\d\d in training$",
    ),
    "other labels": (3, lambda r: r.update(bought="1"), r"label: 5\d\.\d% are positive, \d\d\.\d% in training$"),
    "a missing column": (1, lambda r: r.pop("age"), r"column 'age' is missing, which feature 'age' needs$"),
    "unreadable rows": (
        50,
        lambda r: r.update(bought="yes"),
        r"20 of 1,000 rows \(2\.0%\) cannot be read, the first because: column 'bought': 'yes' is not a finite number",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_anomalies(anomalies: Callable[[Change], list[str]], name: str) -> None:
    every, change, expected = CHANGES[name]
    found = anomalies(lambda number, row: number % every == 0 and change(row))
    matching = [line for line in found if re.match(expected, line)]
    assert matching, found
    assert not any("\n" in line for line in found)
    # One thing is wrong: nothing is said of other features but crosses of it, and of rows that cannot be read.
    name = matching[0].split("'")[1] if "'" in matching[0] else ""
    assert all(name in line or "city_device" in line or "cannot be read" in line for line in found), found


def test_thresholds_and_exit_status(data: DataDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = _rows(1, 1000)
    for row in rows[:200]:
        row["device"] = "watch"
    arguments = ["--data_dir", str(data.path), "--input", _write(tmp_path / "new.csv", rows)]
    assert main(arguments) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("anomaly: ")][0].startswith("anomaly: feature 'device': 20.0% of the values")
    assert lines[-1].endswith("1,000 rows, 0 of them rejected, 6 features compared.")
    assert main([*arguments, "--max_new_tokens", "0.3", "--max_js", "0.5", "--max_linf=0.5"]) == 0


def test_any_format_and_packing(data: DataDirectory, tmp_path: Path) -> None:
    rows = _rows(4, 300)
    table = pa.table({name: [row[name] for row in rows] for name in rows[0]})
    pq.write_table(table, tmp_path / "new.parquet")
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    packed = gzip.compress(Path(_write(tmp_path / "new.csv", rows)).read_bytes())
    (tmp_path / "new.csv.gz").write_bytes(packed)
    for name in ("new.parquet", "new.jsonl", "new.csv.gz"):
        found = check(data, [str(tmp_path / name)], show_progress=False)
        assert (found.anomalies, found.rows["in"]) == ([], 300), name


def test_all_rows_unreadable(anomalies: Callable[[Change], list[str]]) -> None:
    found = anomalies(lambda _, row: row.update(age="?"))
    assert found[0].startswith("column 'age': 100.0% of the values are not a finite number")
    assert found[1].startswith("1,000 of 1,000 rows (100.0%) cannot be read")


def test_joined_tables_as_they_are_or_flat(tiny_data_dir: Path, tiny_files: Path, tmp_path: Path) -> None:
    data = DataDirectory.open(tiny_data_dir)
    joined = check(data, [str(tiny_files)], show_progress=False)
    assert joined.anomalies == []
    assert joined.notes == ["history 'history' is not compared: it takes earlier rows of the same users"]
    assert joined.compared == 11
    with (tiny_files / "users.tsv").open() as stream:
        users = {row["user"]: row for row in csv.DictReader(stream, delimiter="\t")}
    with (tiny_files / "items.csv").open() as stream:
        items = {row["item"]: row for row in csv.DictReader(stream)}
    with (tiny_files / "ratings.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["rating"] in tuple("12345") and row["price"] != "cheap"]
    blank = {name: "" for side in (users, items) for name in next(iter(side.values()))}
    flat = [{**blank, **users.get(r["user"], {}), **items.get(r["item"], {}), **r} for r in rows if r["clicks"] is not None]
    assert check(data, [_write(tmp_path / "flat.csv", flat)], show_progress=False).anomalies == []


def test_mistakes(data: DataDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = _write(tmp_path / "other.csv", [{"a": "1"}])
    with pytest.raises(ColonnadeError, match=r"The input has no column that a feature of 'visits' needs\. Columns: a\."):
        check(data, [other], show_progress=False)
    with pytest.raises(ColonnadeError, match="No file matches"):
        check(data, [str(tmp_path / "none.csv")], show_progress=False)
    with pytest.raises(SystemExit, match="2"):
        main(["--data_dir", "x", "--input", "y", "--max_new_token", "0.1"])
    assert "unknown argument '--max_new_token'. Did you mean '--max_new_tokens'?" in capsys.readouterr().err


def test_as_a_program() -> None:
    command = [sys.executable, "-m", "preprocessing.check"]
    help_text = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    assert "--max_new_tokens SHARE" in help_text
    assert "(default: 0.05)" in help_text
    failed = subprocess.run([*command, "--data_dir", "no", "--input", "x"], capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
    assert failed.stderr.startswith("error: Data directory 'no' does not exist.")


def test_sampled_negatives_and_histories_are_not_taken_for_drift(tmp_path: Path) -> None:
    spec = FeatureSpec.from_yaml(
        "name: clicks\nfeatures:\n- {kind: categorical, name: item, encoding: {type: vocabulary}}\n"
        "- {kind: numeric, name: price}\n- {kind: sequence, name: past, history_of: item, table: item}\n"
        "label: {implicit: true}\nkeys: {user: user, item: item, time: time}\nnegatives: {per_positive: 3}\n"
    )

    def rows(seed: int, number: int) -> list[Row]:
        dice = random.Random(seed)
        popular = [min(int(dice.paretovariate(1)), 50) for _ in range(number)]
        return [
            {"user": str(dice.randrange(99)), "item": f"i{i}", "time": str(n), "price": f"{dice.random():.3f}"}
            for n, i in enumerate(popular)
        ]

    data = build(spec, tmp_path / "data", [_write(tmp_path / "old.csv", rows(0, 2000))], show_progress=False)
    assert data.statistics["rows"]["negatives"] == 6000
    found = check(data, [_write(tmp_path / "new.csv", rows(1, 500))], show_progress=False)
    assert found.anomalies == []
    assert found.notes == [
        "history 'past' is not compared: it takes earlier rows of the same users",
        "labels, and the distribution of item, are not compared: training rows include sampled negatives",
    ]
    dear = [{**row, "price": "7"} for row in rows(1, 500)]
    assert check(data, [_write(tmp_path / "dear.csv", dear)], show_progress=False).anomalies[0].startswith("feature 'price': 100.0% of the")
