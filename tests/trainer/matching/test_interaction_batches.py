"""Training batches of matching: every example once with its true history and targets, never an own item, from any batch on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_specs import ColonnadeError, FeatureSpec
from trainer.matching.batches import InteractionBatches
from trainer.matching.catalogue import Catalogue
from trainer.matching.sampling import NegativeSampling

SPEC = FeatureSpec.from_yaml("""
name: clicks
features:
- {kind: categorical, name: user, dtype: int64, encoding: {type: identity, num_buckets: 99}}
- {kind: categorical, name: item, encoding: {type: vocabulary}}
- {kind: multi_valued, name: tags, encoding: {type: vocabulary}}
- {kind: numeric, name: age}
- {kind: sequence, name: history, history_of: item, table: item, max_length: 50}
label: {implicit: true, task: matching}
keys: {user: user, item: item, time: time}
""")
NUM_ITEMS = 30
# Ids are no numbers: item k has the id 100 - k.
CATALOGUE = Catalogue(
    raw_ids=tuple(b"%d" % k for k in range(NUM_ITEMS)),
    counts=np.arange(NUM_ITEMS, 0, -1),
    features={"item": 100 - np.arange(NUM_ITEMS)},
    item="item",
)
_rng = np.random.default_rng(5)
LENGTHS = [1, 2, 7, 3, 12, 1, 5, 20, 4, 2, 9, 6, 1, 3]
USERS = [_rng.permutation(NUM_ITEMS)[:length].tolist() for length in LENGTHS]


def _write(folder: Path, users: list[list[int]], shards: int = 2, group: int = 3) -> list[Path]:
    paths = []
    for number in range(shards):
        rows = [row for row in range(len(users)) if row % shards == number]
        table = pa.table(
            {
                "_user": pa.array([b"%d" % row for row in rows], pa.binary()),
                "_items": pa.array([users[row] for row in rows], pa.list_(pa.int32())),
                "user": pa.array([row + 1 for row in rows], pa.int64()),
                "tags": pa.array([[row] * (row % 3) for row in rows], pa.list_(pa.int64())),
                "age": pa.array([row / 2 for row in rows], pa.float32()),
            }
        )
        paths.append(folder / f"train-{number}.parquet")
        pq.write_table(table, paths[-1], row_group_size=group)
    return paths


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return _write(tmp_path_factory.mktemp("users"), USERS)


def _batches(data: InteractionBatches, epoch: int = 0, start: int = 0) -> list[tuple[dict, dict]]:
    dataset = data.dataset(epoch, start)
    assert tf.nest.map_structure(lambda a, b: b.is_compatible_with(a), dataset.element_spec, data.element_spec)
    with data.errors_of_reading():
        return [tf.nest.map_structure(lambda tensor: tensor.numpy(), batch) for batch in dataset]


def _examples(data: InteractionBatches, epoch: int = 0) -> list[tuple[int, list[int], list[int]]]:
    """User, history ids and targets of all examples, sorted; looks at padding on the way."""
    found = []
    for features, targets in _batches(data, epoch):
        assert len(features["user"]) <= data.batch_size
        histories = features.get("history", np.zeros((len(features["user"]), 0), np.int64))
        assert not histories.shape[1] or (histories[:, -1] > 0).any(), "no longer than the longest"
        for user, history, positives in zip(features["user"] - 1, histories, targets["positives"], strict=True):
            ids, items = history[history > 0], positives[positives >= 0]
            assert (history[: len(ids)] > 0).all()
            assert (positives[: len(items)] >= 0).all()
            found.append((int(user), ids.tolist(), items.tolist()))
    return sorted(found)


def _ids(items: list[int]) -> list[int]:
    return [100 - item for item in items]


@pytest.mark.parametrize(("max_length", "targets", "block"), [(0, 1, 40), (4, 1, 1), (50, 1, 1 << 24), (4, 3, 40), (0, 2, 1 << 24)])
def test_pairs_are_all_places_of_all_users(shards: list[Path], max_length: int, targets: int, block: int) -> None:
    data = InteractionBatches(shards, SPEC, CATALOGUE, batch_size=8, max_length=max_length, num_targets=targets, block_interactions=block)
    assert data.dataset().options().autotune.enabled is False, "the end of an epoch would wait for the tuner"
    wanted = sorted(
        (user, _ids(items[max(place - max_length, 0) : place]), items[place : place + targets])
        for user, items in enumerate(USERS)
        for place in range(1 if max_length else 0, len(items))
    )
    assert _examples(data) == wanted
    assert data.num_rows == len(wanted)
    assert data.num_examples == sum(len(items) for _, _, items in wanted)
    assert len(_batches(data)) == data.num_batches


@pytest.mark.parametrize(("max_length", "block"), [(1, 1), (5, 40), (50, 1 << 24)])
def test_sequences_predict_each_next_item(shards: list[Path], max_length: int, block: int) -> None:
    sampling = NegativeSampling(2)
    data = InteractionBatches(
        shards, SPEC, CATALOGUE, batch_size=4, examples="sequences", max_length=max_length, negatives=sampling, block_interactions=block
    )
    wanted = [(u, _ids(items[:-1][-max_length:]), items[1:][-max_length:]) for u, items in enumerate(USERS) if len(items) > 1]
    assert _examples(data) == wanted
    assert data.num_rows == len(wanted)
    assert data.num_examples == 3 * sum(len(items) for _, _, items in wanted)
    assert len(_batches(data)) == data.num_batches
    for features, targets in _batches(data):
        assert features["history"].shape == targets["positives"].shape == targets["negatives"].shape[:2]


@settings(max_examples=6, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=9), min_size=1, max_size=9).filter(lambda u: max(map(len, u)) > 1),
    st.integers(1, 9),
    st.integers(1, 6),
    st.integers(1, 30),
)
def test_any_users_in_any_blocks(tmp_path_factory: pytest.TempPathFactory, users: list, batch: int, length: int, block: int) -> None:
    paths = _write(tmp_path_factory.mktemp("any"), users, shards=1, group=2)
    options: dict[str, Any] = {"batch_size": batch, "max_length": length, "block_interactions": block}
    pairs = InteractionBatches(paths, SPEC, CATALOGUE, **options)
    wanted = [(u, _ids(items[max(t - length, 0) : t]), items[t : t + 1]) for u, items in enumerate(users) for t in range(1, len(items))]
    assert _examples(pairs, 3) == sorted(wanted)
    sequences = InteractionBatches(paths, SPEC, CATALOGUE, examples="sequences", **options)
    assert _examples(sequences) == [(u, _ids(i[:-1][-length:]), i[1:][-length:]) for u, i in enumerate(users) if len(i) > 1]


def test_columns_of_the_user_follow_the_user(shards: list[Path]) -> None:
    data = InteractionBatches(shards, SPEC, CATALOGUE, batch_size=8)
    for features, _ in _batches(data):
        assert set(features) == {"user", "tags", "age"}
        rows = features["user"] - 1
        np.testing.assert_array_equal(features["age"], rows / 2)
        assert features["tags"].shape[1] == (rows % 3).max()
        np.testing.assert_array_equal(
            features["tags"], np.where(np.arange(features["tags"].shape[1]) < (rows % 3)[:, None], rows[:, None], 0)
        )


@pytest.mark.parametrize("examples", ["pairs", "sequences"])
@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_no_negative_is_an_item_of_the_users_training(shards: list[Path], examples: Any, alpha: float) -> None:
    def negatives(exclude: bool) -> list[tuple[int, list[int]]]:
        sampling = NegativeSampling(20, shared=6, alpha=alpha, exclude_seen=exclude)
        data = InteractionBatches(
            shards, SPEC, CATALOGUE, batch_size=8, examples=examples, max_length=6, negatives=sampling, block_interactions=40
        )
        batches = _batches(data)
        assert all(targets["shared"].shape == (6,) for _, targets in batches)
        return [(user - 1, row.ravel().tolist()) for f, t in batches for user, row in zip(f["user"], t["negatives"], strict=True)]

    assert all(set(items) <= set(range(NUM_ITEMS)) - set(USERS[user]) for user, items in negatives(True))
    assert any(set(items) & set(USERS[user]) for user, items in negatives(False))


def test_negatives_are_drawn_anew_for_each_epoch_batch_and_seed(shards: list[Path]) -> None:
    def drawn(seed: int, epoch: int) -> list[bytes]:
        sampling = NegativeSampling(10, shared=10)
        data = InteractionBatches(shards, SPEC, CATALOGUE, batch_size=8, negatives=sampling, seed=seed)
        return [targets[name].tobytes() for _, targets in _batches(data, epoch) for name in ("negatives", "shared")]

    again, *others = drawn(0, 0), drawn(0, 0), drawn(0, 1), drawn(1, 0)
    assert again == others[0]
    every = [part for draws in others for part in draws]
    assert len({*every}) == len(every)


def test_the_order_follows_seed_and_epoch(shards: list[Path]) -> None:
    def order(seed: int, epoch: int) -> list:
        data = InteractionBatches(shards, SPEC, CATALOGUE, batch_size=8, seed=seed, block_interactions=40)
        return [(features["user"].tolist(), targets["positives"].tolist()) for features, targets in _batches(data, epoch)]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


@pytest.mark.parametrize("block", [30, 1 << 24])
@pytest.mark.parametrize("examples", ["pairs", "sequences"])
def test_an_epoch_entered_late_goes_on_as_it_would_have(shards: list[Path], block: int, examples: Any) -> None:
    def made() -> InteractionBatches:
        sampling = NegativeSampling(3, shared=4, alpha=0.5)
        return InteractionBatches(
            shards,
            SPEC,
            CATALOGUE,
            batch_size=4 if examples == "sequences" else 16,
            examples=examples,
            max_length=5,
            negatives=sampling,
            seed=3,
            block_interactions=block,
        )

    whole, resumed = _batches(made(), 2), made()
    for start in (1, len(whole) // 2, len(whole) - 1, len(whole)):
        late = _batches(resumed, 2, start)
        assert len(late) == len(whole) - start
        for found, wanted in zip(late, whole[start:], strict=True):
            tf.nest.map_structure(np.testing.assert_array_equal, found, wanted)


def test_two_epochs_at_once_do_not_mix(shards: list[Path]) -> None:
    data = InteractionBatches(shards, SPEC, CATALOGUE, batch_size=8)
    first, second = iter(data.dataset(0)), iter(data.dataset(1))
    together = [(next(first)[0]["user"].numpy().tolist(), next(second)[0]["user"].numpy().tolist()) for _ in range(data.num_batches)]
    alone = [[features["user"].tolist() for features, _ in _batches(data, epoch)] for epoch in (0, 1)]
    assert [list(each) for each in zip(*together, strict=True)] == alone


def test_which_positives_of_the_batch_each_user_has(shards: list[Path]) -> None:
    sampling = NegativeSampling(seen_in_batch=True)
    data = InteractionBatches(shards, SPEC, CATALOGUE, batch_size=16, max_length=4, negatives=sampling)
    for features, targets in _batches(data):
        items = targets["positives"][:, 0].tolist()
        wanted = [[item in USERS[user - 1] for item in items] for user in features["user"]]
        assert targets["seen_in_batch"].tolist() == wanted


def test_a_user_with_every_item_and_another(tmp_path: Path) -> None:
    paths = _write(tmp_path, [list(range(NUM_ITEMS)), [3, 4]])
    data = InteractionBatches(paths, SPEC, CATALOGUE, batch_size=50, negatives=NegativeSampling(9))
    ((features, targets),) = _batches(data)
    of_all = targets["negatives"][features["user"] == 1]
    assert set(of_all.ravel().tolist()) == set(range(NUM_ITEMS))


def test_errors(shards: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ColonnadeError, match="nothing to train on in train-0.parquet: no user has two interactions"):
        InteractionBatches(_write(tmp_path, [[1], [2]], shards=1), SPEC, CATALOGUE, batch_size=8, max_length=3)
    with pytest.raises(ColonnadeError, match="nothing to train on in no shards"):
        InteractionBatches([], SPEC, CATALOGUE, batch_size=8)
    with pytest.raises(ColonnadeError, match="train-0.parquet' has the item number 30; items.parquet has 30 items"):
        InteractionBatches(_write(tmp_path, [[1, 30]], shards=1), SPEC, CATALOGUE, batch_size=8)
    no_history = SPEC.model_copy(update={"features": SPEC.features[:-1]})
    with pytest.raises(ColonnadeError, match="spec 'clicks' has none. Add a sequence feature with `history_of: item`"):
        InteractionBatches(shards, no_history, CATALOGUE, batch_size=8, max_length=3)
    more = SPEC.model_copy(update={"features": (*SPEC.features, SPEC.features[3].model_copy(update={"name": "height"}))})
    with pytest.raises(ColonnadeError, match="lacks the columns height. Preprocess again"):
        InteractionBatches(shards, more, CATALOGUE, batch_size=8)
    with pytest.raises(ValueError, match="max_length of 1 or more"):
        InteractionBatches(shards, SPEC, CATALOGUE, batch_size=8, examples="sequences")


@pytest.mark.parametrize("block", [40, 1 << 24])
def test_a_shard_that_goes_bad_while_training_is_one_clear_error(tmp_path: Path, block: int) -> None:
    paths = _write(tmp_path, USERS)
    data = InteractionBatches(paths, SPEC, CATALOGUE, batch_size=8, block_interactions=block)
    paths[1].write_bytes(b"PAR1")
    with pytest.raises(ColonnadeError, match="train-1.parquet' cannot be read: .*Preprocess again"):
        _batches(data)
