"""Built-in data sets: made-up files in the original layouts go through the job, and so do the real ones where they are."""

from __future__ import annotations

import lzma
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_specs.datasets import all_datasets, get_dataset
from feature_specs.datasets.census import _COLUMNS
from preprocessing.artifacts import DataDirectory
from preprocessing.examples import SPLITS
from preprocessing.pipeline import build
from preprocessing.task import main

ROOT = Path(__file__).parent.parent.parent
DATA = Path(os.environ.get("COLONNADE_DATA", ROOT / ".." / "shared" / "data"))
DICE = random.Random(0)


@pytest.mark.parametrize("spec", all_datasets().values(), ids=lambda spec: spec.name)
def test_each_says_where_it_is_from(spec: object) -> None:
    source = spec.source  # type: ignore[attr-defined]
    assert source.homepage.startswith("https://")
    assert source.licence.endswith(".")
    assert source.fetch or "--input" in source.instructions


@pytest.mark.parametrize("name", ["movielens_1m", "criteo", "criteo_encoded", "frappe", "frappe_log", "census"])
def test_without_files_the_error_says_how_to_get_them(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["--dataset", name, "--output", str(tmp_path / "data")])
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == f"error: data set {name!r} cannot be fetched. {get_dataset(name).source.instructions}\n"


def _movielens(folder: Path) -> None:
    users = "".join(
        f"{user}::{DICE.choice('MF')}::{DICE.choice([1, 18, 25])}::{DICE.randrange(21)}::0{2138 + user}\n" for user in range(1, 31)
    )
    genres = ["Drama", "Comedy", "War"]
    movies = "".join(f"{i}::Caf\xe9 {i} ({1960 + i % 4})::{'|'.join(DICE.sample(genres, 2))}\n" for i in range(1, 41))
    pairs = {(DICE.randint(1, 30), DICE.randint(1, 40)): None for _ in range(300)}
    ratings = "".join(f"{user}::{movie}::{DICE.randint(1, 5)}::{978_300_000 + 60 * i}\n" for i, (user, movie) in enumerate([*pairs][:200]))
    with zipfile.ZipFile(folder / "ml-1m.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ml-1m/README", "not a table")
        for name, text in {"ratings": ratings, "users": users, "movies": movies}.items():
            archive.writestr(f"ml-1m/{name}.dat", text.encode("latin-1"))


def _criteo(folder: Path) -> None:
    def row() -> str:
        numbers = [DICE.choice(["", "-1", str(DICE.randrange(1000))]) for _ in range(13)]
        tokens = [DICE.choice(["", f"{DICE.randrange(4):08x}"]) for _ in range(26)]
        return "\t".join([str(DICE.randrange(2)), *numbers, *tokens])

    (folder / "train.txt").write_text("\n".join(row() for _ in range(200)) + "\n")


def _criteo_encoded(folder: Path) -> None:
    for part, count in {"train": 160, "test": 40}.items():
        rows = (",".join(str(DICE.randrange(2 if i == 0 else 5)) for i in range(40)) for _ in range(count))
        (folder / f"encoded_{part}.csv.xz").write_bytes(lzma.compress(("\n".join(rows) + "\n").encode()))
    (folder / "raw_head.tsv").write_text("not encoded\n")


def _frappe(folder: Path) -> None:
    for part, count in {"train": 160, "validation": 30, "test": 10}.items():
        rows = (" ".join([DICE.choice(["1", "-1"]), *(f"{10 * j + DICE.randrange(9)}:1" for j in range(10))]) for _ in range(count))
        (folder / f"frappe.{part}.libfm").write_text("\n".join(rows) + "\n")


def _frappe_log(folder: Path) -> None:
    names = "user\titem\tcnt\tdaytime\tweekday\tisweekend\thomework\tcost\tweather\tcountry\tcity\n"
    pairs = {(DICE.randrange(12), DICE.randrange(30)): None for _ in range(120)}
    rows = "".join(
        f"{user}\t{item}\t1\tmorning\tsunday\tweekend\thome\tfree\tsunny\tSpain\t{DICE.randrange(5)}\n" for user, item in [*pairs][:80]
    )
    with zipfile.ZipFile(folder / "Mobile_Frappe.zip", "w") as archive:
        archive.writestr("Mobile_Frappe/README.txt", "not a table")
        archive.writestr("Mobile_Frappe/frappe/meta.csv", "item\tname\n1\tx\n")
        archive.writestr("Mobile_Frappe/frappe/frappe.csv", names + rows)


def _census(folder: Path) -> None:
    def row(dot: str) -> str:
        education, job = DICE.choice(["HS-grad", "Bachelors", "11th"]), DICE.choice(["Sales", "?", "Tech-support"])
        values = [
            DICE.randint(17, 90),
            "Private",
            77516,
            education,
            9,
            "Divorced",
            job,
            "Husband",
            "White",
            "Male",
            0,
            0,
            40,
            "United-States",
        ]
        return ", ".join(map(str, [*values, DICE.choice([">50K", "<=50K"]) + dot]))

    (folder / "adult.data").write_text("\n".join(row("") for _ in range(150)) + "\n\n")
    (folder / "adult.test").write_text("|1x3 Cross validator\n" + "\n".join(row(".") for _ in range(50)) + "\n\n")
    (folder / "adult.names").write_text("not a table\n")


@pytest.mark.parametrize(
    ("name", "write", "rows"),
    [
        ("movielens_1m", _movielens, {"in": 200, "out": 200, "rejected": 0}),
        ("criteo", _criteo, {"in": 200, "out": 200, "rejected": 0}),
        ("criteo_encoded", _criteo_encoded, {"in": 200, "out": 200, "rejected": 0}),
        ("movielens_1m_ratings", _movielens, {"in": 200, "out": 200, "rejected": 0}),
        ("frappe", _frappe, {"in": 200, "out": 200, "rejected": 0}),
        ("frappe_log", _frappe_log, {"in": 80, "out": 240, "rejected": 0}),
        ("census", _census, {"in": 201, "out": 200, "rejected": 1}),
    ],
)
def test_files_in_the_original_layout(name: str, write: Callable[[Path], None], rows: dict[str, int], tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    write(tmp_path / "raw")
    data = build(get_dataset(name), tmp_path / "data", [str(tmp_path / "raw")], show_progress=False)
    assert {key: data.statistics["rows"][key] for key in rows} == rows
    train = pa.concat_tables(pq.read_table(path) for path in sorted((tmp_path / "data").glob("train-*.parquet")))
    assert set(train["label"].to_pylist()) == ({1.0, 2.0, 3.0, 4.0, 5.0} if name == "movielens_1m_ratings" else {0.0, 1.0})
    if name.startswith("movielens_1m"):
        # The side tables are joined: nobody is without gender, no movie without its two genres.
        assert min(train["gender"].to_pylist()) > 0
        assert set(map(len, train["genres"].to_pylist())) == {2}
        # Four years are taken from the titles.
        assert (set(train["release_year"].to_pylist()), data.table_rows["release_year"]) == ({1, 2, 3, 4}, 6)
    if name == "criteo_encoded":
        assert data.statistics["splits"]["test"] == 40
        assert 0 < data.statistics["splits"]["valid"] < 40
        # 0 is a token like any other.
        assert set(data.table_rows.values()) == {7}
    if name == "census":
        assert data.statistics["splits"]["test"] == 50
        assert "age_x_education_x_occupation" in data.table_rows
    if name == "frappe":
        assert data.statistics["splits"] == {"train": 160, "valid": 30, "test": 10}


def _real(*parts: str) -> list[str]:
    paths = [DATA.joinpath(part) for part in parts]
    if not all(path.is_file() for path in paths):
        pytest.skip(f"no {', '.join(parts)} in {DATA} (set COLONNADE_DATA)")
    return list(map(str, paths))


def _built(name: str, output: Path, inputs: list[str]) -> DataDirectory:
    data = build(get_dataset(name), output, inputs, show_progress=False)
    assert data.statistics["rows"]["rejected"] == 0
    return data


@pytest.mark.slow
def test_the_real_movielens_1m(tmp_path: Path) -> None:
    data = _built("movielens_1m", tmp_path / "data", _real("ml-1m/ml-1m.zip"))
    assert data.statistics["rows"]["in"] == data.statistics["rows"]["out"] == 1_000_209
    # 6,040 users, 18 genres, 21 occupations and 81 years, beside the rows for missing and unknown.
    assert {name: data.table_rows[name] for name in ("user_id", "genres", "occupation", "release_year")} == {
        "user_id": 6_042,
        "genres": 20,
        "occupation": 23,
        "release_year": 83,
    }
    assert all(data.statistics["features"]["release_year"][split]["missing_share"] == 0 for split in SPLITS)
    assert 3_650 < data.table_rows["item_id"] <= 3_708


@pytest.mark.slow
def test_the_real_frappe_log(tmp_path: Path) -> None:
    data = _built("frappe_log", tmp_path / "data", _real("frappe/Mobile_Frappe.zip"))
    # Two negatives a positive, as many rows as He and Chua have.
    assert (data.statistics["rows"]["in"], data.statistics["rows"]["out"]) == (96_203, 288_609)
    assert all(abs(mean - 1 / 3) < 1e-6 for mean in data.statistics["label"].values())


@pytest.mark.slow
def test_the_real_frappe_files(tmp_path: Path) -> None:
    """The published training negatives are not public: its positives, and validation and test as they are."""
    inputs = _real("frappe/frappe.train.positives.libfm.xz", "frappe/frappe.validation.libfm.gz", "frappe/frappe.test.libfm.gz")
    data = _built("frappe", tmp_path / "data", inputs)
    assert data.statistics["splits"] == {"train": 67_604, "valid": 57_722, "test": 28_860}
    assert data.statistics["label"]["train"] == 1.0


def test_the_real_criteo_heads(tmp_path: Path) -> None:
    data = _built("criteo", tmp_path / "data", _real(*(f"criteo/raw_head_{part}.tsv.xz" for part in ("train", "dev", "test"))))
    assert data.statistics["rows"]["out"] == 7_200 + 409 + 391


def test_the_real_encoded_criteo(tmp_path: Path) -> None:
    data = _built("criteo_encoded", tmp_path / "data", _real("criteo/encoded_train.csv.xz", "criteo/encoded_test.csv.xz"))
    assert data.statistics["splits"] == {"train": 9_009, "valid": 991, "test": 10_000}


def test_census_has_the_columns_of_the_original() -> None:
    assert len(_COLUMNS) == 15
    assert {feature.raw_column for feature in get_dataset("census").read_features} == set(_COLUMNS) - {"fnlwgt", "income_bracket"}
