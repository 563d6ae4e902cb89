"""Around the data for matching: what the job prints, new rows beside old ones, rows through an existing graph, and the real MovieLens."""

from __future__ import annotations

import gzip
import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from library import LEAVE_LAST_OUT, LOANS, SPEC, built, by_user, table_of, write_library

from benchmarks.ncf_files import write_ncf_files
from feature_specs import ColonnadeError
from feature_specs.datasets import get_dataset
from preprocessing.artifacts import DataDirectory
from preprocessing.check import main as check
from preprocessing.pipeline import build, transform_only
from preprocessing.task import main, summary

DATA = Path(os.environ.get("COLONNADE_DATA", Path(__file__).parent.parent.parent / ".." / "shared" / "data"))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> DataDirectory:
    return built(tmp_path_factory.mktemp("library"))


def test_the_report_counts_interactions_users_and_items(library: DataDirectory) -> None:
    lines = summary(library).splitlines()
    assert lines[:4] == [
        f"rows      12 in, 10 out, 2 rejected (why: {library.path}/rejected-*.jsonl)",
        "splits    train 6, valid 2, test 2 interactions",
        "users     4: train 4, valid 2, test 2",
        "items     5",
    ]
    assert lines[4].startswith("tables    4 tables, ")
    assert not any(line.startswith("labels") for line in lines)
    assert (library.path / "statistics.txt").read_text().splitlines()[1:4] == lines[1:4]


def test_the_report_says_of_whom_nothing_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "raw").mkdir()
    write_library(tmp_path / "raw")
    spec = SPEC.replace("implicit: true", "column: day, threshold: 2").replace(
        LEAVE_LAST_OUT, "split: {type: temporal, boundaries: [5, 7]}"
    )
    (tmp_path / "spec.yaml").write_text(spec)
    flags = ["--spec", str(tmp_path / "spec.yaml"), "--input", str(tmp_path / "raw"), "--output", str(tmp_path / "data")]
    assert main([*flags, "--max_rejected_fraction", "0.5"]) == 0
    printed = capsys.readouterr().out
    assert "2 rejected (why:" in printed
    assert "1 left out by the label" in printed
    assert "          of whom nothing is known from earlier splits: valid 2, test 1\n" in printed
    # A second call finds it finished.
    assert main(flags) == 0
    assert "is already finished for library" in capsys.readouterr().out


def test_new_rows_are_compared_with_the_old_ones(library: DataDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = tmp_path / "same"
    same.mkdir()
    write_library(same, "\n".join(line for line in LOANS.splitlines() if not line.startswith((",", "dan"))) + "\n")
    check(["--data_dir", str(library.path), "--input", str(same)])
    printed = capsys.readouterr().out
    assert "history 'read' is not compared" in printed
    (same / "books.csv").write_text("book,genres,pages\n" + "".join(f"{name},poems,90000\n" for name in "abcd"))
    assert check(["--data_dir", str(library.path), "--input", str(same)]) == 1
    assert "pages" in capsys.readouterr().out


def test_rows_through_an_existing_graph(library: DataDirectory, tmp_path: Path) -> None:
    paths = transform_only(library.spec, write_library(tmp_path), library.transform_fn, tmp_path / "pairs")
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    histories = {(row["raw.reader"], row["raw.book"]): row["raw.read"] for row in rows}
    # Earlier training rows: in this split of Ann a and c. Equal times do not see each other.
    assert histories[b"ann", b"b"] == [b"a", b"c"]
    assert histories[b"bob", b"d"] == []
    items = {row["_item"]: row for row in pq.read_table(library.items).to_pylist()}
    for row in rows:
        if row["raw.book"]:
            assert {name: row[name] for name in ("book", "genres", "pages")} == {
                name: items[row["raw.book"]][name] for name in ("book", "genres", "pages")
            }


def _real(name: str) -> Path:
    if not (DATA / name).exists():
        pytest.skip(f"no {name} in {DATA} (set COLONNADE_DATA)")
    return DATA / name


def _ratings() -> pd.DataFrame:
    with zipfile.ZipFile(_real("ml-1m/ml-1m.zip")) as archive, archive.open("ml-1m/ratings.dat") as stream:
        return pd.read_csv(stream, sep="::", engine="python", names=["user", "item", "rating", "time"])


@pytest.mark.slow
def test_the_real_movielens_1m_against_pandas(tmp_path: Path) -> None:
    spec = get_dataset("movielens_1m_implicit")
    data = build(spec, tmp_path / "data", [str(_real("ml-1m/ml-1m.zip"))], show_progress=False)
    assert (data.statistics["users"], data.statistics["items"]) == (6_040, 3_706)
    assert data.statistics["interactions"] == {"train": 988_129, "valid": 6_040, "test": 6_040}
    assert {split: data.num_rows(split) for split in ("train", "valid", "test")} == dict.fromkeys(("train", "valid", "test"), 6_040)
    ordered = _ratings().sort_values(["user", "time"], kind="stable")
    place = ordered.groupby("user").cumcount(ascending=False)
    counts = ordered[place >= 2]["item"].value_counts()
    items = pq.read_table(data.items)
    keys = np.array([int(key) for key in items["_item"].to_pylist()])
    assert items["_count"].to_pylist() == [int(counts.get(key, 0)) for key in keys]
    wanted = {"train": ordered[place >= 2], "valid": ordered[place == 1], "test": ordered[place == 0]}
    for split, rows in wanted.items():
        table = table_of(data, split)
        lists = table["_items" if split == "train" else "_targets"].combine_chunks()
        users = np.repeat([int(user) for user in table["_user"].to_pylist()], np.diff(lists.offsets.to_numpy()))
        order = np.argsort(users, kind="stable")
        np.testing.assert_array_equal(users[order], rows["user"])
        np.testing.assert_array_equal(keys[lists.flatten().to_numpy()][order], rows["item"])


@pytest.mark.slow
def test_the_real_files_of_the_ncf_paper(tmp_path: Path) -> None:
    held = _real("ml-1m/ncf").parent.parent
    files = write_ncf_files(held, tmp_path / "files")
    assert write_ncf_files(held, tmp_path / "files") == files
    data = build(get_dataset("movielens_1m_ncf"), tmp_path / "data", [str(tmp_path / "files")], show_progress=False)
    assert data.statistics["interactions"] == {"train": 988_129, "valid": 6_040, "test": 6_040}
    with gzip.open(held / "ml-1m/ncf/ml-1m.test.negative.gz", "rt") as lines:
        wanted = {}
        for line in lines:
            pair, *others = line.rstrip("\n").split("\t")
            user, item = pair[1:-1].split(",")
            wanted[user] = (item, others)
    names = [key.decode() for key in pq.read_table(data.items)["_item"].to_pylist()]
    received = {
        row["_user"].decode(): (names[row["_targets"][0]], [names[number] for number in row["_candidates"]])
        for row in table_of(data, "test").to_pylist()
    }
    assert received == wanted
    assert sum(item in others for item, others in received.values()) == 156


def test_the_files_of_the_ncf_paper_have_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ColonnadeError, match=r"lacks ml-1m/ml-1m\.zip, ml-1m/ncf/item_map\.csv"):
        write_ncf_files(tmp_path, tmp_path / "files")
    (tmp_path / "ml-1m" / "ncf").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "ml-1m" / "ml-1m.zip", "w") as archive:
        archive.writestr("ml-1m/ratings.dat", "1::7::5::100\n1::8::3::200\n2::7::1::300\n2::9::4::250\n")
    folder = tmp_path / "ml-1m" / "ncf"
    (folder / "item_map.csv").write_text("movie_id,ncf_item\n7,0\n8,1\n9,2\n")
    (folder / "ml-1m.test.rating").write_text("0\t1\t3\t200\n1\t0\t1\t300\n")
    (folder / "ml-1m.test.negative.gz").write_bytes(gzip.compress(b"(0,1)\t2\n(1,0)\t1\n"))
    files = write_ncf_files(tmp_path, tmp_path / "files")
    assert [path.name for path in files] == ["ml-1m.train.rating", "ml-1m.test.rating", "ml-1m.test.negative"]
    assert files[0].read_text() == "0\t0\t5\t100\n1\t2\t4\t250\n"
    data = build(get_dataset("movielens_1m_ncf"), tmp_path / "data", [str(tmp_path / "files")], show_progress=False)
    # Nobody has two training rows, so nobody validates.
    assert data.success["splits"] == {"train": 2, "valid": 0, "test": 2}
    assert by_user(data, "test", "_items", "_targets", "_candidates") == {"0": ("0", "1", "2"), "1": ("2", "0", "1")}
    (folder / "ml-1m.test.rating").write_text("0\t2\t3\t200\n1\t0\t1\t300\n")
    with pytest.raises(ColonnadeError, match="1 of 2 test rows are ratings"):
        write_ncf_files(tmp_path, tmp_path / "other")
