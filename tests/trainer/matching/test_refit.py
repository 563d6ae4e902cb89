"""Refitting: validation interactions go on where the training sequences end."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.matching.refit import merged_shards

USERS = st.dictionaries(
    st.sampled_from("abcdef"), st.tuples(st.lists(st.integers(0, 9), max_size=4), st.lists(st.integers(0, 9), max_size=3)), max_size=6
)
LISTS = pa.list_(pa.int32())


def _shards(folder: Path, users: dict[str, tuple[list[int], list[int]]], of: dict[str, int]) -> tuple[list[Path], list[Path]]:
    train, valid = [], []
    for number in (0, 1):
        here = {user: lists for user, lists in users.items() if of[user] == number}
        old = [user for user, (items, _) in here.items() if items]
        new = [user for user, (_, targets) in reversed(here.items()) if targets]
        if old:
            train.append(folder / f"train-0000{number}-of-00002.parquet")
            items = pa.array([here[user][0] for user in old], LISTS)
            pq.write_table(pa.table({"age": [ord(u) for u in old], "_user": [u.encode() for u in old], "_items": items}), train[-1])
        if new:
            valid.append(folder / f"valid-0000{number}-of-00002.parquet")
            columns = {"age": [ord(u) for u in new], "_user": [u.encode() for u in new]}
            lists = [pa.array([here[user][part] for user in new], LISTS) for part in (0, 1)]
            pq.write_table(pa.table({**columns, "_items": lists[0], "_targets": lists[1]}), valid[-1])
    return train, valid


@given(users=USERS, second=st.sets(st.sampled_from("abcdef")))
def test_sequences_go_on_with_their_validation_targets(
    users: dict[str, tuple[list[int], list[int]]], second: set[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    train, valid = _shards(folder, users, {user: int(user in second) for user in users})
    merged = merged_shards(train, valid, folder / "refit")
    rows = [row for path in merged for row in pq.read_table(path).to_pylist()]
    assert {row["_user"].decode(): row["_items"] for row in rows} == {u: a + b for u, (a, b) in users.items() if a or b}
    assert all(row["age"] == ord(row["_user"]) for row in rows)
    assert len(rows) == len({row["_user"] for row in rows})
    assert all(path.name.startswith("train-") for path in merged)
