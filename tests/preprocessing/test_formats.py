"""JSON lines, Parquet and TFRecord: the same text form from every format, in ranges, with what is broken set aside."""

from __future__ import annotations

import datetime
import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_specs import ColonnadeError, TextTable
from feature_specs.sources import JsonLinesTable, ParquetTable, Table, TFRecordTable
from preprocessing.sources import tables, text
from preprocessing.sources.streams import InputFile
from preprocessing.sources.values import text_form


def _file(path: Path, content: bytes | None = None) -> InputFile:
    if content is not None:
        path.write_bytes(content)
    return InputFile(str(path), path.stat().st_size)


def _read(table: Table, file: InputFile, *wanted: str) -> tuple[dict[str, list[Any]], list[tuple[int, str, str]]]:
    """Returns the columns over all ranges; and line, reason and text of what was set aside."""
    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    aside = []
    for part in tables.plan(table, [file]):
        parsed = tables.read(part, wanted)
        for name, values in columns.items():
            values += parsed.table[name].to_pylist()
        numbers = sorted(parsed.ragged)
        aside += [(line, parsed.ragged[number], shown) for number, (line, shown) in zip(numbers, parsed.locate(numbers), strict=True)]
    return columns, aside


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([3, None, -1], pa.int8()), [b"3", None, b"-1"]),
        (pa.array([3.0, 0.1, None, float("nan"), -0.0, 1e20]), [b"3", b"0.1", None, b"nan", b"0", b"1e+20"]),
        (pa.array([0.1, 2.0], pa.float32()), [b"0.1", b"2"]),
        (pa.array([True, False, None]), [b"1", b"0", None]),
        (pa.array(["é", "", None]), ["é".encode(), b"", None]),
        (pa.array([b"\xff"], pa.large_binary()), [b"\xff"]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), [b"a", b"b", b"a"]),
        (pa.array([Decimal("1.50"), Decimal("2.00"), Decimal("100")], pa.decimal128(9, 2)), [b"1.5", b"2", b"100"]),
        (pa.array([datetime.datetime(1970, 1, 2), datetime.datetime(1969, 12, 31, 23, 59, 59, 500000), None]), [b"86400", b"-1", None]),
        (pa.array([datetime.date(1970, 1, 3)]), [b"172800"]),
        (pa.array([None, None], pa.null()), [None, None]),
        (pa.array([[1, None], [], None]), [[b"1", None], [], None]),
        (pa.array([["a"], None], pa.list_(pa.string(), 1)), [[b"a"], None]),
        (pa.array([[["a"], []], None, [None]]), [[[b"a"], []], None, [None]]),
        (pa.array([{"b": 1, "a": "é"}, None]), ['{"a": "é", "b": 1}'.encode(), None]),
        (pa.array([[1], [2, 3], None])[1:], [[b"2", b"3"], None]),
    ],
)
def test_the_text_form_of_any_type(values: pa.Array, expected: list[Any]) -> None:
    assert text_form(values).to_pylist() == expected


ROWS = [
    {"user": "a", "n": 1, "score": 0.5, "ok": True, "tags": ["x", "y"], "day": "2020-01-02"},
    {"user": 7, "n": None, "score": 3, "ok": False, "tags": []},
    {"user": "b", "tags": None, "score": -1e-9, "steps": [["p", "q"], []]},
]
EXPECTED = {
    "user": [b"a", b"7", b"b"],
    "n": [b"1", None, None],
    "score": [b"0.5", b"3", b"-1e-9"],
    "ok": [b"1", b"0", None],
    "tags": [[b"x", b"y"], [], None],
    "day": [b"2020-01-02", None, None],
    "steps": [None, None, [[b"p", b"q"], []]],
}


@pytest.mark.parametrize("range_bytes", [1, 60, 1 << 20])
def test_json_lines(range_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "RANGE_BYTES", range_bytes)
    content = b"\xef\xbb\xbf" + b"\r\n\n".join(json.dumps(row).encode() for row in ROWS)
    for mixed in (True, False):
        # A number among texts is beyond Arrow; without it, it parses all lines at once.
        file = _file(tmp_path / "rows.jsonl", content if mixed else content.replace(b": 7,", b': "7",'))
        assert _read(JsonLinesTable(), file, *EXPECTED) == (EXPECTED, [])


def test_broken_json_lines_are_set_aside_and_the_others_read(tmp_path: Path) -> None:
    lines = [b'{"a": 1}', b"{", b"[1]", b'{"a": "\xff"}', b'{"a": 1} x', b'{"a": NaN}', b"   ", b'{"a": 1, "a": 2}', b'{"a": {"x": 3}}']
    columns, aside = _read(JsonLinesTable(), _file(tmp_path / "rows.json", b"\n".join(lines)), "a")
    assert columns == {"a": [b"1", b"nan", b"2", b'{"x": 3}']}
    assert [(line, reason.split(":")[0], shown) for line, reason, shown in aside] == [
        (2, "no valid JSON", "{"),
        (3, "expected a JSON object, received a list", "[1]"),
        (4, "text that is not UTF-8", '{"a": "\ufffd"}'),
        (5, "no valid JSON", '{"a": 1} x'),
    ]


def test_two_objects_on_a_line_and_one_over_two_lines_are_no_rows(tmp_path: Path) -> None:
    content = b'{"a": 1}{"a": 2}\n{"a":\n3}\n{"a": 4}\n'
    columns, aside = _read(JsonLinesTable(), _file(tmp_path / "rows.jsonl", content), "a")
    assert columns == {"a": [b"4"]}
    assert [line for line, _, _ in aside] == [1, 2, 3]


def test_long_integers_keep_every_digit(tmp_path: Path) -> None:
    content = b'{"id": 12345678901234567, "x": 0.5}\n{"id": 1.5}\n{"id": 123456789012345678901234567890}\n'
    assert _read(JsonLinesTable(), _file(tmp_path / "a.jsonl", content), "id")[0] == {
        "id": [b"12345678901234567", b"1.5", b"123456789012345678901234567890"]
    }


def test_a_few_lists_make_no_list_column(tmp_path: Path) -> None:
    content = b'{"a": "x"}\n' * 500 + b'{"a": ["y"]}\n{"a": ["y", "z"]}\n{"a": []}\n'
    columns, aside = _read(JsonLinesTable(), _file(tmp_path / "a.jsonl", content), "a")
    assert columns["a"][500:] == [b"y", None]
    assert [(line, reason) for line, reason, _ in aside] == [
        (502, "column 'a': a list of several values; the first rows of the file have none there")
    ]
    mixed = _file(tmp_path / "b.jsonl", b'{"a": "x"}\n{"a": ["y", "z"]}\n')
    assert _read(JsonLinesTable(), mixed, "a")[0] == {"a": [[b"x"], [b"y", b"z"]]}


def test_json_files_without_an_object(tmp_path: Path) -> None:
    with pytest.raises(ColonnadeError, match=r"a\.json' cannot be read as JSON lines: no valid JSON: .* Give one JSON object a line"):
        tables.plan(JsonLinesTable(), [_file(tmp_path / "a.json", b"a,b\n1,2\n")])


@pytest.mark.parametrize("group_rows", [2, 1000])
def test_parquet_in_ranges_within_and_across_row_groups(group_rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"n": range(100), "tags": [[str(i)] * (i % 3) for i in range(100)], "label": [i % 2 == 0 for i in range(100)]})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=group_rows)
    file = _file(tmp_path / "rows.parquet")
    for range_bytes, count in ((1 << 20, 1), (300, None)):
        monkeypatch.setattr(text, "RANGE_BYTES", range_bytes)
        ranges = tables.plan(ParquetTable(), [file])
        assert len(ranges) == count or (count is None and len(ranges) > 3)
        columns, aside = _read(ParquetTable(), file, "tags", "n")
        assert aside == []
        assert columns["n"] == [str(i).encode() for i in range(100)]
        assert columns["tags"] == [[str(i).encode()] * (i % 3) for i in range(100)]
        assert next(tables.read(ranges[-1], ["n"]).locate([0])) == (ranges[-1].begin + 1, f'{{"n": {ranges[-1].begin}}}')


def test_parquet_errors(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": range(1000)}), tmp_path / "whole.parquet")
    cut = _file(tmp_path / "cut.parquet", (tmp_path / "whole.parquet").read_bytes()[:-30])
    with pytest.raises(ColonnadeError, match=r"Cannot read '.*cut\.parquet' as Parquet: .* Write or fetch the file again"):
        tables.plan(ParquetTable(), [cut])
    with pytest.raises(ColonnadeError, match=r"Cannot read '.*rows\.txt' as Parquet"):
        tables.plan(ParquetTable(), [_file(tmp_path / "rows.txt", b"n\n1\n")])


def _examples(*rows: dict[str, list[Any]]) -> list[bytes]:
    import tensorflow as tf

    def feature(values: list[Any]) -> tf.train.Feature:
        if values and isinstance(values[0], bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        if values and isinstance(values[0], float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    features = [tf.train.Features(feature={name: feature(values) for name, values in row.items()}) for row in rows]
    return [tf.train.Example(features=one).SerializeToString() for one in features]


def _tfrecord(path: Path, records: list[bytes], options: str = "") -> InputFile:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path), options) as writer:
        for record in records:
            writer.write(record)
    return _file(path)


@pytest.mark.parametrize("name", ["rows.tfrecord", "rows.tfrecord.gz", "packed"])
def test_tfrecord(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": [i], "tags": [b"t%d" % i] * (i % 3), "x": [i + 0.1]} for i in range(50)]
    file = _tfrecord(tmp_path / name, _examples(*rows), "" if name == "rows.tfrecord" else "GZIP")
    for range_bytes in (1 << 20, 200):
        monkeypatch.setattr(text, "RANGE_BYTES", range_bytes)
        columns, aside = _read(TFRecordTable(), file, "id", "tags", "x")
        assert aside == []
        assert columns["id"] == [[str(i).encode()] for i in range(50)]
        assert [tags or [] for tags in columns["tags"]] == [row["tags"] for row in rows]
        assert columns["x"][:2] == [[b"0.1"], [b"1.1"]]
    assert len(tables.plan(TFRecordTable(), [file])) > 5 or name != "rows.tfrecord"


def test_broken_records_are_set_aside_and_broken_files_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "RANGE_BYTES", 100)
    records = _examples(*({"id": [i]} for i in range(20)))
    records[7] = b"no example"
    whole = _tfrecord(tmp_path / "whole.tfrecord", [*records, *_examples({"id": [0.5]})])
    columns, aside = _read(TFRecordTable(), whole, "id")
    assert columns["id"] == [*([str(i).encode()] for i in range(20) if i != 7), [b"0.5"]]
    assert [(line, reason) for line, reason, _ in aside] == [(8, "the record is no tf.Example")]
    content = bytearray(Path(whole.path).read_bytes())
    size = len(records[0]) + 16
    content[size + 14] ^= 1
    flipped = _file(tmp_path / "flipped.tfrecord", bytes(content))
    assert [(line, reason) for line, reason, _ in _read(TFRecordTable(), flipped, "id")[1]] == [
        (2, "the checksum of the record does not match"),
        (8, "the record is no tf.Example"),
    ]
    with pytest.raises(ColonnadeError, match=r"'.*cut\.tfrecord' as TFRecord: it ends in the middle of a record \(record 21, at"):
        _read(TFRecordTable(), _file(tmp_path / "cut.tfrecord", bytes(content[:-5])), "id")
    content[2 * size + 1] ^= 1
    with pytest.raises(ColonnadeError, match=r"the checksum of a record's length does not match \(record 3, at byte 2?\d+\)"):
        _read(TFRecordTable(), _file(tmp_path / "lost.tfrecord", bytes(content)), "id")


@pytest.mark.parametrize(
    ("name", "content", "table", "message"),
    [
        ("a.jsonl", b'{"a": 1}', TextTable(), r"a\.jsonl' looks like json_lines, .* format 'text'\. Say `format: json_lines`"),
        ("a.tfrecord.gz", gzip.compress(b"x"), TextTable(), "looks like tfrecord"),
        ("a.csv", b"PAR1....PAR1", TextTable(), "looks like parquet"),
        ("a.csv", b"a,b\n1,2\n", JsonLinesTable(), "looks like text"),
        ("a.txt", "a,b\n".encode("utf-16"), TextTable(), "is text in UTF-16"),
    ],
)
def test_a_file_of_another_format_is_refused(name: str, content: bytes, table: Table, message: str, tmp_path: Path) -> None:
    with pytest.raises(ColonnadeError, match=message):
        tables.plan(table, [_file(tmp_path / name, content)])


def test_columns_and_depths_are_the_same_in_all_files(tmp_path: Path) -> None:
    files = [_file(tmp_path / "a.json", b'{"a": "x"}\n'), _file(tmp_path / "b.json", b'{"b": 1, "a": ["x", "y"]}\n')]
    ranges = tables.plan(JsonLinesTable(), files)
    assert tables.common_columns(ranges) == ["a", "b"]
    assert [str(tables.read(part, ["a", "b"]).table.schema.types) for part in ranges] == [str([pa.list_(pa.binary()), pa.binary()])] * 2
