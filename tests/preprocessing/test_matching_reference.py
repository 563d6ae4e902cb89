"""Data for matching against loops over the rows: whatever the split, however files are cut and wherever the stages run."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from library import LEAVE_LAST_OUT, SPEC, by_user, expected, write_library

from feature_specs import FeatureSpec
from preprocessing.artifacts import DataDirectory
from preprocessing.catalogue import last_of, numbers_of
from preprocessing.execution import OnBeam
from preprocessing.job import Job
from preprocessing.pipeline import build
from preprocessing.sequences import Sequences
from preprocessing.sources import text
from preprocessing.staging import read_batches

ROWS = st.lists(
    st.tuples(st.sampled_from("uvwxy"), st.sampled_from("abcdef"), st.integers(-1, 4), st.integers(0, 2)), min_size=1, max_size=40
)


@settings(max_examples=200, deadline=None)
@given(ROWS)
def test_sequences_are_those_of_loops(rows: list[tuple[str, str, int, int]]) -> None:
    users, items, times, splits = zip(*rows, strict=True)
    table = pa.table(
        {
            "_user": [user.encode() for user in users],
            "_item": [item.encode() for item in items],
            "_time": pa.array(times, pa.int64()),
            "_split": pa.array(splits, pa.int8()),
        }
    )
    names = sorted(set(items))
    sequences = Sequences.of(table, pa.array([name.encode() for name in names]))
    _, wanted = expected([row[:3] for row in rows], list(splits))
    for split in range(3):
        found = sequences.of_split(split)
        received = {}
        for row in found.to_pylist():
            lists = [[names[number] for number in row[name]] for name in ("_items", "_targets") if name in row]
            received[row["_user"].decode()] = tuple(lists) if len(lists) > 1 else lists[0]
            # The user's side is of the last training row, or the first target.
            assert users[row["_row"]] == row["_user"].decode()
            assert splits[row["_row"]] == split
            assert items[row["_row"]] == (lists[0][-1] if split == 0 else lists[1][0])
        assert received == wanted[split]
        assert list(received) == list(dict.fromkeys(user for user in users if user in wanted[split]))
    assert sequences.num_users == len(set(users))


@given(st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=8), st.integers(1, 4), st.integers(0, 3))
def test_the_last_of_lists(lists: list[list[int]], length: int, begin: int) -> None:
    column = pa.array(lists, pa.list_(pa.int32()))[begin:]
    places, offsets = last_of(column, length)
    values = column.flatten().to_numpy()[places].tolist()
    assert [values[a:b] for a, b in zip(offsets[:-1], offsets[1:], strict=True)] == [part[-length:] for part in lists[begin:]]


def test_numbers_of_items_that_are_in_no_catalogue() -> None:
    assert numbers_of(pa.array([b"b", b"a"]), pa.array([b"a", b"c", b"b"])).tolist() == [1, -1, 0]


def _loans(seed: int) -> str:
    dice = random.Random(seed)
    lines = ["reader,book,day"]
    for _ in range(1200):
        reader = dice.choice(["", *(f"r{n}" for n in range(60))]) if dice.random() < 0.02 else f"r{min(int(dice.expovariate(0.05)), 59)}"
        lines.append(f"{reader},b{int(dice.expovariate(0.1))},{dice.choice(['', *range(100, 130)])}")
    return "\n".join(lines) + "\n"


def _interactions(spec: FeatureSpec, files: Path, staging: Path) -> tuple[list[tuple[str, str, int]], list[int]]:
    """Returns the rows in file order, and the splits that the first stage gave them."""
    staging.mkdir()
    job = Job(spec, staging, ("--direct_num_workers=1",), show_progress=False)
    job.ingest([str(files)])
    by_key: dict[tuple[str, str, int], list[int]] = {}
    for shard in job.shards:
        for batch in read_batches(shard["path"]):
            for user, item, time, split in zip(*(batch.column(n).to_pylist() for n in ("_user", "_item", "_time", "_split")), strict=True):
                by_key.setdefault((user.decode(), item.decode(), time), []).append(split)
    lines = [line.split(",") for line in (files / "loans.csv").read_text().splitlines()[1:]]
    rows = [(user, item, int(day or -1)) for user, item, day in lines if user and item]
    # A user's rows keep their order, so rows that are equal have their splits in file order.
    return rows, [by_key[row].pop(0) for row in rows]


SPLITS = [
    "{type: leave_last_out, min_rows: 4}",
    "{type: temporal, fractions: [0.6, 0.2, 0.2]}",
    "{type: within_user, fractions: [0.5, 0.25, 0.25]}",
    "{type: random, fractions: [0.6, 0.2, 0.2]}",
    "{type: files, train: 'loans*', valid_last: true}",
]


@pytest.mark.parametrize("split", SPLITS)
def test_the_job_against_loops(split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raw").mkdir()
    inputs = write_library(tmp_path / "raw", _loans(1))
    spec = FeatureSpec.from_yaml(SPEC.replace(LEAVE_LAST_OUT, f"split: {split}"))
    rows, splits = _interactions(spec, tmp_path / "raw", tmp_path / "staging")
    if "valid_last" in split:
        assert _last_of_users(rows) == [place for place, number in enumerate(splits) if number]
    monkeypatch.setattr(text, "RANGE_BYTES", 4000)
    data = build(spec, tmp_path / "data", inputs, show_progress=False, max_rejected_fraction=0.5)
    assert len(data.shards("train")) > 2
    catalogue, wanted = expected(rows, splits)
    items = pq.read_table(data.items)
    assert list(zip(items["_item"].to_pylist(), items["_count"].to_pylist(), strict=True)) == [(k.encode(), n) for k, n in catalogue]
    assert by_user(data, "train", "_items") == {user: "".join(seen) for user, seen in wanted[0].items()}
    for number, name in ((1, "valid"), (2, "test")):
        received = by_user(data, name, "_items", "_targets")
        assert received == {user: tuple(map("".join, lists)) for user, lists in wanted[number].items()}
    assert data.statistics["interactions"] == {name: splits.count(number) for number, name in enumerate(("train", "valid", "test"))}
    assert data.statistics["users"] == len({user for user, _, _ in rows})


def _last_of_users(rows: list[tuple[str, str, int]]) -> list[int]:
    found = []
    for user in {user for user, _, _ in rows}:
        own = sorted((time, place) for place, (other, _, time) in enumerate(rows) if other == user)
        found += [own[-1][1]] * (len(own) >= 2)
    return sorted(found)


def _files(data: DataDirectory) -> dict[str, bytes]:
    names = (*data.success["shards"], "statistics.json", "sample.parquet")
    return {name: (data.path / name).read_bytes() for name in names}


def test_it_is_the_same_wherever_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raw").mkdir()
    inputs = write_library(tmp_path / "raw", _loans(2))
    spec = FeatureSpec.from_yaml(SPEC)
    make: Callable[..., DataDirectory] = partial(build, spec, inputs=inputs, show_progress=False, max_rejected_fraction=0.5)
    monkeypatch.setattr(text, "RANGE_BYTES", 6000)
    alone = make(tmp_path / "alone", beam_args=("--direct_num_workers=1",))
    workers = make(tmp_path / "workers", beam_args=("--direct_num_workers=2",))
    assert _files(workers) == _files(alone)
    assert workers.digest == alone.digest
    monkeypatch.setattr("preprocessing.job.choose", lambda _, options, staging, show: OnBeam(options, staging, show))
    beam = make(tmp_path / "beam", beam_args=("--runner=DirectRunner",))
    assert _files(beam) == _files(alone)


def test_row_groups_are_small(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    loans = "reader,book,day\n" + "".join(f"r{n},b{n % 7},{n}\n" for n in range(20_000))
    inputs = write_library(tmp_path / "raw", loans)
    spec = FeatureSpec.from_yaml(SPEC.replace(LEAVE_LAST_OUT, "split: {fractions: [1, 0, 0]}"))
    data = build(spec, tmp_path / "data", inputs, show_progress=False)
    groups = [pq.ParquetFile(path).metadata for path in data.shards("train")]
    sizes = [metadata.row_group(i).num_rows for metadata in groups for i in range(metadata.num_row_groups)]
    assert (sum(sizes), max(sizes)) == (20_000, 8192)
    assert np.all(np.array(sizes) > 0)
