"""Scored rows in every format, whole or not at all."""

from __future__ import annotations

import csv
import errno
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_specs import ColonnadeError
from serving.mixed import from_python
from serving.writers import open_writer

NOON = datetime(2020, 1, 1, 12, tzinfo=timezone.utc)


def tables() -> list[pa.Table]:
    columns: dict[str, Any] = {
        "text": pa.array([b"plain", b'say "hi", you', b"two\nlines", None, "é".encode()], pa.binary()),
        "id": pa.array([1, 2, 3, None, 5]),
        "when": pa.array([NOON, None, NOON, NOON, NOON]),
        "list": pa.array([["a"], [], None, ["b", "c"], ['"']]),
        "mixed": from_python([1, "x", [2], None, {"k": 1.5}]),
        "ok": pa.array([True, False, None, True, True]),
        "score": pa.array(np.array([0.1, np.nan, 1e-9, 16777216, -2.5], np.float32)),
    }
    whole = pa.table(columns)
    return [whole.slice(0, 3), whole.slice(3)]


def write(path: Path, parts: list[pa.Table]) -> Path:
    with open_writer(path) as writer:
        for part in parts:
            writer.write(part)
    return path


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_csv_quotes_what_needs_it_and_nothing_else(tmp_path: Path, suffix: str, delimiter: str) -> None:
    path = write(tmp_path / f"out{suffix}", tables())
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter=delimiter))
    assert [row["text"] for row in rows] == ["plain", 'say "hi", you', "two\nlines", "", "é"]
    assert [row["list"] for row in rows] == ['["a"]', "[]", "", '["b", "c"]', '["\\""]']
    assert [row["mixed"] for row in rows] == ["1", "x", "[2]", "", '{"k": 1.5}']
    assert [row["ok"] for row in rows] == ["true", "false", "", "true", "true"]
    assert [row["score"] for row in rows] == ["0.1", "", "1e-9", "16777216", "-2.5"]
    assert path.read_text(encoding="utf-8").splitlines()[1].startswith(delimiter.join(["plain", "1", "2020-01-01 12:00:00"]))


def test_json_lines_keep_types(tmp_path: Path) -> None:
    path = write(tmp_path / "out.jsonl", tables())
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == ["plain", 'say "hi", you', "two\nlines", None, "é"]
    assert [row["id"] for row in rows] == [1, 2, 3, None, 5]
    assert [row["list"] for row in rows] == [["a"], [], None, ["b", "c"], ['"']]
    assert [row["mixed"] for row in rows] == [1, "x", [2], None, {"k": 1.5}]
    assert [row["ok"] for row in rows] == [True, False, None, True, True]
    assert [row["score"] for row in rows] == [0.1, None, 1e-9, 16777216, -2.5]


def test_parquet_keeps_types_and_makes_text_readable(tmp_path: Path) -> None:
    table = pq.read_table(write(tmp_path / "out.parquet", tables()))
    assert table["text"].to_pylist() == ["plain", 'say "hi", you', "two\nlines", None, "é"]
    assert table["mixed"].to_pylist() == ["1", "x", "[2]", None, '{"k": 1.5}']
    assert table.schema.field("score").type == pa.float32()
    assert table["when"].to_pylist() == [NOON, None, NOON, NOON, NOON]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    part = pa.table({"text": pa.array([b"caf\xe9"], pa.binary())})
    assert write(tmp_path / "out.csv", [part]).read_bytes() == b"text\ncaf\xe9\n"
    assert json.loads(write(tmp_path / "out.jsonl", [part]).read_text(encoding="utf-8")) == {"text": "caf\ufffd"}
    assert pq.read_table(write(tmp_path / "out.parquet", [part]))["text"].to_pylist() == ["caf\ufffd"]


def test_a_column_may_end_or_change_its_type(tmp_path: Path) -> None:
    parts = [pa.table({"a": [1], "b": ["x"], "n": pa.nulls(1)}), pa.table({"a": pa.array([2], pa.int8()), "n": [7]})]
    assert write(tmp_path / "out.csv", parts).read_text() == "a,b,n\n1,x,\n2,,7\n"
    assert pq.read_table(write(tmp_path / "out.parquet", parts)).to_pylist() == [
        {"a": 1, "b": "x", "n": None},
        {"a": 2, "b": None, "n": "7"},
    ]


# Plain columns are copied whole; one odd value, or bytes of rows before and after a slice, must not change that of the others.
_CELLS = st.lists(
    st.none() | st.sampled_from(["", "plain", "é", "null"]) | st.text('a",\\\t\r\n\x00\x1f\x7f\u2028'), min_size=1, max_size=6
)


@settings(max_examples=40, deadline=None)
@given(cells=_CELLS, begin=st.integers(0, 2), is_binary=st.booleans())
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, cells: list[str | None], begin: int, is_binary: bool) -> None:
    texts = pa.array([None if cell is None else cell.encode() for cell in cells], pa.binary())
    part = pa.table({"text": texts if is_binary else texts.cast(pa.string()), "n": range(len(cells))}).slice(begin)
    folder = tmp_path_factory.mktemp("any")
    lines = write(folder / "out.jsonl", [part]).read_bytes().decode().split("\n")[:-1]
    assert [json.loads(line)["text"] for line in lines] == cells[begin:]
    with write(folder / "out.csv", [part]).open(newline="", encoding="utf-8") as file:
        assert [row["text"] for row in csv.DictReader(file)] == [cell or "" for cell in cells[begin:]]


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_column_that_comes_late_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ColonnadeError, match=r"Column 'b' is not in the first rows .*Write to a .jsonl file"):
        write(tmp_path / name, [pa.table({"a": [1]}), pa.table({"a": [1], "b": [2]})])
    assert list(tmp_path.iterdir()) == []


def test_parquet_has_one_type_a_column(tmp_path: Path) -> None:
    with pytest.raises(ColonnadeError, match=r"Column 'a' is int64 in the first rows of the input and string later"):
        write(tmp_path / "out.parquet", [pa.table({"a": [1]}), pa.table({"a": ["x"]})])


def test_nothing_appears_before_the_end_and_what_was_there_stays_until_then(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")

    def fail_midway() -> None:
        with open_writer(path) as writer:
            writer.write(pa.table({"a": [1]}))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_midway()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_a_disk_that_is_full_is_told_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    def fill() -> None:
        with open_writer(tmp_path / name) as writer:
            writer.write(pa.table({"a": [1]}))
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ColonnadeError, match=f"Output '.*{name}' cannot be written: .*No space left on device. Make room, or give"):
        fill()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ColonnadeError, match="cannot be written: .*File name too long"):
        write(tmp_path / ("x" * 250 + name), [])


def test_formats_and_folders_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ColonnadeError, match=r"no known format. Received the suffix '.xls'; expected one of .csv"):
        write(tmp_path / "out.xls", [])
    with pytest.raises(ColonnadeError, match="folder .* of the output does not exist"):
        write(tmp_path / "gone" / "out.csv", [])
