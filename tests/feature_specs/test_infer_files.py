"""What `infer` makes of files: delimiters, formats, odd and broken text, and one clear error for each that cannot work."""

from __future__ import annotations

import bz2
import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from infer_table import COLUMNS, DICE, LABEL, by_column, proposed, write

from feature_specs import ColonnadeError, FeatureSpec
from feature_specs.infer import infer


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "::", "|", ", "])
def test_delimiters_are_found(tmp_path: Path, delimiter: str) -> None:
    columns = {name: COLUMNS[name] for name in ("clicked", "user_id", "age", "city", "created_at")}
    table = proposed(write(tmp_path / "d.txt", columns, delimiter), "--label", "clicked").source.rows
    assert (table.delimiter, table.header, table.quoting) == (delimiter, True, len(delimiter) == 1)


def test_formats_agree(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    names = ("clicked", "user_id", "age", "city", "created_at", "signal")
    text = write(tmp_path / "d.csv", {name: COLUMNS[name] for name in names})
    rows = [dict(zip(names, row, strict=True)) for row in zip(*(COLUMNS[name] for name in names), strict=True)]
    for row in rows:
        row["signal"] = float(str(row["signal"])) if row["signal"] else None
        row["clicked"] = bool(row["clicked"])
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(text.read_bytes()))
    (tmp_path / "d.csv.bz2").write_bytes(bz2.compress(text.read_bytes()))
    specs = [proposed(tmp_path / name, "--label", "clicked") for name in ("d.csv", "d.jsonl", "d.parquet", "d.csv.gz", "d.csv.bz2")]
    assert all(spec.features == specs[0].features and spec.label == specs[0].label for spec in specs)
    assert [spec.source.rows.format for spec in specs] == ["text", "json_lines", "parquet", "text", "text"]


def test_lists_are_multi_valued_vectors_and_sequences(tmp_path: Path) -> None:
    rows = [
        {
            "clicked": LABEL[i],
            "tags": DICE.sample("abcd", i % 4),
            "vector": [DICE.random(), DICE.random()],
            "last_seen": [DICE.randrange(9) for _ in range(i % 5)],
            "gaps": [DICE.random() for _ in range(i % 3)],
            "baskets": [[1, 2], [3]] if i % 3 else [[4]],
            "user": {"id": i},
        }
        for i in range(200)
    ]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n{broken\n")
    proposal = infer([str(tmp_path / "d.jsonl"), "--label", "clicked"])
    found = {f.name: f.model_dump(exclude_defaults=True) for f in FeatureSpec.from_yaml(proposal.text).features}
    assert [found[name]["kind"] for name in found] == ["multi_valued", "numeric", "sequence", "numeric_sequence", "sequence"]
    assert found["vector"]["size"] == 2
    assert found["last_seen"]["dtype"] == "int64"
    assert found["baskets"]["value_delimiter"] == " "
    assert "# user: left out: nested objects" in proposal.text
    assert "could not be read: 1" in proposal.text


def test_tfrecords_are_read_without_tensorflow(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    with tf.io.TFRecordWriter(str(tmp_path / "d.tfrecord")) as writer:
        for i in range(100):
            feature = {
                "clicked": tf.train.Feature(int64_list=tf.train.Int64List(value=[i % 2])),
                "city": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"Rome", b"", b"Oslo"][i % 3 : i % 3 + 1])),
                "price": tf.train.Feature(float_list=tf.train.FloatList(value=[i / 7])),
                "tags": tf.train.Feature(int64_list=tf.train.Int64List(value=[-1 - i % 5] * (i % 3))),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    spec = proposed(tmp_path / "d.tfrecord", "--label", "clicked")
    assert spec.source.rows.format == "tfrecord"
    assert {f.name: f.kind for f in spec.features} == {"city": "categorical", "price": "numeric", "tags": "multi_valued"}
    (tmp_path / "d.tfrecord").write_bytes((tmp_path / "d.tfrecord").read_bytes()[:-3])
    with pytest.raises(ColonnadeError, match="cut off"):
        infer([str(tmp_path / "d.tfrecord"), "--label", "clicked"])


def test_odd_headers_get_names(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("\ufeff,y,a,a,é\n" + "".join(f"{i % 3},{i % 2},{i % 4},{i % 5},u\nx,1,2,3,v\n" for i in range(40)))
    spec = proposed(tmp_path / "d.csv", "--label", "y")
    assert spec.source.rows.columns == ("column_1", "y", "a", "a_2", "é")
    assert set(by_column(spec)) == {"column_1", "a", "a_2", "é"}


def test_broken_text_is_read_all_the_same(tmp_path: Path) -> None:
    rows = "".join(f"{i % 2},caf\xe9 {i % 3},{i % 5}\n" for i in range(60))
    (tmp_path / "latin.csv").write_bytes(("y,place,n\n" + rows).encode("latin-1"))
    assert proposed(tmp_path / "latin.csv", "--label", "y").source.rows.encoding == "latin-1"
    (tmp_path / "broken.csv").write_bytes(("y,place,n\n" + rows).encode() + b'1,caf\xff\x00,2\n1,"never closed,2\n0,a\n0,b,1\n')
    proposal = infer([str(tmp_path / "broken.csv"), "--label", "y"])
    assert FeatureSpec.from_yaml(proposal.text).source.rows.encoding == "utf-8"
    assert "broken UTF-8" in proposal.text
    assert "could not be read: 2" in proposal.text


def test_quotes_in_values_and_line_ends_in_quotes(tmp_path: Path) -> None:
    rows = [f'{i % 2};disk, flat;"two\nlines, {i % 3}";ok, "so"' for i in range(58)]
    rows[20:20] = ['1;5" disk;one line;ok', '0;7" disk;one line;ok']
    (tmp_path / "d.csv").write_text("y;size;note;word\n" + "\n".join(rows) + "\n")
    proposal = infer([str(tmp_path / "d.csv"), "--label", "y"])
    table = FeatureSpec.from_yaml(proposal.text).source.rows
    assert (table.delimiter, table.quoting) == (";", True)
    assert "all 60 rows" in proposal.text
    assert "note: text, 4 different" in proposal.text


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (b"", ["--label", "y"], "empty \\(0 bytes\\)"),
        (b"\n\n", ["--label", "y"], "no line with text"),
        (b"y,x\n", ["--label", "y"], "no row to learn from"),
        (b"y\n1\n0\n", ["--label", "y"], "has one column"),
        (b"y,x\n1,2\n0,3\n", [], "Say which column is the label"),
        (b"click,x\n1,2\n0,3\n", ["--label", "clicks"], "Did you mean 'click'\\?"),
        (b"1,5\n0,7\n", ["--label", "y"], "no header.*--columns NAME NAME"),
        (b"y,x\n1,2\n1,3\n", ["--label", "y"], "nothing to learn"),
        (b"y,x\n,2\n,3\n", ["--label", "y"], "has no value"),
        (b"y,x\na,2\nb,3\nc,4\n", ["--label", "y"], "--positive VALUE"),
        (b"y,x\n0,7\n1,7\n", ["--label", "y"], "No column .* is left.*same value, '7'"),
        (b"y,x\n0,7\n1,8\n", ["--label", "y", "--user", "z"], "--user names no column: 'z'"),
        (b"y,x\n0,7\n1,8\n", ["--label", "y", "--positive", "2"], "--positive should be"),
        (b"y,x\n0,7\n1,8\n", ["--implicit", "--positive", "1"], "--positive is of a label"),
        (b"y,x\n0,7\n1,8\n", ["--label", "y", "--delimiter", ""], "--delimiter is empty"),
        (b"y,x\n0,7\n1,8\n", ["--label", "y", "--columns", "y", "y"], "--columns repeats a name: y, y"),
        (b'{"y": 1}\n{"y": 0}\n', ["--label", "y", "--delimiter", ";"], "--delimiter is for delimited text; 'd.jsonl' is json_lines"),
        (b'{"y": 1}\n{"y": 0}\n', ["--label", "y", "--columns", "y"], "--columns is for delimited text; .* Leave --columns out"),
        (b"y,x\n0,7\n1,8\n", ["--label", "y", "--rows", "-1"], "--rows should be"),
        (b"y,x\n0,7\n1,8\n", ["--label", "y", "--user", "x", "--item", "x"], "--user and --item name the same column, 'x'"),
        (b"y,x\n0,7 May\n1,8 May\n", ["--label", "y", "--time", "x"], "--time 'x' should have whole numbers, .* Received: '7 May'"),
        (b'{"y": 1, "x": [1]}\n{"y": 0, "x": []}\n', ["--label", "y", "--user", "x"], "--user 'x' has lists or objects"),
        (b"y,x\n0,7\n1,8\n", ["--implicit"], "--user and --item"),
        (b"y,x\n0,7\n1,8\n", ["--columns", "a", "--label", "a"], "--columns names 1"),
        (b"PK\x03\x04", ["--label", "y"], "zip archive"),
        ("y,x\n1,2\n".encode("utf-16"), ["--label", "y"], "UTF-16"),
        (b"PAR1 is not all of it", ["--label", "y"], "as Parquet"),
        (b'{"y": [1]}\n{"y": [2]}\n', ["--label", "y"], "lists or objects"),
        (b'{"y": 1\n{"y"\n', ["--label", "y"], "no line that is a JSON object"),
    ],
)
def test_what_cannot_work_is_one_clear_error(tmp_path: Path, content: bytes, arguments: list[str], message: str) -> None:
    (tmp_path / "d.csv" if content[:1] != b"{" else tmp_path / "d.jsonl").write_bytes(content)
    with pytest.raises(ColonnadeError, match=message) as error:
        infer([str(next(tmp_path.iterdir())), *arguments])
    assert "\n" not in str(error.value)


def test_files_that_are_not_there_or_not_sound(tmp_path: Path) -> None:
    with pytest.raises(ColonnadeError, match="No file matches"):
        infer([str(tmp_path / "*.csv"), "--label", "y"])
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(b"y,x\n" + b"1,2\n" * 10_000)[:-20])
    with pytest.raises(ColonnadeError, match="Cannot read"):
        infer([str(tmp_path / "d.csv.gz"), "--label", "y"])


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "-rf", "a b", "a\n", "_SUCCESS"])
def test_a_name_that_is_no_folder_is_refused_before_anything_is_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(ColonnadeError, match="--name should be letters and digits"):
        infer([str(tmp_path / "gone.csv"), "--label", "y", f"--name={name}"])


@pytest.mark.parametrize("pattern", ["", "*"])
def test_what_other_jobs_leave_beside_their_files_is_no_data(tmp_path: Path, pattern: str) -> None:
    for name in ("part-00000.csv", "part-00001.csv"):
        (tmp_path / name).write_text("y,x\n" + "1,2\n0,3\n1,3\n0,2\n" * 10)
    for name in ("_SUCCESS", ".part-00000.csv.crc", "_committed_1"):
        (tmp_path / name).write_bytes(b"" if name == "_SUCCESS" else b"crc")
    assert "all 80 rows of part-00000.csv, part-00001.csv." in infer([str(tmp_path / pattern), "--label", "y"]).text
    (tmp_path / "_one.csv").write_text("y,x\n" + "1,2\n0,3\n1,3\n0,2\n" * 10)
    assert "all 40 rows of _one.csv." in infer([str(tmp_path / "_one.csv"), "--label", "y"]).text


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(
        st.text(st.characters(exclude_characters='\r\n,"', exclude_categories=["Cs"]), min_size=1, max_size=8), min_size=1, max_size=5
    ),
    cells=st.lists(
        st.sampled_from(["", "1", "-1", "0.5", "a", "a|b", "é", "NA", "2024-01-01", "007", "1e400", "\x00", "yes: no", "# x"]), min_size=6
    ),
)
def test_any_table_gives_a_spec_or_an_error(tmp_path_factory: pytest.TempPathFactory, names: list[str], cells: list[str]) -> None:
    path = tmp_path_factory.mktemp("any") / "d.csv"
    width = len(names)
    rows = [[str(i % 2), *(cells[(i * width + j) % len(cells)] for j in range(width))] for i in range(30)]
    path.write_text("\n".join(",".join(row) for row in [["y", *names], *rows]), encoding="utf-8")
    try:
        spec = proposed(path, "--label", "y", "--delimiter", ",")
    except ColonnadeError as error:
        # Refused with a reason, and not because what was proposed is no spec.
        spec = None if "proposed spec" not in str(error) else pytest.fail(str(error))
    assert spec is None or FeatureSpec.from_yaml(spec.to_yaml()) == spec
