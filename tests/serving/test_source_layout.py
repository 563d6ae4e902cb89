"""Files to score in the layout of the data set's own: other delimiters, no header, Latin-1, without labels."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from feature_specs import (
    CategoricalFeature,
    ColonnadeError,
    FeatureSpec,
    Hash,
    JsonLinesTable,
    Keys,
    Label,
    NumericFeature,
    Source,
    TextTable,
)
from feature_specs.datasets import all_datasets
from serving.predict import main, predict_file
from serving.readers import find_reader, source_layout
from serving.rejects import Rejects
from serving.rows import read_batches

COLUMNS = ("user", "film", "stars", "at")
EXPECTED = {"user": [b"1", b"2", b""], "film": ["Am\u00e9lie".encode(), b'"8 1/2"', b"a:b"], "at": [5.0, 6.0, 7.0]}


def spec_of(**layout: Any) -> FeatureSpec:
    return FeatureSpec(
        name="films",
        features=(
            CategoricalFeature(name="user", encoding=Hash(num_buckets=9)),
            CategoricalFeature(name="film", encoding=Hash(num_buckets=9)),
            NumericFeature(name="at"),
            CategoricalFeature(name="genre", encoding=Hash(num_buckets=9)),
        ),
        label=Label(column="stars", threshold=4),
        keys=Keys(user="user"),
        source=Source(rows=TextTable(columns=COLUMNS, **layout)),
    )


def raw(path: Path, spec: FeatureSpec) -> tuple[dict[str, list[Any]], list[dict[str, Any]]]:
    """Returns the raw examples, and the records of what was set aside."""
    found: dict[str, list[Any]] = {"user": [], "film": [], "at": []}
    aside = path.with_name("rejected.jsonl")
    with Rejects(aside) as rejects:
        for batch in read_batches(path, spec, rejects, 2, like_source=True):
            for name, values in found.items():
                values += batch.raw[name].numpy().tolist()
    return found, [json.loads(line) for line in aside.read_text(encoding="utf-8").splitlines()] if aside.exists() else []


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize(
    ("delimiter", "encoding", "name"), [("::", "latin-1", "ratings.dat"), ("\t", "utf-8", "u.data.gz"), (" ; ", "utf-8", "rows")]
)
def test_rows_like_the_data_sets_own(tmp_path: Path, labels: bool, header: bool, delimiter: str, encoding: str, name: str) -> None:
    rows = [["user:t", "film:t", "stars:f", "at:f"], ["1", "Am\u00e9lie", "5", "5"], ["2", '"8 1/2"', "3", "6"], ["", "a:b", "4", "7"]]
    lines = [delimiter.join(row if labels else [row[0], row[1], row[3]]) for row in rows[0 if header else 1 :]]
    data = "\n".join([*lines, f"ragged{delimiter}row", ""]).encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    found, rejected = raw(tmp_path / name, spec_of(delimiter=delimiter, header=header, encoding=encoding, quoting=False))
    assert found == EXPECTED
    assert [(record["line"], record["row"]) for record in rejected] == [(4 + header, f"ragged{delimiter}row")]


def test_quotes_are_read_where_the_spec_says_so(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text('1;"a;\nb";5;5\n2;"he said ""no""";3;6\n')
    found, _ = raw(tmp_path / "rows.txt", spec_of(delimiter=";", header=False))
    assert found["film"] == [b"a;\nb", b'he said "no"']


def test_a_header_of_other_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("user,film\n1,a\n")
    with pytest.raises(ColonnadeError, match="has 2 columns in its header, .* own files have 4: user, film, stars, at, separated"):
        raw(tmp_path / "rows.csv", spec_of())


def test_other_files_are_answered_with_the_flag(tmp_path: Path) -> None:
    spec = spec_of(delimiter="::", header=False)
    hint = r"delimiter '::', no header, the spec's columns\) is read by `python -m serving.predict --source_layout`"
    (tmp_path / "ratings.dat").write_text("1::a::5::5\n")
    with pytest.raises(ColonnadeError, match="of no known format.*" + hint):
        find_reader(tmp_path / "ratings.dat", spec)
    (tmp_path / "ratings.csv").write_text("1::a::5::5\n2::b::3::6\n")
    with Rejects(tmp_path / "aside") as rejects, pytest.raises(ColonnadeError, match="has the column of no feature.*" + hint):
        next(read_batches(tmp_path / "ratings.csv", spec, rejects, 2))
    typed = spec.model_copy(update={"source": Source(rows=JsonLinesTable())})
    with pytest.raises(ColonnadeError, match="for data sets of delimited text; the files of 'films' are json_lines. Leave it out"):
        find_reader(tmp_path / "ratings.dat", typed, like_source=True)


UCI = "user, film, stars, at, kept\n1, Am\u00e9lie, 5, 5, x\n2, b, 3, 6, \n, a c, 4, 7, y\n"


def flat(path: Path, text: str, spec: FeatureSpec, like_source: bool = False) -> tuple[list[Any], list[Any]]:
    """Returns the films of a file, and its column `kept`."""
    path.write_text(text, encoding="utf-8")
    with Rejects(path.with_name("aside")) as rejects:
        batches = list(read_batches(path, spec, rejects, 2, like_source))
    films = [film for batch in batches for film in batch.raw["film"].numpy().tolist()]
    return films, [kept for batch in batches for kept in batch.table["kept"].to_pylist()]


@pytest.mark.parametrize("like_source", [False, True])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_blank_behind_each_delimiter_belongs_to_it(tmp_path: Path, mark: str, like_source: bool) -> None:
    spec = spec_of().model_copy(update={"source": Source(rows=TextTable(delimiter=mark))})
    films, kept = flat(tmp_path / "rows.csv", UCI.replace(",", mark), spec, like_source)
    assert films == ["Am\u00e9lie".encode(), b"b", b"a c"]
    assert kept == [b"x", b"", b"y"]


def test_blanks_in_the_header_alone_are_no_part_of_names(tmp_path: Path) -> None:
    films, kept = flat(tmp_path / "rows.csv", "user, film ,stars, at,kept\n1,a b,5,5,x\n2,b,3,6,y\n", spec_of())
    assert (films, kept) == ([b"a b", b"b"], [b"x", b"y"])


@pytest.mark.parametrize(
    "text",
    [
        'user, film, kept\n1, "a, b", x\n',
        '"user", "film", "kept"\n"1", "a", "x"\n',
        "user , film , kept\n1 , a , x\n",
        "user, film, kept\n1, a,x\n2,b ,y\n3,c, z\n",
    ],
)
def test_blanks_that_may_mean_two_things_are_refused(tmp_path: Path, text: str) -> None:
    hint = "delimiter ', ', a header, the spec's columns.* is read by `python -m serving.predict --source_layout`"
    with pytest.raises(ColonnadeError, match="blanks or quotes around the names of columns: .*'.* Write each right beside.*" + hint):
        flat(tmp_path / "rows.csv", text, spec_of(delimiter=", "))


def test_names_with_blanks_are_kept_where_the_spec_has_them(tmp_path: Path) -> None:
    film = CategoricalFeature(name="film", column=" film", encoding=Hash(num_buckets=9))
    spec = spec_of().model_copy(update={"features": (film,), "source": Source()})
    assert flat(tmp_path / "rows.csv", "user, film,kept\n1, a,x\n", spec) == ([b" a"], [b"x"])


@pytest.mark.parametrize("spec", all_datasets().values(), ids=lambda spec: spec.name)
def test_built_in_data_sets_have_such_a_layout(spec: FeatureSpec) -> None:
    layout = source_layout(spec)
    assert layout.header or layout.columns


def test_scores_are_those_of_the_same_rows_as_csv(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    version = Path(shutil.copytree(exported, tmp_path / "export" / exported.name))
    tree = json.loads((version / "assets.extra" / "spec.json").read_text())
    tree["source"]["rows"] = {"delimiter": "::", "header": False, "columns": ["user", "item", "rating", "time", "price"], "quoting": False}
    (version / "assets.extra" / "spec.json").write_text(json.dumps(tree))
    (tmp_path / "rows.csv").write_text("user,item,time,price\nu1,i1,880000000,3\nnew,,,\n")
    (tmp_path / "rows.dat").write_text("u1::i1::880000000::3\nnew::::::\n")
    predict_file(version, tmp_path / "rows.csv", tmp_path / "one.csv")
    flags = ["--input", str(tmp_path / "rows.dat"), "--output", str(tmp_path / "other.csv"), "--source_layout"]
    main(["--export_dir", str(version), *flags])
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "other.csv").read_bytes()
    assert "; no column, so missing: age, city, year, zip_prefix, tags, clicks, history" in capsys.readouterr().out
