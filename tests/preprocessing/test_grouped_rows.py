"""Reading with what takes all rows of a user, against loops over the file, however it is cut and in whatever order workers end."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shop import NEGATIVES, SPEC, assert_same, expected_rows, read_rows

from feature_specs import ColonnadeError, FeatureSpec
from preprocessing.job import Job
from preprocessing.pipeline import build, transform_only
from preprocessing.sources import text
from preprocessing.staging import read_batches


@pytest.mark.parametrize(("range_bytes", "backwards"), [(32 << 20, False), (8000, False), (8000, True)])
def test_leave_last_out_and_histories(
    shop_files: Path, shop_rows: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, range_bytes: int, backwards: bool
) -> None:
    monkeypatch.setattr(text, "RANGE_BYTES", range_bytes)
    received, counts = read_rows(SPEC, shop_files, tmp_path, backwards)
    assert_same(received, expected_rows(shop_rows))
    assert counts == {"in": 1515, "out": 1505, "rejected": 10, "negatives": 0}


@pytest.mark.parametrize(
    "split",
    [
        "{type: temporal, fractions: [0.6, 0.2, 0.2]}",
        "{type: temporal, boundaries: [130, 170]}",
        "{type: within_user, fractions: [0.5, 0.25, 0.25]}",
        "{type: random, by: [brand, user]}",
        "{type: files, train: 'rows*', test: other, valid_fraction: 0.3}",
    ],
)
def test_splits_do_not_depend_on_how_files_are_cut(split: str, shop_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SPEC.replace("{type: leave_last_out}", split)
    whole, _ = read_rows(spec, shop_files, tmp_path / "whole")
    without_histories = "\n".join(line for line in spec.splitlines() if "history_of" not in line and "time_gaps" not in line)
    monkeypatch.setattr(text, "RANGE_BYTES", 8000)
    cut, _ = read_rows(spec, shop_files, tmp_path / "cut", backwards=True)
    assert_same(cut, whole)
    alone, _ = read_rows(without_histories, shop_files, tmp_path / "alone")
    assert [row["_split"] for row in alone] == [row["_split"] for row in whole]
    shares = np.bincount([row["_split"] for row in whole], minlength=3) / len(whole)
    times = np.array([row["_time"] for row in whole])
    splits = np.array([row["_split"] for row in whole])
    if "temporal" in split:
        assert np.all(splits[times == -1] == 0)
        ranges = [(times[(splits == n) & (times != -1)].min(), times[splits == n].max()) for n in range(3)]
        assert ranges[0][1] < ranges[1][0] <= ranges[1][1] < ranges[2][0]
    if "boundaries" in split:
        assert [begin for begin, _ in ranges[1:]] == [130, 170]
    elif "files" in split:
        np.testing.assert_allclose(shares, [0.7, 0.3, 0.0], atol=0.05)
    elif "fractions" in split:
        known = (times != -1) if "temporal" in split else np.array([row["_user"] != b"" for row in whole])
        fractions = [0.6, 0.2, 0.2] if "temporal" in split else [0.5, 0.25, 0.25]
        np.testing.assert_allclose(np.bincount(splits[known]) / known.sum(), fractions, atol=0.02)


def test_a_file_of_no_split(shop_files: Path, tmp_path: Path) -> None:
    with pytest.raises(ColonnadeError, match=r"rows\.csv' is in no split: its name matches none of 'day-1', 'day-2'"):
        read_rows(SPEC.replace("{type: leave_last_out}", "{type: files, train: day-1, test: day-2}"), shop_files, tmp_path)


def test_a_changed_side_table_is_read_again(shop_files: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(shop_files, tmp_path / "files"))
    read_rows(SPEC, folder, tmp_path)
    shutil.rmtree(tmp_path / "staging")
    (folder / "items.csv").write_text("item,brand\n" + "".join(f"i{n},new\n" for n in range(15)))
    rows, _ = read_rows(SPEC, folder, tmp_path)
    assert {row["brand"] for row in rows if row["item"]} == {b"new"}


def test_types_of_histories(shop_files: Path, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    job = Job(FeatureSpec.from_yaml(SPEC), staging, ("--direct_num_workers=1",), show_progress=False)
    job.ingest([str(shop_files)])
    schema = next(read_batches(job.shards[0]["path"])).schema
    assert schema.field("past").type == pa.list_(pa.binary())
    assert schema.field("gaps").type == schema.field("prices").type == pa.list_(pa.float32())


def test_the_whole_job(shop_files: Path, shop_rows: list, tmp_path: Path) -> None:
    spec = FeatureSpec.from_yaml(SPEC + NEGATIVES)
    data = build(spec, tmp_path / "data", [str(shop_files)], show_progress=False)
    counts = data.statistics["rows"]
    assert counts["in"] == counts["out"] - counts["negatives"] + counts["rejected"] == 1515
    splits = {split: pa.concat_tables(pq.read_table(path) for path in data.shards(split)) for split in ("train", "valid", "test")}
    assert {split: len(table) for split, table in splits.items()} == data.statistics["splits"]
    assert sum(map(len, splits.values())) == counts["out"]
    expected = expected_rows(shop_rows)
    for number, table in enumerate(splits.values()):
        own = [row for row in expected if row["_split"] == number]
        assert sum(table["label"].to_pylist()) == sum(row["label"] for row in own)
        assert len(table) > len(own)
        # Every event of a history has its gap.
        assert table["past"].combine_chunks().value_lengths() == table["gaps"].combine_chunks().value_lengths()
    # Rows given to an existing graph come back as they are.
    pairs = transform_only(spec, [str(shop_files)], data.transform_fn, tmp_path / "pairs")
    assert sum(len(pq.read_table(path)) for path in pairs) == len(shop_rows)
