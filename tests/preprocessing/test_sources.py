"""Which files and columns a spec reads, side tables, and the raw examples made of them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_specs import ColonnadeError, FeatureSpec, Join, Source, TextTable
from preprocessing.examples import from_columns
from preprocessing.flat_examples import from_table
from preprocessing.sources.files import InputFile, find_files
from preprocessing.sources.joins import SideTable, join_all, store, wanted_columns
from preprocessing.sources.tables import plan

SPEC = """
name: s
features:
- {kind: categorical, name: user, encoding: {type: hash, num_buckets: 9}}
- {kind: numeric, name: age, column: Age}
- {kind: categorical, name: year, dtype: int64, on_invalid: missing, encoding: {type: hash, num_buckets: 9}}
- {kind: multi_valued, name: tags, encoding: {type: hash, num_buckets: 9}}
label: {column: y}
keys: {user: user}
source:
  rows: {files: 'rows-*.csv'}
  joins:
  - {table: {files: users.csv}, key: user}
  - {table: {files: cities.csv}, key: city}
"""


@pytest.fixture
def spec() -> FeatureSpec:
    return FeatureSpec.from_yaml(SPEC)


def _write(folder: Path, *names: str, content: str = "x\n1\n") -> None:
    for name in names:
        (folder / name).write_text(content)


def _names(files: tuple[InputFile, ...]) -> list[str]:
    return [file.base_name for file in files]


def test_files_folders_and_globs(spec: FeatureSpec, tmp_path: Path) -> None:
    _write(tmp_path, "rows-2.csv", "rows-1.csv.gz", "users.csv", "cities.csv", ".hidden", "notes.txt")
    (tmp_path / "folder").mkdir()
    for given in ([str(tmp_path)], [f"{tmp_path}/"], [f"{tmp_path}/*"], [f"{tmp_path}/*.csv*", f"{tmp_path}/users.csv"]):
        found = find_files(spec, given)
        assert _names(found.rows) == ["rows-1.csv.gz", "rows-2.csv"]
        assert [_names(files) for files in found.joins] == [["users.csv"], ["cities.csv"]]


def test_brackets_in_the_name_of_a_file_or_folder_are_no_pattern(spec: FeatureSpec, tmp_path: Path) -> None:
    folder = tmp_path / "a [1] b"
    folder.mkdir()
    _write(folder, "rows-[x].csv", "users.csv", "cities.csv")
    for given in ([str(folder)], [str(path) for path in folder.iterdir()]):
        assert _names(find_files(spec, given).rows) == ["rows-[x].csv"]


def test_rows_without_a_pattern_take_what_no_other_table_claims(tmp_path: Path) -> None:
    spec = FeatureSpec.from_yaml(SPEC.replace("{files: 'rows-*.csv'}", "{}"))
    _write(tmp_path, "anything", "users.csv", "cities.csv")
    assert _names(find_files(spec, [str(tmp_path)]).rows) == ["anything"]


def test_file_errors(spec: FeatureSpec, tmp_path: Path) -> None:
    _write(tmp_path, "rows-1.csv", "users.csv")
    with pytest.raises(
        ColonnadeError, match=r"No input file is called 'cities\.csv', which the spec needs\. Given: rows-1\.csv, users\.csv\."
    ):
        find_files(spec, [str(tmp_path)])
    with pytest.raises(ColonnadeError, match=r"No file matches --input '.*gone\.csv'\."):
        find_files(spec, [str(tmp_path / "gone.csv")])
    _write(tmp_path, "cities.csv", content="")
    with pytest.raises(ColonnadeError, match=r"Input '.*cities\.csv' is empty \(0 bytes\)"):
        find_files(spec, [str(tmp_path)])
    with pytest.raises(ColonnadeError, match="Data set 's' cannot be fetched. Give its files with --input"):
        find_files(spec, None)


def test_only_columns_that_are_needed_are_read_each_from_the_first_table_that_has_it(spec: FeatureSpec) -> None:
    spec = spec.model_copy(update={"split": spec.split.model_copy(update={"by": ("user",)})})
    available = [["user", "y", "extra"], ["user", "city", "Age", "extra"], ["city", "year", "tags", "Age", "extra"]]
    assert wanted_columns(spec, available) == [["user", "y"], ["user", "Age", "city"], ["city", "year", "tags"]]


def test_a_split_by_all_columns_reads_them_all(spec: FeatureSpec) -> None:
    available = [["user", "y", "extra"], ["user", "city", "Age"], ["city", "year", "tags"]]
    assert wanted_columns(spec, available)[0] == ["user", "y", "extra"]


def test_a_table_of_one_column_is_asked_for_its_delimiter(spec: FeatureSpec) -> None:
    alone = spec.model_copy(update={"source": Source()})
    with pytest.raises(ColonnadeError, match=r"has one column: say which `delimiter` its table has, .* Columns: user;y;age\.$"):
        wanted_columns(alone, [["user;y;age"]])


@pytest.mark.parametrize(
    ("available", "message"),
    [
        (
            [["user", "y"], ["user", "city", "age"], ["city", "year", "tags"]],
            "no column 'Age', which feature 'age' needs. Did you mean 'age'?",
        ),
        ([["user"], ["user", "city", "Age"], ["city", "year", "tags"]], "no column 'y', which the label needs"),
        ([["user", "y"], ["city", "Age"], ["city", "year", "tags"]], "no column 'user', which the key of the side table 'users.csv' needs"),
        ([["user", "y"], ["user", "Age"], ["city", "year", "tags"]], "no column 'city', which the join with 'cities.csv' needs"),
    ],
)
def test_a_missing_column_is_named_with_who_reads_it(spec: FeatureSpec, available: list[list[str]], message: str) -> None:
    with pytest.raises(ColonnadeError) as caught:
        wanted_columns(spec, available)
    assert message in str(caught.value)


def _side(tmp_path: Path, content: str, key: str = "k") -> SideTable:
    path = tmp_path / "side.csv"
    path.write_text(content)
    ranges = plan(TextTable(), [InputFile(str(path), path.stat().st_size)])
    return store(Join(table=TextTable(files="side.csv"), key=key), ranges, ["k", "v"], str(tmp_path / f"{len(content)}.arrow"))


def test_joins_keep_rows_and_never_match_missing_keys(tmp_path: Path) -> None:
    side = _side(tmp_path, "k,v\na,1\n,2\nb,\n")
    joined = join_all({"k": pa.array([b"b", b"a", b"", b"z", b"a"], pa.binary())}, [side])
    assert joined["v"].to_pylist() == [b"", b"1", None, None, b"1"]


def test_side_table_errors(tmp_path: Path) -> None:
    with pytest.raises(ColonnadeError, match=r"has 2 rows with k 'a' \(1 keys are repeated\)\. Keys of a side table should be unique"):
        _side(tmp_path, "k,v\na,1\nb,2\na,3\n")
    with pytest.raises(ColonnadeError, match=r"side\.csv', line 3: expected 2 values, received 1\. Mend or remove the line"):
        _side(tmp_path, "k,v\na,1\nb\n")
    with pytest.raises(ColonnadeError, match="has no rows"):
        _side(tmp_path, "k,v\n")


def _columns(**values: list[bytes | None]) -> dict[str, pa.Array]:
    return {name: pa.array(cells, pa.binary()) for name, cells in values.items()}


def test_raw_examples_and_reasons(spec: FeatureSpec) -> None:
    columns = _columns(
        user=[b"u", None, b"", b"v", b"w"],
        Age=[b"3", b"", b"old", b"5", b"6"],
        year=[b"1990", b"V", b"", b"7", b"8"],
        tags=[b"a||b", None, b"c", b"", b"d"],
        y=[b"1", b"0", b"1", b"2", b""],
    )
    table, reasons = from_columns(spec, columns)
    assert reasons == {
        2: "column 'Age': 'old' is not a finite number",
        3: "column 'y': '2' is not 0 or 1; give the label a threshold",
        4: "label 'y' is missing",
    }
    assert table["user"].to_pylist() == [b"u", b"", b"", b"v", b"w"]
    assert table["year"].to_pylist() == [1990, -1, -1, 7, 8]
    assert table["tags"].to_pylist() == [[b"a", b"b"], [], [b"c"], [], [b"d"]]
    assert table["label"].to_pylist()[:2] == [1.0, 0.0]
    np.testing.assert_array_equal(table["age"].to_numpy(), np.array([3, np.nan, np.nan, 5, 6], np.float32))
    assert table["_group"].to_pylist() == table["_user"].to_pylist() == [b"u", b"", b"", b"v", b"w"]


def test_labels_by_threshold_and_for_regression(spec: FeatureSpec) -> None:
    columns = _columns(user=[b"u"] * 3, Age=[b"1"] * 3, year=[b"1"] * 3, tags=[b""] * 3, y=[b"3.5", b"4", b"-2"])
    for label, expected in (({"threshold": 4}, [0.0, 1.0, 0.0]), ({"task": "regression"}, [3.5, 4.0, -2.0])):
        changed = spec.model_copy(update={"label": spec.label.model_copy(update=label)})
        table, reasons = from_columns(changed, columns)
        assert reasons == {}
        assert table["label"].to_pylist() == expected


def test_flat_raw_examples_take_any_sensible_type(spec: FeatureSpec) -> None:
    table = from_table(
        spec,
        pa.table(
            {
                "user": [7, None],
                "age": pa.array([3, None], pa.int16()),
                "tags": [["a", None, ""], None],
                "label": [True, False],
                "extra": [1, 2],
            }
        ),
    )
    assert table["user"].to_pylist() == [b"7", b""]
    assert table["age"][0].as_py() == 3.0
    assert math.isnan(table["age"][1].as_py())
    assert table["year"].to_pylist() == [-1, -1]
    assert table["tags"].to_pylist() == [[b"a"], []]
    assert table["label"].to_pylist() == [1.0, 0.0]
    assert table.column_names == ["user", "age", "year", "tags", "label"]


def test_flat_raw_example_errors(spec: FeatureSpec) -> None:
    with pytest.raises(ColonnadeError, match=r"Feature 'year' should be of type int64\. Received: string"):
        from_table(spec, pa.table({"year": ["x"]}))
    with pytest.raises(ColonnadeError, match=r"No column is a feature of 's'\. Did you mean 'user'\?"):
        from_table(spec, pa.table({"usr": ["x"]}))
    with pytest.raises(ColonnadeError, match="Feature 'tags' should be of type"):
        from_table(spec, pa.table({"tags": ["x"]}))
