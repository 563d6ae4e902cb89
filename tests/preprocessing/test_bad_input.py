"""The whole job on bad input: rows are set aside with reason, file and line, or the job ends with one clear error and no _SUCCESS."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_specs import ColonnadeError, FeatureSpec
from preprocessing import job
from preprocessing.artifacts import SUCCESS, DataDirectory
from preprocessing.pipeline import build
from preprocessing.task import main

SPEC = """
name: bad
features:
- {kind: categorical, name: user, encoding: {type: vocabulary}}
- {kind: categorical, name: item, encoding: {type: vocabulary}}
- {kind: numeric, name: price}
- {kind: categorical, name: age, dtype: int64, encoding: {type: vocabulary}}
- {kind: multi_valued, name: tags, encoding: {type: hash, num_buckets: 9}}
- {kind: sequence, name: history, history_of: item, table: item, max_length: 3}
label: {column: clicked}
keys: {user: user, item: item, time: time}
source:
  rows: {files: 'rows*'}
  joins:
  - {table: {files: 'users*'}, key: user}
"""
HEADER = "user,item,price,tags,clicked,time"
USERS = "user,age\n" + "".join(f"u{i},{20 + i}\n" for i in range(10))


@pytest.fixture
def spec() -> FeatureSpec:
    return FeatureSpec.from_yaml(SPEC)


def _good(count: int) -> list[str]:
    dice = random.Random(0)
    return [f"u{dice.randrange(10)},i{i % 9},{i / 4},a|b,{i % 2},{1000 - i}" for i in range(count)]


def _write(folder: Path, *lines: str | bytes) -> list[str]:
    content = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in (HEADER, *lines)) + b"\n"
    (folder / "rows.csv").write_bytes(content)
    (folder / "users.csv").write_text(USERS)
    return [str(folder)]


def _rows(data: DataDirectory) -> list[dict[str, Any]]:
    return [row for split in ("train", "valid", "test") for path in data.shards(split) for row in pq.read_table(path).to_pylist()]


def _rejected(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob("rejected-*.jsonl")) for line in path.read_text().splitlines()]


def test_every_kind_of_bad_row_is_set_aside_with_its_line(spec: FeatureSpec, tmp_path: Path) -> None:
    bad: list[tuple[str | bytes, str]] = [
        ("u1,i1,1,a,0", "expected 6 values, received 5"),
        ("u1,i1,1,a,0,1,2", "expected 6 values, received 7"),
        ("u1,i1,cheap,a,0,1", "column 'price': 'cheap' is not a finite number"),
        ("u1,i1,inf,a,0,1", "column 'price': 'inf' is not a finite number"),
        ("u1,i1,1e99,a,0,1", "column 'price': '1e99' is not a finite number"),
        ("u1,i1,1,a,2,1", "column 'clicked': '2' is not 0 or 1; give the label a threshold"),
        ("u1,i1,1,a,yes,1", "column 'clicked': 'yes' is not a finite number"),
        ("u1,i1,1,a,,1", "label 'clicked' is missing"),
        ("u1,i1,1,a,nan,1", "label 'clicked' is missing"),
        ("u1,i1,1,a,0,soon", "column 'time': 'soon' is not an integer"),
        ("u1," + "x" * (10 << 20) + ",1,a,0,1", "column 'item': a value of 10,485,760 bytes; expected at most 1,048,576"),
        ('u1,"i1,1,a,0,1', "broken quotes: a quote is not closed"),
    ]
    odd = [b"u\xff,i1,1,a,0,1", b"u\x00,i1,nan,,1,2", 'u1,"line\nend",,a,1,3', "u1,i1,1,a,0,99999999999", "unknown,i1,1,a,0,0", ""]
    lines = [*_good(90), *odd, *(line for line, _ in bad)]
    data = build(spec, tmp_path / "data", _write(tmp_path, *lines), show_progress=False, max_rejected_fraction=0.5)
    assert data.statistics["rows"]["in"] == 90 + 5 + len(bad)
    assert data.statistics["rows"]["rejected"] == len(bad)
    first = 2 + len(_good(90)) + len(odd) + 1
    records = sorted(_rejected(data.path), key=lambda record: record["line"])
    assert [(record["line"], record["reason"]) for record in records] == [(first + i, reason) for i, (_, reason) in enumerate(bad)]
    assert all(record["file"].endswith("rows.csv") and len(record["text"]) < 600 for record in records)
    rows = _rows(data)
    users = Counter(row["_user"] for row in rows)
    assert [users[user] for user in (b"u\xff", b"u\x00", b"unknown")] == [1, 1, 1]
    assert next(row["age"] for row in rows if row["_user"] == b"unknown") == 0
    assert [row["_time"] for row in rows if row["_item"] == b"line\nend"] == [3]
    assert all(np.isfinite(row["price"]) for row in rows)


def test_over_the_limit_the_job_fails_and_keeps_what_was_rejected(spec: FeatureSpec, tmp_path: Path) -> None:
    lines = _good(96)
    lines[10:10] = ["u1,i1,cheap,a,0,1", "u1,i1,dear,a,0,1", "ragged"]
    inputs, output = _write(tmp_path, *lines), tmp_path / "data"
    with pytest.raises(ColonnadeError) as caught:
        build(spec, output, inputs, show_progress=False)
    message = str(caught.value)
    assert message.startswith("3 of 99 rows (3.03%) were set aside, more than --max_rejected_fraction 0.01 allows. The commonest")
    assert "\n  2 x column 'price': ... is not a finite number. First: " in message
    assert "rows.csv, line 12 (column 'price': 'cheap' is not a finite number): 'u1,i1,cheap,a,0,1'\n  1 x expected 6 values" in message
    assert f"All of them are in {output}/rejected-*.jsonl. Mend the input or the spec, or allow more with" in message
    assert message.endswith("--max_rejected_fraction 0.031.")
    assert [path.name for path in output.iterdir()] == ["rejected-00000-of-00001.jsonl"]
    assert [record["line"] for record in _rejected(output)] == [12, 13, 14]
    # The next attempt starts afresh.
    data = build(spec, output, inputs, show_progress=False, max_rejected_fraction=0.031)
    assert data.statistics["rows"]["rejected"] == 3
    assert len(_rejected(output)) == 3


def test_nothing_left_fails_whatever_the_limit(spec: FeatureSpec, tmp_path: Path) -> None:
    inputs = _write(tmp_path, "ragged", "too")
    with pytest.raises(ColonnadeError, match=r"2 of 2 rows \(100\.00%\) were set aside, so nothing is left\..*\n  2 x expected 6 values"):
        build(spec, tmp_path / "data", inputs, show_progress=False, max_rejected_fraction=1.0)
    with pytest.raises(ColonnadeError, match=r"max_rejected_fraction should be a share from 0 to 1\. Received: 2"):
        build(spec, tmp_path / "data", inputs, show_progress=False, max_rejected_fraction=2)


def test_the_command_takes_the_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.yaml").write_text(SPEC)
    _write(tmp_path, *_good(60), "ragged")
    flags = ["--spec", str(tmp_path / "bad.yaml"), "--input", str(tmp_path / "*.csv"), "--output", str(tmp_path / "data")]
    with pytest.raises(ColonnadeError, match="1 of 61 rows"):
        main(flags)
    assert main([*flags, "--max_rejected_fraction", "0.02"]) == 0
    assert "1 rejected" in capsys.readouterr().out


def _vanish(path: Path) -> Any:
    planned = job.plan_ranges

    def plan(*arguments: Any) -> Any:
        ranges = planned(*arguments)
        path.unlink(missing_ok=True)
        return ranges

    return plan


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder, _: (folder / "rows.csv").write_bytes(b""), r"Input '.*rows\.csv' is empty \(0 bytes\)"),
        (lambda folder, _: (folder / "rows.csv").write_text(HEADER + "\n"), r"Input '.*rows\.csv' has no rows"),
        (lambda folder, _: (folder / "rows.csv").write_text("\n\n"), r"'.*rows\.csv' has no header: its first line is blank"),
        (
            lambda folder, _: (folder / "rows.csv").write_text("user,item,prise,tags,clicked,time\nu1,i1,1,a,0,1\n"),
            r"The input has no column 'price', which feature 'price' needs\. Did you mean 'prise'\?",
        ),
        (lambda folder, patch: patch.setattr(job, "plan_ranges", _vanish(folder / "rows.csv")), r"Cannot read '.*rows\.csv'"),
        (
            lambda folder, _: (folder / "rows.csv").rename(folder / "rows.csv.gz").write_bytes(gzip.compress(b"x" * 9999)[:-8]),
            r"Cannot decompress '.*rows\.csv\.gz'.*Fetch the file again",
        ),
        (lambda folder, _: (folder / "users.csv").write_text(USERS + "u3,50\n"), r"has 2 rows with user 'u3' \(1 keys are repeated\)"),
        (lambda folder, _: (folder / "users.csv").write_text(USERS + "u99\n"), r"users\.csv', line 12: expected 2 values, received 1"),
        (lambda folder, _: (folder / "rows.csv").rename(folder / "rows.parquet"), r"looks like parquet, .* Say `format: parquet`"),
    ],
)
def test_what_cannot_be_set_aside_is_one_clear_error(
    spoil: Any, message: str, spec: FeatureSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = _write(tmp_path, *_good(50))
    spoil(tmp_path, monkeypatch)
    with pytest.raises(ColonnadeError, match=message) as caught:
        build(spec, tmp_path / "data", inputs, show_progress=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data" / SUCCESS).exists()


def _typed(key: str, value: str) -> Any:
    if key == "tags":
        return value.split("|")
    return float(value) if key == "price" else value if key in ("user", "item") else int(value)


def _convert(csv: Path, name: str) -> None:
    """Writes the rows of a CSV file in another format, in its place."""
    names, *rows = [line.split(",") for line in csv.read_text().splitlines()]
    typed = [{key: _typed(key, value) for key, value in zip(names, row, strict=True)} for row in rows]
    if name == "json_lines":
        csv.with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in typed))
    elif name == "parquet":
        pq.write_table(pa.Table.from_pylist(typed), csv.with_suffix(".parquet"))
    else:
        import tensorflow as tf

        with tf.io.TFRecordWriter(str(csv.with_suffix(".tfrecord"))) as writer:
            for row in typed:
                features = tf.train.Features(feature={key: _feature(value) for key, value in row.items()})
                writer.write(tf.train.Example(features=features).SerializeToString())
    csv.unlink()


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    built = {}
    for name in ("text", "json_lines", "parquet", "tfrecord"):
        folder = tmp_path / name
        folder.mkdir()
        _write(folder, *_good(80))
        if name != "text":
            _convert(folder / "rows.csv", name)
            _convert(folder / "users.csv", name)
        # A value of TFRecord is a list, which hashes otherwise: no split by hash.
        text = SPEC.replace("{files: ", f"{{format: {name}, files: ") + "split: {type: temporal}\n"
        built[name] = build(FeatureSpec.from_yaml(text), tmp_path / "data" / name, [str(folder)], show_progress=False)
    expected = _rows(built["text"])
    assert len(expected) == 80
    assert all(_rows(data) == expected for data in built.values())


def _feature(value: Any) -> Any:
    import tensorflow as tf

    values = value if isinstance(value, list) else [value]
    if isinstance(values[0], str):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[v.encode() for v in values]))
    if isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


@pytest.mark.parametrize("seed", range(4))
def test_mutated_files_through_the_whole_job(seed: int, spec: FeatureSpec, tmp_path: Path) -> None:
    dice = random.Random(seed)
    lines: list[str | bytes] = [*_good(60)]
    touched = set()
    for _ in range(8):
        number = dice.randrange(len(lines))
        line = bytearray(lines[number] if isinstance(lines[number], bytes) else str(lines[number]).encode())
        line[dice.randrange(len(line))] = dice.choice(b'",\n\x00\xff|9')
        lines[number] = bytes(line)
        touched.add(number)
    data = build(spec, tmp_path / "data", _write(tmp_path, *lines), show_progress=False, max_rejected_fraction=0.9)
    counts = data.statistics["rows"]
    rows = _rows(data)
    assert counts["in"] == counts["out"] + counts["rejected"] == len(rows) + len(_rejected(data.path))
    times = Counter(row["_time"] for row in rows)
    assert all(times[1000 - i] for i in range(60) if i not in touched)
