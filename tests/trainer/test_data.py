"""Batches from Parquet: every row once, in an order that can be repeated and entered anywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_specs import (
    CategoricalFeature,
    ColonnadeError,
    FeatureSpec,
    Hash,
    Label,
    MultiValuedFeature,
    NumericFeature,
    NumericSequenceFeature,
    SequenceFeature,
)
from trainer.data import Lists, ParquetBatches, element_spec

SPEC = FeatureSpec(
    name="rows",
    features=(
        CategoricalFeature(name="row", dtype="int64", encoding=Hash(num_buckets=9)),
        MultiValuedFeature(name="tags", encoding=Hash(num_buckets=9)),
        NumericFeature(name="x"),
    ),
    label=Label(column="y"),
)


def _write(folder: Path, sizes: list[int]) -> list[Path]:
    """Shards in which row r has the tags [r, r, ...], r mod 4 of them."""
    paths, first = [], 0
    for number, size in enumerate(sizes):
        rows = list(range(first, first + size))
        table = pa.table(
            {
                "row": pa.array(rows, pa.int64()),
                "tags": pa.array([[r] * (r % 4) for r in rows], pa.list_(pa.int64())),
                "x": pa.array(rows, pa.float32()),
                "label": pa.array([r % 2 for r in rows], pa.float32()),
            }
        )
        paths.append(folder / f"train-{number}.parquet")
        pq.write_table(table, paths[-1], row_group_size=7)
        first += size
    return paths


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return _write(tmp_path_factory.mktemp("shards"), [20, 3, 11])


@pytest.mark.parametrize("shuffle_rows", [0, 5, 16, 1000])
def test_every_row_once_and_its_columns_together(shards: list[Path], shuffle_rows: int) -> None:
    data = ParquetBatches(shards, SPEC, 8, shuffle_rows=shuffle_rows, seed=1)
    batches = list(data.batches())
    assert [len(label) for _, label in batches] == [8, 8, 8, 8, 2]
    assert len(batches) == data.num_batches
    rows = np.concatenate([features["row"] for features, _ in batches])
    assert sorted(rows) == list(range(34))
    for features, label in batches:
        np.testing.assert_array_equal(label, features["row"] % 2)
        np.testing.assert_array_equal(features["x"], features["row"])
        np.testing.assert_array_equal((features["tags"] > 0).sum(1), np.where(features["row"] == 0, 0, features["row"] % 4))
        np.testing.assert_array_equal(features["tags"].max(1), np.where(features["row"] % 4 == 0, 0, features["row"]))


def test_the_order_follows_seed_and_epoch(shards: list[Path]) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        data = ParquetBatches(shards, SPEC, 8, shuffle_rows=16, seed=seed)
        return np.concatenate([features["row"] for features, _ in data.batches(epoch)]).tolist()

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
    unshuffled = ParquetBatches(shards, SPEC, 8)
    assert np.concatenate([features["row"] for features, _ in unshuffled.batches()]).tolist() == list(range(34))


@settings(max_examples=10, deadline=None)
@given(batch=st.integers(1, 40), shuffle_rows=st.sampled_from([0, 5, 16, 100]), start=st.integers(0, 5))
def test_an_epoch_entered_late_goes_on_as_it_would_have(shards: list[Path], batch: int, shuffle_rows: int, start: int) -> None:
    data = ParquetBatches(shards, SPEC, batch, shuffle_rows=shuffle_rows, seed=3)
    whole = [(features["row"].tolist(), features["tags"].tolist()) for features, _ in data.batches(2)]
    late = [(features["row"].tolist(), features["tags"].tolist()) for features, _ in data.batches(2, start)]
    assert late == whole[start:]


def test_the_order_is_that_of_groups_and_of_blocks(shards: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The groups are shuffled, then the rows of each block; whether chunks are small, end within blocks or hold several."""
    first = np.cumsum([0, 7, 7, 6, 3, 7])
    groups = [np.arange(a, a + rows) for a, rows in zip(first, (7, 7, 6, 3, 7, 4), strict=True)]

    def expected(epoch: int, blocks: list[int]) -> list[int]:
        order = np.random.default_rng([3, epoch]).permutation(6)
        parts = np.split(order, np.cumsum(blocks)[:-1])
        rows = [np.concatenate([groups[i] for i in part]) for part in parts]
        return np.concatenate([each[np.random.default_rng([3, epoch, i]).permutation(len(each))] for i, each in enumerate(rows)]).tolist()

    for chunk_rows in (1, 8, 1000):
        monkeypatch.setattr("trainer.data._CHUNK_ROWS", chunk_rows)
        for shuffle_rows, blocks in ((1, [1] * 6), (100, [6])):
            data = ParquetBatches(shards, SPEC, 4, shuffle_rows=shuffle_rows, seed=3)
            for epoch in (2, 0):
                batches = list(data.batches(epoch))
                assert [len(label) for _, label in batches] == [4] * 8 + [2]
                assert np.concatenate([features["row"] for features, _ in batches]).tolist() == expected(epoch, blocks)


def test_the_dataset_holds_the_batches(shards: list[Path]) -> None:
    data = ParquetBatches(shards, SPEC, 8, shuffle_rows=16)
    assert data.dataset().options().autotune.enabled is False, "the end of an epoch would wait for the tuner"
    for (features, label), (wanted, wanted_label) in zip(data.dataset(1, 2), data.batches(1, 2), strict=True):
        np.testing.assert_array_equal(label, wanted_label)
        for name, values in wanted.items():
            np.testing.assert_array_equal(features[name], values)


def test_lists_are_padded_to_the_longest_of_the_batch() -> None:
    lists = Lists(np.array([1, 2, 3]), np.array([0, 2, 2]), np.array([2, 0, 1]))
    assert lists.padded().tolist() == [[1, 2], [0, 0], [3, 0]]
    assert lists.take(np.array([2, 2, 0])).padded().tolist() == [[3, 0], [3, 0], [1, 2]]
    assert lists.take(np.array([1])).padded().shape == (1, 0)


def test_a_truncated_shard_is_one_clear_error(shards: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "train-0.parquet"
    broken.write_bytes(shards[0].read_bytes()[:-20])
    with pytest.raises(ColonnadeError, match="train-0.parquet' cannot be read: .*Preprocess again"):
        ParquetBatches([broken], SPEC, 8)


def test_weights_come_third_where_the_spec_has_them(shards: list[Path], tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"label": Label(column="y", weight="w")})
    for path in shards:
        table = pq.read_table(path)
        pq.write_table(table.append_column("_weight", pa.array(table["x"].to_numpy() / 4)), tmp_path / path.name, row_group_size=7)
    data = ParquetBatches([tmp_path / path.name for path in shards], spec, 8, shuffle_rows=16)
    for (features, label, weight), (tensors, *rest) in zip(data.batches(), data.dataset(), strict=True):
        assert list(features) == ["row", "tags", "x"]
        np.testing.assert_array_equal(weight, features["x"] / 4)
        for tensor, values in zip((tensors["x"], *rest), (features["x"], label, weight), strict=True):
            np.testing.assert_array_equal(tensor, values)
    with pytest.raises(ColonnadeError, match="lacks the columns _weight"):
        ParquetBatches(shards, spec, 8)


def test_no_rows_and_missing_columns(tmp_path: Path) -> None:
    with pytest.raises(ColonnadeError, match="no row to read in train-0.parquet"):
        ParquetBatches(_write(tmp_path, [0]), SPEC, 8)
    pq.write_table(pa.table({"row": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ColonnadeError, match="lacks the columns tags, x, label"):
        ParquetBatches([tmp_path / "other.parquet"], SPEC, 8)


def test_every_layout_of_a_column(tmp_path: Path) -> None:
    spec = FeatureSpec(
        name="layouts",
        features=(
            NumericFeature(name="place", size=2, missing_indicator=True),
            MultiValuedFeature(name="tags", encoding=Hash(num_buckets=9), weights="w"),
            SequenceFeature(name="items", encoding=Hash(num_buckets=9), value_delimiter=","),
            NumericSequenceFeature(name="gaps"),
            SequenceFeature(name="pages", encoding=Hash(num_buckets=9)),
            MultiValuedFeature(name="pages_steps", encoding=Hash(num_buckets=9)),  # a name alone makes no steps
        ),
        label=Label(column="y"),
    )
    columns = {
        "place": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.float32(), 2)),
        "place_missing": pa.array([0, 1, 0], pa.float32()),
        "tags": pa.array([[1, 2], [], [3]], pa.list_(pa.int64())),
        "tags_weights": pa.array([[0.5, 2], [], [1]], pa.list_(pa.float32())),
        "items": pa.array([[1], [2, 3, 4], []], pa.list_(pa.int64())),
        "items_steps": pa.array([[0], [0, 0, 1], []], pa.list_(pa.int64())),
        "gaps": pa.array([[0.5], [], []], pa.list_(pa.float32())),
        "pages": pa.array([[1], [1, 2], []], pa.list_(pa.int64())),
        "pages_steps": pa.array([[1], [1, 2], []], pa.list_(pa.int64())),
        "label": pa.array([0, 1, 0], pa.float32()),
    }
    pq.write_table(pa.table(columns), tmp_path / "train-0.parquet", row_group_size=2)
    data = ParquetBatches([tmp_path / "train-0.parquet"], spec, 3)
    ((features, _),) = data.batches()
    nan = np.nan
    expected = {
        "place": [[1, 2], [3, 4], [5, 6]],
        "place_missing": [0, 1, 0],
        "tags": [[1, 2], [0, 0], [3, 0]],
        "tags_weights": [[0.5, 2], [nan, nan], [1, nan]],
        "items": [[1, 0, 0], [2, 3, 4], [0, 0, 0]],
        "items_steps": [[0, -1, -1], [0, 0, 1], [-1, -1, -1]],
        "gaps": [[0.5], [nan], [nan]],
        "pages": [[1, 0], [1, 2], [0, 0]],
        "pages_steps": [[1, 0], [1, 2], [0, 0]],
    }
    types, _ = element_spec(spec)
    assert list(features) == list(types) == list(expected) == [column.name for column in spec.outputs]
    for name, values in expected.items():
        np.testing.assert_array_equal(features[name], values, err_msg=name)
        assert types[name].is_compatible_with(tf.constant(features[name])), name
    ((tensors, _),) = data.dataset()
    np.testing.assert_array_equal(tensors["tags_weights"], expected["tags_weights"])
    shuffled = ParquetBatches([tmp_path / "train-0.parquet"], spec, 1, shuffle_rows=9, seed=1)
    assert {tuple(batch["place"][0]) for batch, _ in shuffled.batches()} == {(1, 2), (3, 4), (5, 6)}
