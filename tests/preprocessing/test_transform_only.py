"""Raw rows through the job with an existing transform graph: each comes back beside its transformed values."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from feature_specs import FeatureSpec
from preprocessing.artifacts import DataDirectory
from preprocessing.pipeline import transform_only


def _rows(paths: list[Path]) -> list[dict]:
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def test_files_in_the_data_sets_layout_give_the_values_of_the_job(
    tiny_data_dir: Path, tiny_spec: FeatureSpec, tiny_files: Path, tmp_path: Path
) -> None:
    data = DataDirectory.open(tiny_data_dir)
    pairs = _rows(transform_only(tiny_spec, [str(tiny_files)], data.transform_fn, tmp_path))
    assert len(pairs) == data.statistics["rows"]["out"]
    written = {(row["_user"], row["_item"]): row for split in ("train", "valid", "test") for row in _rows(data.shards(split))}
    for row in pairs:
        expected = written[row["raw.user"], row["raw.item"]]
        for name in (*(feature.name for feature in tiny_spec.features if feature.name != "price"), "label"):
            assert row[name] == expected[name]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs-00000-of-00001.parquet", "rejected-00000-of-00001.jsonl"]
    assert len((tmp_path / "rejected-00000-of-00001.jsonl").read_text().splitlines()) == data.statistics["rows"]["rejected"]


def test_flat_raw_examples(tiny_data_dir: Path, tiny_spec: FeatureSpec, tmp_path: Path) -> None:
    data = DataDirectory.open(tiny_data_dir)
    sample = pq.read_table(data.path / "sample.parquet")
    names = [feature.name for feature in tiny_spec.features]
    flat = pa.table({name: sample[f"raw.{name}"] for name in names})
    received = pq.read_table(transform_only(tiny_spec, flat, data.transform_fn, tmp_path)[0])
    assert received.column_names == sample.column_names[:-1]
    for name in set(names) - {"price"}:
        assert received[name].to_pylist() == sample[name].to_pylist()
    typed = pa.table({"user": ["u1", None], "item": ["i1", "new"], "time": [0, 0], "hour": [3600, -1], "history": [["i1", "i2"], None]})
    rows = _rows(transform_only(tiny_spec, typed, data.transform_fn, tmp_path / "typed"))
    assert [row["raw.user"] for row in rows] == [b"u1", b""]
    assert [row["hour"] for row in rows] == [2, 0]
    assert len(rows[0]["history"]) == 2
    assert rows[1]["user"] == 0
