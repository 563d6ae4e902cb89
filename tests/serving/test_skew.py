"""The comparison of what was trained with what is served finds what differs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import serving.verify
import trainer.estimator
from feature_specs import ColonnadeError, FeatureSpec, Source, TextTable
from preprocessing.artifacts import DataDirectory
from serving.checks import accepted
from serving.compared import RankingScores
from serving.samples import raw_rows
from serving.signatures import to_tensors
from serving.skew import compare_sample


def test_no_skew(exported: Path, tiny_data: DataDirectory, scorer: Any) -> None:
    skew = compare_sample(exported, tiny_data.path / "sample.parquet", scorer)
    assert skew.rows == pq.read_metadata(tiny_data.path / "sample.parquet").num_rows
    assert list(skew.per_feature) == [feature.name for feature in tiny_data.spec.features]
    pairs = [f"{s} {name}" for s in ("predict", "serving_default") for name in ("logits", "probabilities")]
    assert list(skew.per_score) == [*pairs, "classify classes", "classify scores", "regress outputs"]
    assert skew.features == 0
    assert skew.score <= 1e-5


CHANGES: list[tuple[str, Any]] = [
    ("item", 0),
    ("tags", [2] * 7),
    ("age", float("nan")),
    ("raw.year", 1234),
    ("raw.user", b"unheard of"),
]


def test_changed_values_are_found(exported: Path, tiny_data: DataDirectory, scorer: Any, tmp_path: Path) -> None:
    table = pq.read_table(tiny_data.path / "sample.parquet")
    for row, (column, value) in enumerate(CHANGES):
        values = table[column].to_pylist()
        values[row] = value
        table = table.set_column(table.column_names.index(column), column, pa.array(values, table.schema.field(column).type))
    pq.write_table(table, tmp_path / "sample.parquet")
    skew = compare_sample(exported, tmp_path / "sample.parquet", scorer)
    assert {name for name, difference in skew.per_feature.items() if difference > 0} == {"item", "tags", "age", "year", "user"}
    assert skew.features == skew.per_feature["age"] == np.inf
    assert skew.score > 1e-3
    told = {worst.row: "\n".join(serving.verify.describe(worst, 1e-5)) for worst in skew.worst}
    assert sorted(told) == [1, 2, 3, 4, 5]
    assert re.search(r"    tags: place \d: trained 2, served .*; and \d more", told[2])
    assert re.search(r"    year: trained \d, served \d\n      raw: 1234\n", told[4])
    assert "raw: b'unheard of'" in told[5]
    assert "    predict logits: trained " in told[1]


def test_another_model_is_found(exported: Path, tiny_data: DataDirectory, scorer: Any) -> None:
    skew = compare_sample(exported, tiny_data.path / "sample.parquet", type(scorer)(tiny_data.spec, tiny_data.table_rows, seed=1))
    assert skew.features == 0
    assert skew.score > 1e-3
    assert len(skew.worst) == 5


def test_samples_of_another_spec_and_broken_ones(exported: Path, scorer: Any, tmp_path: Path) -> None:
    pq.write_table(pa.table({"raw.user": [b"u"]}), tmp_path / "other.parquet")
    with pytest.raises(ColonnadeError, match="has no column 'raw.item'"):
        compare_sample(exported, tmp_path / "other.parquet", scorer)
    with pytest.raises(ColonnadeError, match="cannot be read"):
        compare_sample(exported, tmp_path / "gone.parquet", scorer)


@pytest.fixture
def run_dir(exported: Path, tiny_data: DataDirectory, scorer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `verify` uses of a run, without the training."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "export").symlink_to(exported.parent)
    (run / "transform_fn").symlink_to(tiny_data.transform_fn)
    monkeypatch.setattr(trainer.estimator.Estimator, "load", lambda _: type("Loaded", (), {"model": scorer}))
    return run


def test_verify_takes_the_data_sets_own_files(run_dir: Path, tiny_files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert serving.verify.main(["--run_dir", str(run_dir), "--input", str(tiny_files / "ratings.csv")]) == 0
    said = capsys.readouterr().out
    assert "PASSED: 400 rows, 4 rejected, tolerance 1e-05" in said
    assert re.search(r"\nhistory +sequence +0\n", said)


FLAT = "user,item,age,tags,history,time\nu1,i1,30,a|b,i1|i2|nope,880000000\nnew,,x,,,\n,zz,,d,,1\n"


def test_verify_takes_flat_files_and_fails_above_the_tolerance(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "flat.csv").write_text(FLAT)
    flags = ["--run_dir", str(run_dir), "--input", str(tmp_path / "flat.csv")]
    assert serving.verify.main(flags) == 0
    said = capsys.readouterr().out
    assert "1 row could not be read and left out; the first, line 3: column 'age': expected float32" in said
    assert "PASSED: 2 rows, 1 rejected" in said
    assert serving.verify.main([*flags, "--tolerance", "-1"]) == 1
    assert "FAILED: 2 rows, 1 rejected, tolerance -1" in capsys.readouterr().out


def test_verify_tells_mistakes_before_it_loads_anything(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ColonnadeError, match="does not exist. A finished run"):
        serving.verify.main(["--run_dir", str(tmp_path / "gone"), "--input", str(tmp_path)])
    with pytest.raises(ColonnadeError, match="There is no input"):
        serving.verify.main(["--run_dir", str(run_dir), "--input", str(tmp_path / "gone.csv")])
    (tmp_path / "rows.xls").write_text("a")
    with pytest.raises(ColonnadeError, match="no known format"):
        serving.verify.main(["--run_dir", str(run_dir), "--input", str(tmp_path / "rows.xls")])
    (run_dir / "transform_fn").unlink()
    with pytest.raises(ColonnadeError, match="has no transform graph"):
        serving.verify.main(["--run_dir", str(run_dir), "--input", str(tmp_path / "rows.xls")])


def test_layouts_are_told_apart(tiny_spec: FeatureSpec, tiny_files: Path, tmp_path: Path) -> None:
    own = serving.verify.own_files(tiny_spec, tiny_files / "ratings.csv")
    assert [Path(path).name for path in own] == ["ratings.csv", "items.csv", "users.tsv"]
    assert serving.verify.own_files(tiny_spec, tiny_files) == [str(tiny_files)]
    (tmp_path / "flat.csv").write_text(FLAT)
    assert serving.verify.own_files(tiny_spec, tmp_path / "flat.csv") == []
    plain = tiny_spec.model_copy(update={"source": type(tiny_spec.source)()})
    columns = [*plain.column_types, "more"]
    (tmp_path / "all.csv").write_text(",".join(columns) + "\n")
    assert serving.verify.own_files(plain, tmp_path / "all.csv") == [str(tmp_path / "all.csv")]
    assert serving.verify.own_files(plain, tmp_path / "flat.csv") == []
    spaced = plain.model_copy(update={"source": Source(rows=TextTable(delimiter=", "))})
    (tmp_path / "spaced.csv").write_text(", ".join(columns) + "\n")
    assert serving.verify.own_files(spaced, tmp_path / "spaced.csv") == [str(tmp_path / "spaced.csv")]
    assert serving.verify.own_files(spaced, tmp_path / "all.csv") == []
    assert np.all([not serving.verify.own_files(plain, tmp_path / f"rows{suffix}") for suffix in (".parquet", ".jsonl.gz")])


def test_exports_of_earlier_versions_are_told(exported: Path, tiny_data: DataDirectory, scorer: Any) -> None:
    def nothing(**_: Any) -> dict[str, Any]:
        return {"logits": None, "probabilities": None}

    old = type("Old", (), {"signatures": {"predict": nothing, "serving_default": nothing}})
    paths = RankingScores(old, tiny_data.spec, scorer)
    raw = raw_rows(tiny_data.spec, tiny_data.path / "sample.parquet")
    rows = accepted(raw, tf.saved_model.load(str(exported)).transform(**to_tensors(raw)), paths.score)
    with pytest.raises(ColonnadeError, match="has no signature 'classify': an earlier version"):
        paths.compare(rows)
