"""Splits: golden ones by hand, and what holds for any rows."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_specs import ColonnadeError, FilesSplit, LeaveLastOutSplit, RandomSplit, TemporalSplit, WithinUserSplit
from preprocessing.splits import by_time, of_file, of_rows, of_users
from preprocessing.users import Users

# User ("" is none) and time (-1 is none) of each row, in file order.
ROWS = st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.integers(-1, 4)), max_size=40)
T, V, E = 0, 1, 2


def _column(values: list[bytes]) -> pa.Array:
    return pa.array(values, pa.binary())


def _users(rows: list[tuple[str, int]]) -> Users:
    return Users.of(
        pa.table({"_user": _column([user.encode() for user, _ in rows]), "_time": pa.array([time for _, time in rows], pa.int64())})
    )


def _random(columns: list[pa.Array], split: RandomSplit) -> np.ndarray:
    splits = of_rows(split, columns, None, "rows.csv")
    assert splits is not None
    return splits


def _of_users(split: LeaveLastOutSplit | WithinUserSplit, rows: list[tuple[str, int]]) -> list[int]:
    return of_users(split, _users(rows), (0, 0)).tolist()


def test_random_shares_are_those_asked_for_and_seeds_are_independent() -> None:
    column = [_column([b"user %d" % i for i in range(100_000)])]
    first = _random(column, RandomSplit(fractions=(0.8, 0.1, 0.1)))
    np.testing.assert_allclose(np.bincount(first) / 1e5, [0.8, 0.1, 0.1], atol=0.005)
    second = _random(column, RandomSplit(fractions=(0.8, 0.1, 0.1), seed=1))
    # Independent draws agree with probability .8^2 + .1^2 + .1^2.
    assert abs((first == second).mean() - 0.66) < 0.01
    assert not np.any(_random(column, RandomSplit(fractions=(1.0, 0.0, 0.0))))


def test_no_rows() -> None:
    assert _random([_column([])], RandomSplit()).tolist() == []
    for split in (LeaveLastOutSplit(), WithinUserSplit()):
        assert _of_users(split, []) == []


def test_temporal_boundaries_belong_to_what_follows() -> None:
    times = np.array([9, 10, 19, 20, 21, -1, -5])
    # -1 is a missing time, which trains; -5 is five seconds before 1970.
    assert by_time(times, (10, 20)).tolist() == [T, V, V, E, E, T, T]
    split = TemporalSplit(boundaries=(10, 20))
    received = of_rows(split, [], times, "rows.csv")
    assert received is not None
    assert received.tolist() == [T, V, V, E, E, T, T]
    assert of_rows(TemporalSplit(), [], times, "rows.csv") is None


def test_leave_last_out_by_hand() -> None:
    rows = [
        ("a", 5),  # the last of a: of two rows of one time, the later in the file
        ("b", 1),
        ("a", 5),
        ("a", 1),
        ("b", 2),  # b has two rows with a time, fewer than three
        ("b", -1),
        ("", 9),
        ("c", 3),
        ("c", 2),
        ("c", 1),
        ("", 8),
        ("", 7),
    ]
    assert _of_users(LeaveLastOutSplit(), rows) == [V, T, E, T, T, T, T, E, V, T, T, T]
    assert _of_users(LeaveLastOutSplit(min_rows=4), rows) == [T] * 12


@given(rows=ROWS, min_rows=st.integers(3, 6))
def test_leave_last_out_equals_a_loop(rows: list[tuple[str, int]], min_rows: int) -> None:
    expected = [T] * len(rows)
    for user in {user for user, _ in rows} - {""}:
        own = sorted((time, i) for i, (name, time) in enumerate(rows) if name == user and time != -1)
        if len(own) >= min_rows:
            expected[own[-1][1]], expected[own[-2][1]] = E, V
    assert _of_users(LeaveLastOutSplit(min_rows=min_rows), rows) == expected


@given(rows=ROWS, seed=st.integers(0, 3), shares=st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.3, 0.2), (0.02, 0.49, 0.49), (0.6, 0.0, 0.4)]))
def test_within_user_counts_are_rounded_shares(rows: list[tuple[str, int]], seed: int, shares: tuple[float, float, float]) -> None:
    splits = _of_users(WithinUserSplit(fractions=shares, seed=seed), rows)
    for user in {user for user, _ in rows}:
        counts = Counter(split for split, (name, _) in zip(splits, rows, strict=True) if name == user)
        total = sum(counts.values())
        assert [counts[V], counts[E]] == ([round(total * share) for share in shares[1:]] if user else [0, 0])


@given(rows=ROWS, split=st.sampled_from([LeaveLastOutSplit(), WithinUserSplit(fractions=(0.4, 0.3, 0.3))]))
def test_other_users_do_not_matter(rows: list[tuple[str, int]], split: LeaveLastOutSplit | WithinUserSplit) -> None:
    splits = _of_users(split, rows)
    for user in ("a", "b"):
        own = [i for i, (name, _) in enumerate(rows) if name == user]
        assert _of_users(split, [rows[i] for i in own]) == [splits[i] for i in own]


def test_within_user_every_row_has_the_same_chance_and_seeds_differ() -> None:
    rows = [(f"u{i // 10}", i) for i in range(20_000)]
    first, second = (np.array(_of_users(WithinUserSplit(seed=seed), rows)).reshape(-1, 10) for seed in (0, 1))
    assert np.all((first == V).sum(1) == 1)
    # 2,000 users, one test row of ten each: 200 a place, standard deviation 13.4.
    np.testing.assert_allclose((first == E).sum(0), 200, atol=55)
    # The test rows of two seeds agree by chance in one of ten.
    assert abs((first.argmax(1) == second.argmax(1)).mean() - 0.1) < 0.03


def test_files() -> None:
    split = FilesSplit(train="*.csv", valid="dev-*", test="test.csv")
    paths = ["a/b/day1.csv", "x.csv.gz", "dev-1", "a/dev-1.csv", "test.csv", "test.csv.gz", "/c/test.csv.xz"]
    assert [of_file(split, path) for path in paths] == [T, T, V, V, E, E, E]
    with pytest.raises(
        ColonnadeError, match=r"'day1.tsv' is in no split: its name matches none of '\*.csv', 'dev-\*', 'test.csv'. Name it"
    ):
        of_file(split, "day1.tsv")
    column = [_column([b"%d" % i for i in range(10_000)])]
    some = of_rows(FilesSplit(train="a", test="b", valid_fraction=0.2), column, None, "a")
    assert some is not None
    assert abs((some == V).mean() - 0.2) < 0.02
    assert not np.any(some == E)
    tested = of_rows(FilesSplit(train="a", test="b", valid_fraction=0.2), column, None, "b")
    assert tested is not None
    assert np.all(tested == E)


@settings(max_examples=50)
@given(rows=ROWS)
def test_every_row_is_in_one_split(rows: list[tuple[str, int]]) -> None:
    for split in (LeaveLastOutSplit(), WithinUserSplit()):
        splits = _of_users(split, rows)
        assert len(splits) == len(rows)
        assert set(splits) <= {T, V, E}
