"""A spec proposed for a file: valid at once, with the choice and the reason that the columns call for, and one clear error otherwise."""

from __future__ import annotations

import bz2
import gzip
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_specs import BucketizedFeature, ColonnadeError, FeatureSpec, NumericFeature
from feature_specs.features import AnyFeature
from feature_specs.infer import infer, main
from feature_specs.inference.leaks import Judge
from feature_specs.inference.profile import Profile, words_of

DICE = random.Random(0)
ROWS = 400
# Each column by a name; the label follows `signal`.
SIGNAL = [DICE.random() for _ in range(ROWS)]
LABEL = [int(DICE.random() < signal) for signal in SIGNAL]
COLUMNS: dict[str, list[object]] = {
    "clicked": list(LABEL),
    "row_id": [100_000 + i for i in range(ROWS)],
    "uuid": [f"{DICE.getrandbits(64):016x}" for _ in range(ROWS)],
    "user_id": [DICE.randrange(40) for _ in range(ROWS)],
    "movie": [DICE.randrange(5_000) for _ in range(ROWS)],
    "zip code": [f"{DICE.choice([2139, 10001, 94110, 60601]):05d}" for _ in range(ROWS)],
    "age": [DICE.randint(18, 80) for _ in range(ROWS)],
    "income": [round(10 ** DICE.gauss(3, 1)) if DICE.random() < 0.9 else "NA" for _ in range(ROWS)],
    "signal": [f"{signal:.6f}" if DICE.random() < 0.95 else "" for signal in SIGNAL],
    "tags": ["|".join(DICE.sample(["a", "b", "c", "d"], DICE.randrange(1, 4))) for _ in range(ROWS)],
    "city": [DICE.choice(["New York", "San Francisco", "Rome"]) for _ in range(ROWS)],
    "created_at": [1_700_000_000 + DICE.randrange(10**6) for _ in range(ROWS)],
    "day": [f"2024-01-{DICE.randint(1, 28):02d}" for _ in range(ROWS)],
    "constant": ["x"] * ROWS,
    "empty": [""] * ROWS,
    "dwell": [30 + DICE.random() if label else "" for label in LABEL],
    "outcome": [f"{DICE.choice('abc')}{label}" for label in LABEL],
    "class": [DICE.choice("uv") for _ in range(ROWS)],
    "3d": [DICE.choice("uvw") for _ in range(ROWS)],
    "embedding": ["|".join(f"{DICE.gauss(0, 1):.3f}" for _ in range(4)) for _ in range(ROWS)],
    "recent_items": [" ".join(str(DICE.randrange(20)) for _ in range(DICE.randrange(1, 9))) for _ in range(ROWS)],
}


def _write(path: Path, columns: dict[str, list[object]], delimiter: str = ",") -> Path:
    rows = [delimiter.join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join([delimiter.join(columns), *rows]) + "\n", encoding="utf-8")
    return path


def _spec(*arguments: object) -> FeatureSpec:
    return FeatureSpec.from_yaml(infer([str(argument) for argument in arguments]).text)


def _by_column(spec: FeatureSpec) -> dict[str, AnyFeature]:
    return {feature.raw_column: feature for feature in spec.features}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("infer") / "my data.csv", COLUMNS)


def test_each_column_gets_what_it_calls_for(data: Path) -> None:
    spec = _spec(data, "--label", "clicked")
    found = {name: feature.model_dump(exclude_defaults=True) for name, feature in _by_column(spec).items()}
    vocabulary = {"type": "vocabulary"}
    # The last feature of a column wins here: of the two of `created_at` that is the weekday.
    assert found == {
        "user_id": {"kind": "categorical", "name": "user_id", "dtype": "int64", "encoding": vocabulary},
        "movie": {"kind": "categorical", "name": "movie", "dtype": "int64", "encoding": vocabulary | {"min_count": 2}},
        "zip code": {"kind": "categorical", "name": "zip_code", "column": "zip code", "encoding": vocabulary},
        "age": {"kind": "numeric", "name": "age"},
        "income": {"kind": "numeric", "name": "income", "scaling": "log1p", "missing_indicator": True, "on_invalid": "missing"},
        "signal": {"kind": "numeric", "name": "signal", "missing_indicator": True},
        "tags": {"kind": "multi_valued", "name": "tags", "encoding": vocabulary},
        "city": {"kind": "categorical", "name": "city", "encoding": vocabulary},
        "created_at": {
            "kind": "categorical",
            "name": "created_at_weekday",
            "column": "created_at",
            "dtype": "int64",
            "derive": {"type": "weekday"},
            "encoding": {"type": "identity", "num_buckets": 7},
        },
        "class": {"kind": "categorical", "name": "class_", "column": "class", "encoding": vocabulary},
        "3d": {"kind": "categorical", "name": "column_3d", "column": "3d", "encoding": vocabulary},
        "embedding": {"kind": "numeric", "name": "embedding", "size": 4},
        "recent_items": {"kind": "sequence", "name": "recent_items", "delimiter": " ", "max_length": 8, "encoding": vocabulary},
        "history": {"kind": "sequence", "name": "history", "dtype": "int64", "history_of": "movie", "table": "movie"},
    }
    assert spec.label.column == "clicked"
    assert (spec.keys.user, spec.keys.item, spec.keys.time) == ("user_id", "movie", "created_at")


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("row_id", "names the row"),
        ("uuid", "names the row"),
        ("constant", "every row has the same value, 'x'"),
        ("empty", "it has no value"),
        ("day", "dates as text"),
        ("movie", "the items' key"),
        ("income", "'NA' count as missing"),
        ("age", "a quantity by its name"),
        ("signal", "missing"),
    ],
)
def test_each_choice_has_its_reason(data: Path, column: str, words: str) -> None:
    text = infer([str(data), "--label", "clicked"]).text
    comments = text.split(f"\n# {column}: ")[1].split("\n-")[0].replace("\n# ", " ")
    assert words in comments


def test_columns_that_hold_the_answer_are_left_out_loudly(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(data), "--label", "clicked"]) == 0
    printed = capsys.readouterr()
    # One is known by its numbers, one by its texts.
    assert printed.err.count("SUSPECTED LEAK") == 2
    assert "'dwell' alone predicts the label" in printed.err
    assert "\n# - {kind: numeric, name: dwell" in printed.out
    assert "\n# - {kind: categorical, name: outcome" in printed.out
    assert not {"dwell", "outcome"} & set(_by_column(FeatureSpec.from_yaml(printed.out)))


def test_many_distinct_values_fake_no_leak() -> None:
    """A value seen once or twice says nothing about the other half of the rows: by hand the AUC in sample would be 1."""
    dice = random.Random(1)
    labels = [dice.random() < 0.5 for _ in range(2_000)]
    power = Judge(labels).power(Profile.of("token", [f"t{dice.randrange(1_500)}" for _ in labels]))
    assert abs(power.auc - 0.5) < 0.05


def test_auc_by_hand() -> None:
    """Of 10 x 10 pairs, those of 5 and 5 are ties: numbers 0..9 negative, 5..14 positive, 5 * 5 / 2 + ... = 87.5 of 100."""
    values = [str(n) for n in (*range(10), *range(5, 15))]
    power = Judge([False] * 10 + [True] * 10).power(Profile.of("n", values))
    # 50 pairs with a positive of 10..14, then 0+...: positives 5..9 win 5, 6, 7, 8, 9 and tie one each.
    assert power.auc == pytest.approx((50 + 35 + 2.5) / 100)


def test_the_first_lines_are_the_next_commands(data: Path) -> None:
    lines = infer([str(data), "--label", "clicked"]).text.splitlines()
    assert lines[0] == f"# python -m preprocessing.task --spec my.yaml --input '{data}' --output data/my_data"
    assert lines[1] == "# python -m trainer.task --spec my.yaml --data_dir data/my_data --model nfm"


def test_rows_without_a_label_are_allowed_for(tmp_path: Path) -> None:
    rows = "".join(f"{'' if i % 10 == 0 else i % 2},{i % 7}\n" for i in range(200))
    (tmp_path / "d.csv").write_text("y,x\n" + rows)
    text = infer([str(tmp_path / "d.csv"), "--label", "y"]).text
    assert text.splitlines()[0].endswith("--output data/d --max_rejected_fraction 0.11")
    assert "10.00% of the rows have none and are set aside" in text


def test_the_same_file_gives_the_same_spec(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "feature_specs.infer", str(data), "--label", "clicked"]
    code = "import sys; from feature_specs.infer import infer; infer(sys.argv[1:]); print(sorted(sys.modules))"
    with (tmp_path / "own.yaml").open("w") as out:
        subprocess.run(command, stdout=out, stderr=subprocess.DEVNULL, check=True, env={"PYTHONHASHSEED": "7"})
    proposed = (tmp_path / "own.yaml").read_text()
    assert f"--spec {tmp_path / 'own.yaml'} " in proposed
    assert proposed.replace(str(tmp_path / "own.yaml"), "my.yaml") == infer([str(data), "--label", "clicked"]).text
    done = subprocess.run([sys.executable, "-c", code, *command[3:]], capture_output=True, text=True, check=True)
    assert not any(f"'{name}'" in done.stdout for name in ("tensorflow", "pandas", "apache_beam", "keras"))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "::", "|", ", "])
def test_delimiters_are_found(tmp_path: Path, delimiter: str) -> None:
    columns = {name: COLUMNS[name] for name in ("clicked", "user_id", "age", "city", "created_at")}
    table = _spec(_write(tmp_path / "d.txt", columns, delimiter), "--label", "clicked").source.rows
    assert (table.delimiter, table.header, table.quoting) == (delimiter, True, len(delimiter) == 1)


def test_formats_agree(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    names = ("clicked", "user_id", "age", "city", "created_at", "signal")
    text = _write(tmp_path / "d.csv", {name: COLUMNS[name] for name in names})
    rows = [dict(zip(names, row, strict=True)) for row in zip(*(COLUMNS[name] for name in names), strict=True)]
    for row in rows:
        row["signal"] = float(str(row["signal"])) if row["signal"] else None
        row["clicked"] = bool(row["clicked"])
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(text.read_bytes()))
    (tmp_path / "d.csv.bz2").write_bytes(bz2.compress(text.read_bytes()))
    specs = [_spec(tmp_path / name, "--label", "clicked") for name in ("d.csv", "d.jsonl", "d.parquet", "d.csv.gz", "d.csv.bz2")]
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


def test_what_is_proposed_goes_through_the_job(data: Path, tmp_path: Path) -> None:
    from preprocessing.pipeline import build

    rows = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]
    for row in rows:
        row["tags"] = str(row["tags"]).split("|")
        row["embedding"] = [float(part) for part in str(row["embedding"]).split("|")]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    for path in (data, tmp_path / "d.jsonl"):
        spec = _spec(path, "--label", "clicked")
        made = build(spec, tmp_path / path.suffix, [str(path)], show_progress=False)
        assert made.statistics["rows"]["out"] == ROWS
        assert {"user_id", "zip_code", "class_", "column_3d", "tags", "recent_items"} <= set(made.table_rows)


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
    spec = _spec(tmp_path / "d.tfrecord", "--label", "clicked")
    assert spec.source.rows.format == "tfrecord"
    assert {f.name: f.kind for f in spec.features} == {"city": "categorical", "price": "numeric", "tags": "multi_valued"}
    (tmp_path / "d.tfrecord").write_bytes((tmp_path / "d.tfrecord").read_bytes()[:-3])
    with pytest.raises(ColonnadeError, match="cut off"):
        infer([str(tmp_path / "d.tfrecord"), "--label", "clicked"])


@pytest.mark.parametrize(
    ("values", "label"),
    [
        (["0", "1"], {"column": "y"}),
        (["0.0", "1.0"], {"column": "y"}),
        (["-1", "1"], {"column": "y", "threshold": 1}),
        (["yes", "no"], {"column": "y", "positive": ("yes",), "negative": ("no",)}),
        (["true", "false", "?"], {"column": "y", "positive": ("true",), "negative": ("false",)}),
        (["ham", "ham", "eggs"], {"column": "y", "positive": ("eggs",), "negative": ("ham",)}),
        (["1", "2", "3", "4", "5"], {"column": "y", "threshold": 3}),
        (["0", "0", "0", "1", "7"], {"column": "y", "threshold": 1}),
        ([f"{i / 3:.4f}" for i in range(100)], {"column": "y", "task": "regression"}),
    ],
)
def test_labels(tmp_path: Path, values: list[str], label: dict[str, object]) -> None:
    columns: dict[str, list[object]] = {"y": [values[i % len(values)] for i in range(200)], "x": [i % 7 for i in range(200)]}
    spec = _spec(_write(tmp_path / "d.csv", columns), "--label", "y")
    assert spec.label.model_dump(exclude_defaults=True) == {"column": "y", **label}


def test_positive_values_and_implicit_labels_can_be_said(data: Path) -> None:
    spec = _spec(data, "--label", "city", "--positive", "Rome", "New York")
    assert spec.label.positive == ("Rome", "New York")
    implicit = _spec(data, "--implicit", "--user", "user_id", "--item", "movie")
    assert implicit.label.implicit
    assert implicit.negatives is not None
    assert any(f.kind == "sequence" and f.history_of == "movie" for f in implicit.features)


def test_files_are_split_by_their_names(tmp_path: Path) -> None:
    columns = {name: COLUMNS[name] for name in ("clicked", "user_id", "age")}
    for part in ("train", "test"):
        _write(tmp_path / f"{part}.csv", columns)
    spec = _spec(tmp_path / "train.csv", tmp_path / "test.csv", "--label", "clicked", "--name", "mine")
    assert spec.split.model_dump(exclude_defaults=True) == {
        "type": "files",
        "train": "train.csv",
        "test": "test.csv",
        "valid_fraction": 0.1,
    }
    assert spec.name == "mine"
    assert _spec(tmp_path / "*.csv", "--label", "clicked") == _spec(tmp_path, "--label", "clicked")


def test_a_sample_says_that_it_is_one(data: Path) -> None:
    assert "from all 400 rows" in infer([str(data), "--label", "clicked", "--rows", "0"]).text
    text = infer([str(data), "--label", "clicked", "--rows", "100"]).text
    assert "from the first 100 rows of about" in text


def test_odd_headers_get_names(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("\ufeff,y,a,a,é\n" + "".join(f"{i % 3},{i % 2},{i % 4},{i % 5},u\nx,1,2,3,v\n" for i in range(40)))
    spec = _spec(tmp_path / "d.csv", "--label", "y")
    assert spec.source.rows.columns == ("column_1", "y", "a", "a_2", "é")
    assert set(_by_column(spec)) == {"column_1", "a", "a_2", "é"}


def test_broken_text_is_read_all_the_same(tmp_path: Path) -> None:
    rows = "".join(f"{i % 2},caf\xe9 {i % 3},{i % 5}\n" for i in range(60))
    (tmp_path / "latin.csv").write_bytes(("y,place,n\n" + rows).encode("latin-1"))
    assert _spec(tmp_path / "latin.csv", "--label", "y").source.rows.encoding == "latin-1"
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
        (b"y,x\n0,7\n1,8\n", ["--label", "y", "--rows", "-1"], "--rows should be"),
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
        spec = _spec(path, "--label", "y", "--delimiter", ",")
    except ColonnadeError as error:
        # Refused with a reason, and not because what was proposed is no spec.
        spec = None if "proposed spec" not in str(error) else pytest.fail(str(error))
    assert spec is None or FeatureSpec.from_yaml(spec.to_yaml()) == spec


def test_integers_whose_values_matter_more_than_their_order_are_names(tmp_path: Path) -> None:
    dice = random.Random(3)
    likes = {n: dice.random() for n in range(1_000, 1_060)}
    codes = [dice.choice([*likes]) for _ in range(3_000)]
    amounts = [dice.randrange(60) for _ in codes]
    columns: dict[str, list[object]] = {
        "y": [int(dice.random() < (likes[code] + amount / 60) / 2) for code, amount in zip(codes, amounts, strict=True)],
        "x1": list(codes),
        "x2": list(amounts),
        "x3": [-(10**18) - dice.randrange(40) for _ in codes],
    }
    spec = _spec(_write(tmp_path / "d.csv", columns), "--label", "y")
    assert {f.name: (f.kind, f.dtype) for f in spec.features if f.kind in ("numeric", "categorical")} == {
        "x1": ("categorical", "int64"),
        "x2": ("numeric", "float32"),
        "x3": ("categorical", "string"),
    }


def test_words() -> None:
    assert words_of("userId") == words_of("user_id") == words_of("User ID") == ("user", "id")


def test_features_of_numbers_are_no_buckets(data: Path) -> None:
    spec = _spec(data, "--label", "clicked")
    assert not any(isinstance(f, BucketizedFeature) for f in spec.features)
    assert sum(isinstance(f, NumericFeature) for f in spec.features) == 4
