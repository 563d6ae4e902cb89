"""Only a finished, whole data directory of the right spec is opened; every refusal is one line that says what to do."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from feature_specs import ColonnadeError, FeatureSpec
from feature_specs.datasets import get_dataset
from preprocessing.artifacts import DataDirectory, default_data_dir
from preprocessing.building import claimed


@pytest.fixture
def copy(tiny_data_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_data_dir, tmp_path / "copy"))


def _refusal(path: Path, expected: FeatureSpec | None = None) -> str:
    with pytest.raises(ColonnadeError) as caught:
        DataDirectory.open(path, expected)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_open(tiny_data_dir: Path, tiny_spec: FeatureSpec) -> None:
    data = DataDirectory.open(tiny_data_dir, tiny_spec)
    assert data.spec == tiny_spec
    assert [path.name for path in data.shards("valid")] == ["valid-00000-of-00001.parquet"]
    assert data.table_rows["weekday"] == 9
    assert (data.transform_fn / "saved_model.pb").is_file()
    assert default_data_dir(tiny_spec) == Path("data/tiny")


def test_missing_and_unfinished(copy: Path, tiny_spec: FeatureSpec, tmp_path: Path) -> None:
    assert _refusal(tmp_path / "gone", get_dataset("movielens_100k")) == (
        f"Data directory '{tmp_path}/gone' does not exist. Make it with `python -m preprocessing.task --dataset movielens_100k --output "
        f"{tmp_path}/gone`."
    )
    (copy / "_SUCCESS").unlink()
    assert "is unfinished: it has no _SUCCESS file. Make it with `python -m preprocessing.task --spec FILE.yaml" in _refusal(
        copy, tiny_spec
    )


def test_another_spec_names_both_and_the_command(copy: Path, tiny_spec: FeatureSpec) -> None:
    other = get_dataset("movielens_100k")
    refusal = _refusal(copy, other)
    for part in (
        tiny_spec.fingerprint[:12],
        other.fingerprint[:12],
        "'tiny'",
        "'movielens_100k'",
        f"rm -r {copy} && python -m preprocessing",
    ):
        assert part in refusal


def test_commands_stand_a_path_with_blanks(copy: Path) -> None:
    place = copy.rename(copy.with_name("my data; x"))
    refusal = _refusal(place, get_dataset("movielens_100k"))
    assert f"rm -r '{place}' && python -m preprocessing.task --dataset movielens_100k --output '{place}'" in refusal
    (place / "statistics.json").write_text("{")
    assert f"rm -r '{place}' && " in _refusal(place)


def test_truncated_missing_and_damaged(copy: Path) -> None:
    shard = copy / "train-00000-of-00001.parquet"
    size = shard.stat().st_size
    os.truncate(shard, 100)
    assert f"Shard '{shard}' has 100 bytes, expected {size:,}: it is truncated or changed. Rebuild it: rm -r" in _refusal(copy)
    shard.unlink()
    assert f"Shard '{shard}' is missing. Rebuild it" in _refusal(copy)
    (copy / "_SUCCESS").write_text("{")
    assert "is damaged" in _refusal(copy)


def test_a_build_removes_what_an_interrupted_one_left(tmp_path: Path, tiny_spec: FeatureSpec) -> None:
    output = tmp_path / "data"
    (output / ".building" / "raw").mkdir(parents=True)
    (output / "train-00000-of-00001.parquet").touch()
    (output / "pretrained-item.npy").touch()
    with claimed(output, tiny_spec) as staging:
        assert [path.name for path in output.iterdir()] == [".building"]
        assert staging is not None
        assert not any(staging.iterdir())
    assert not output.exists()


def test_a_build_leaves_other_peoples_files_alone(tmp_path: Path, tiny_spec: FeatureSpec) -> None:
    (tmp_path / "thesis.tex").touch()
    with (
        pytest.raises(ColonnadeError, match=r"is no data directory: it holds 'thesis\.tex'\. Choose another --output"),
        claimed(tmp_path, tiny_spec),
    ):
        pass
    assert (tmp_path / "thesis.tex").exists()
    with pytest.raises(ColonnadeError, match="Cannot write the data directory"), claimed(tmp_path / "thesis.tex", tiny_spec):
        pass


def test_one_build_at_a_time_and_none_when_finished(tiny_data_dir: Path, tiny_spec: FeatureSpec, tmp_path: Path) -> None:
    with claimed(tiny_data_dir, tiny_spec) as staging:
        assert staging is None
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    (tmp_path / ".building").mkdir()  # the other process's
    with pytest.raises(ColonnadeError, match="Another process is building"), claimed(tmp_path, tiny_spec):
        pass
    assert (tmp_path / ".building").is_dir()
    os.close(descriptor)
