"""Raw examples from files: the same rows in every format, and what becomes of rows that cannot be read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from feature_specs import CategoricalFeature, ColonnadeError, FeatureSpec, Hash, Label, MultiValuedFeature, NumericFeature
from preprocessing.examples import from_columns
from serving.readers import read_rows
from serving.rejects import Rejects
from serving.rows import read_batches
from serving.text import read_blocks

SPEC = FeatureSpec(
    name="four",
    features=(
        CategoricalFeature(name="item", column="movie id", encoding=Hash(num_buckets=9)),
        NumericFeature(name="age"),
        CategoricalFeature(name="year", dtype="int64", encoding=Hash(num_buckets=9), on_invalid="missing"),
        MultiValuedFeature(name="tags", encoding=Hash(num_buckets=9)),
        MultiValuedFeature(name="places", dtype="int64", delimiter=" ", encoding=Hash(num_buckets=9)),
    ),
    label=Label(column="y"),
)
EXPECTED = {
    "item": [b"a", b"12", b"", b"c, d"],
    "age": [1.5, 30.0, np.nan, np.nan],
    "year": [1999, -1, -1, 2001],
    "tags": [[b"x", b"y"], [], [b"z"], []],
    "places": [[1, 2], [3], [], []],
}
CSV = """movie id,age,year,tags,places,key
a,1.5,1999,x|y,1 2,k1
12, 30 ,V,,3,k2
,,,|z|,-1,k3
"c, d",nan,2001,,,"k
4"
"""
RECORDS: list[dict[str, Any]] = [
    {"item": "a", "age": 1.5, "year": 1999, "tags": ["x", "y"], "places": [1, 2], "key": "k1"},
    {"item": 12, "age": "30", "year": "V", "tags": [], "places": "3", "key": "k2"},
    {"item": None, "tags": ["", "z", None], "places": [-1], "key": "k3"},
    {"item": "c, d", "age": None, "year": 2001.0, "key": "k\n4"},
]


def read(path: Path, spec: FeatureSpec = SPEC, batch_size: int = 3) -> tuple[dict[str, list[Any]], list[dict[str, Any]], list[Any]]:
    """Returns the raw examples, the records of what was set aside, and the column `key`."""
    raw: dict[str, list[Any]] = {feature.name: [] for feature in spec.features}
    keys: list[Any] = []
    aside = path.with_name(path.name + ".rejected.jsonl")
    with Rejects(aside) as rejects:
        for batch in read_batches(path, spec, rejects, batch_size):
            for name, values in batch.raw.items():
                raw[name] += values.to_list() if isinstance(values, tf.RaggedTensor) else values.numpy().tolist()
            keys += batch.table["key"].to_pylist() if "key" in batch.table.column_names else []
    return raw, [json.loads(line) for line in aside.read_text().splitlines()] if aside.exists() else [], keys


def test_csv(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(CSV)
    raw, rejected, keys = read(tmp_path / "rows.csv")
    np.testing.assert_equal(raw, EXPECTED)
    assert rejected == []
    assert keys == [b"k1", b"k2", b"k3", b"k\n4"]


def test_gzipped_csv_with_a_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    text = "\ufeff" + CSV.replace("k\n4", "k4").replace("\n", "\r\n")
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(text.encode()))
    raw, rejected, _ = read(tmp_path / "rows.csv.gz")
    np.testing.assert_equal(raw, EXPECTED)
    assert rejected == []


def test_tsv(tmp_path: Path) -> None:
    (tmp_path / "rows.tsv").write_text("item\tage\na,b\t2\n")
    raw, _, _ = read(tmp_path / "rows.tsv")
    assert (raw["item"], raw["age"], raw["year"], raw["tags"]) == ([b"a,b"], [2.0], [-1], [[]])


def test_json_lines_of_mixed_types(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("\n\n".join(json.dumps(record) for record in RECORDS))
    raw, rejected, keys = read(tmp_path / "rows.jsonl")
    np.testing.assert_equal(raw, EXPECTED)
    assert rejected == []
    assert keys == ["k1", "k2", "k3", "k\n4"]


def test_parquet_with_types_of_its_own(tmp_path: Path) -> None:
    columns = {
        "item": pa.array(["a", "12", None, "c, d"]).dictionary_encode(),
        "age": pa.array([1.5, 30, None, np.nan], pa.float64()),
        "year": pa.array([1999, None, np.nan, 2001], pa.float64()),
        "tags": pa.array([["x", "y"], [], ["", "z", None], None], pa.large_list(pa.large_string())),
        "places": pa.array([[1, 2], [3], [-1], None], pa.list_(pa.int32())),
    }
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet", row_group_size=3)
    raw, rejected, _ = read(tmp_path / "rows.parquet")
    np.testing.assert_equal(raw, EXPECTED)
    assert rejected == []


def test_integers_are_strings_as_decimals(tmp_path: Path) -> None:
    pq.write_table(pa.table({"item": [3, 45, None]}), tmp_path / "rows.parquet")
    assert read(tmp_path / "rows.parquet")[0]["item"] == [b"3", b"45", b""]


TEXTS = {
    "age": [
        "1",
        " 2.5 ",
        "+3",
        ".5",
        "5.",
        "1e3",
        "1e40",
        "inf",
        "nan",
        "NaN",
        "-nan",
        "x",
        "",
        " ",
        "1_000",
        "0x10",
        "\u0661",
        "\u00a07",
        "\x0b7",
        "3,4",
        "1 2",
    ],
    "year": [
        "1",
        " 2 ",
        "+3",
        "-1",
        "-7",
        "1.0",
        "1e3",
        "0x10",
        "9223372036854775807",
        "9223372036854775808",
        "",
        " ",
        "1_0",
        "\u0661",
        "\u00a07",
        "\x0b7",
        "--1",
    ],
}


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "together"])
@pytest.mark.parametrize("column", ["age", "year"])
def test_texts_are_read_as_the_preprocessing_job_reads_them(tmp_path: Path, column: str, alone: bool) -> None:
    feature = (
        NumericFeature(name="age") if column == "age" else CategoricalFeature(name="year", dtype="int64", encoding=Hash(num_buckets=9))
    )
    spec = FeatureSpec(name="one", features=(feature,), label=Label(column="y"))
    for texts in [[text] for text in TEXTS[column]] if alone else [TEXTS[column]]:
        cells = {column: pa.array([text.encode() for text in texts]), "y": pa.array([b"1"] * len(texts))}
        job, reasons = from_columns(spec, cells)
        kept = [value for row, value in enumerate(job[column].to_pylist()) if row not in reasons]
        (tmp_path / "rows.csv").write_text(f"{column}\n" + "\n".join(f'"{text}"' for text in texts))
        raw, rejected, _ = read(tmp_path / "rows.csv", spec)
        np.testing.assert_equal(raw[column], kept, err_msg=str(texts))
        assert {record["line"] - 2 for record in rejected} == set(reasons), texts


def test_bad_rows_are_set_aside_with_reason_and_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('item,age,places\na,1,1\n\nb\nc,2,3,4\n"d\nd",old,5\ne,3,1 x\nf,4,6\n')
    raw, rejected, _ = read(path, batch_size=2)
    assert raw["item"] == [b"a", b"f"]
    assert raw["places"] == [[1], [6]]
    assert {(record["line"], record["reason"]) for record in rejected} == {
        (4, "expected 3 values, received 1"),
        (5, "expected 3 values, received 4"),
        (6, "column 'age': expected float32, received 'old'"),
        (8, "column 'places': expected list of int64, received '1 x'"),
    }
    assert {record["file"] for record in rejected} == {str(path)}
    assert json.loads(next(record["row"] for record in rejected if record["line"] == 6)) == {"item": "d\nd", "age": "old", "places": "5"}


def test_bad_json_lines_are_set_aside(tmp_path: Path) -> None:
    lines = [
        '{"item": "a"}',
        "{oops",
        "[1]",
        '{"item": {"deep": 1}}',
        '{"item": true}',
        '{"age": 1e400, "item": "b"}',
        '{"places": 3}',
        '{"age": 1' + "0" * 400 + "}",
        r'{"item": "\ud800"}',
        r'{"item": "b", "note": "\uDFFF", "\udfff": 1}',
        r'{"item": "\ud83d\ude00"}',
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    raw, rejected, _ = read(tmp_path / "rows.jsonl", batch_size=100)
    assert raw["item"] == [b"a", "\U0001f600".encode()]
    assert sorted(record["line"] for record in rejected) == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    reasons = {record["line"]: record["reason"] for record in rejected}
    assert reasons[2].startswith("invalid JSON")
    assert "surrogates not allowed" in reasons[9]
    assert reasons[3] == "expected a JSON object, received list"
    assert reasons[5] == "column 'item': expected string, received True"


def test_objects_without_a_key_are_set_aside_where_no_other_has_one(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n\n{}\n")
    raw, rejected, _ = read(tmp_path / "rows.jsonl")
    assert raw["item"] == []
    assert [(record["line"], record["reason"]) for record in rejected] == [(n, "expected some column, received none") for n in (1, 3)]


def test_a_stray_quote_costs_its_own_line_only(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('item,age\na,1\nb 5" pipe,2\n"c,3\nd,4\n"e ""f""",5\n')
    raw, rejected, _ = read(tmp_path / "rows.csv")
    assert raw["item"] == [b"a", b'b 5" pipe', b"d", b'e "f"']
    assert [(record["line"], record["reason"][:13]) for record in rejected] == [(4, "broken quotes")]


def test_broken_utf8_is_kept(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"item,key\ncaf\xe9,\xff\n")
    raw, rejected, keys = read(tmp_path / "rows.csv")
    assert (raw["item"], keys, rejected) == ([b"caf\xe9"], [b"\xff"], [])


def test_a_ragged_row_in_broken_utf8_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b'item,age\ncaf\xe9,1,2\n"a\nb",3\n')
    raw, rejected, _ = read(tmp_path / "rows.csv")
    assert raw["item"] == [b"a\nb"]
    assert [(record["line"], record["reason"]) for record in rejected] == [(2, "expected 2 values, received 3")]


@pytest.mark.parametrize("block_bytes", [1, 7, 64, 1 << 20])
def test_blocks_cut_between_rows(tmp_path: Path, block_bytes: int) -> None:
    text = b'a,b\r\n\r\n1,"x\ny"\n\n"2\n\n""3""",z\nlast,row'
    (tmp_path / "text").write_bytes(text)
    with (tmp_path / "text").open("rb") as stream:
        blocks = list(read_blocks(stream, quoting=True, block_bytes=block_bytes))
    assert [row for block in blocks for row in block.rows()] == [b"a,b", b'1,"x\ny"', b'"2\n\n""3""",z', b"last,row"]
    assert [line for block in blocks for line in block.lines.tolist()] == [1, 3, 6, 9]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", b"", "is empty"),
        ("rows.csv", b"item,age\n", "has no rows"),
        ("rows.csv", b"other,columns\n1,2\n", "column of no feature. Received the columns other, columns; expected some of item, age"),
        ("rows.csv", b"item,item\n1,2\n", "several columns of the same name: 'item'"),
        ("rows.csv", b"\xff\xfei\x00t\x00\n\x001\x00", "no header in UTF-8"),
        ("rows.csv.gz", b"item\n1\n", "cannot be read: Not a gzipped file"),
        ("rows.parquet", b"PAR1 or not", "cannot be read"),
        ("rows.xlsx", b"PK", r"no known format. Received the suffix '.xlsx'; expected one of .csv, .tsv"),
        ("rows.inter", b"item\n1\n", "no known format"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ColonnadeError, match=message):
        read(tmp_path / name)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ColonnadeError, match="There is no input file"):
        read(tmp_path / "rows.csv")


def test_memory_follows_the_block_and_not_the_file(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("item,age\n" + "abcdefghi,1.5\n" * 700_000)
    with Rejects(tmp_path / "rejected.jsonl") as rejects:
        sizes = [rows.table.num_rows for rows in read_rows(tmp_path / "rows.csv", rejects)]
    assert sum(sizes) == 700_000
    assert max(sizes) < 400_000
