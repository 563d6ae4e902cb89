"""Sampled negatives: never an item that the user has, all others as often, the same again."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_specs import ColonnadeError, FeatureSpec, Negatives
from preprocessing import negatives
from preprocessing.negatives import all_items, distinct_items, sample
from preprocessing.users import Users

# User ("" is none), item (-1 is none) and whether the row is positive.
ROWS = st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.integers(-1, 5), st.booleans()), max_size=30)


def _users(names: list[str]) -> Users:
    return Users.of(pa.table({"_user": pa.array([name.encode() for name in names], pa.binary())}))


def _sample(rows: list[tuple[str, int, bool]], num_items: int, how: Negatives) -> tuple[list[int], list[int]]:
    names, items, positive = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    parents, drawn = sample(_users(names), np.array(items, np.int64), np.array(positive, bool), num_items, how)
    return parents.tolist(), drawn.tolist()


@given(rows=ROWS, num_items=st.integers(6, 8), per_positive=st.integers(1, 4), seed=st.integers(0, 3))
def test_never_an_item_of_the_user(rows: list[tuple[str, int, bool]], num_items: int, per_positive: int, seed: int) -> None:
    parents, drawn = _sample(rows, num_items, Negatives(per_positive=per_positive, seed=seed))
    has = {(user, item) for user, item, _ in rows}
    assert all((rows[parent][0], item) not in has and 0 <= item < num_items for parent, item in zip(parents, drawn, strict=True))
    full = {user for user, _, _ in rows if len({item for name, item in has if name == user and item >= 0}) == num_items}
    expected = [i for i, (user, _, positive) in enumerate(rows) if positive and user not in full | {""}]
    assert parents == [row for row in expected for _ in range(per_positive)]


@given(rows=ROWS, num_items=st.integers(6, 40), per_positive=st.integers(1, 9), seed=st.integers(0, 3))
def test_distinct_ones_come_once_until_they_run_out(
    rows: list[tuple[str, int, bool]], num_items: int, per_positive: int, seed: int
) -> None:
    parents, drawn = _sample(rows, num_items, Negatives(per_positive=per_positive, distinct=True, seed=seed))
    assert parents == sorted(parents)
    for name in "abc":
        theirs = [item for parent, item in zip(parents, drawn, strict=True) if rows[parent][0] == name]
        free = set(range(num_items)) - {item for user, item, _ in rows if user == name}
        positives = [row for row, (user, _, positive) in enumerate(rows) if user == name and positive]
        assert len(set(theirs)) == len(theirs) == min(len(free), per_positive * len(positives))
        assert set(theirs) <= free
        assert [parent for parent in parents if rows[parent][0] == name] == [p for p in positives for _ in range(per_positive)][
            : len(theirs)
        ]
    assert all(rows[parent][0] for parent in parents)


def test_distinct_ones_are_uniform_at_every_place_and_differ_by_user_and_seed() -> None:
    rows = [(f"u{user}", item, True) for user in range(4000) for item in (2, 7)]
    drawn = {}
    for seed in (0, 1):
        parents, items = _sample(rows, 10, Negatives(per_positive=2, distinct=True, seed=seed))
        assert parents == [row for row in range(8000) for _ in range(2)]
        drawn[seed] = np.array(items).reshape(4000, 4)
        for place in range(4):
            counts = np.bincount(drawn[seed][:, place], minlength=10)
            assert counts[2] == counts[7] == 0
            # The 99.9 % quantile of chi-square with 7 degrees of freedom is 24.3.
            assert (np.square(np.delete(counts, [2, 7]) - 500) / 500).sum() < 24.3
    # By chance one in 8 * 7 * 6 * 5 = 1,680 users has the same four.
    assert (drawn[0] == drawn[1]).all(axis=1).sum() < 12


def test_a_user_with_everything_gets_none_and_one_with_all_but_one_gets_that() -> None:
    rows = [("full", item, True) for item in range(4)] + [("almost", item, item != 1) for item in (3, 0, 1, 3)]
    parents, drawn = _sample(rows, 4, Negatives(per_positive=3))
    assert parents == [4, 4, 4, 5, 5, 5, 7, 7, 7]
    assert drawn == [2] * 9


def test_uniform_over_what_the_user_has_not() -> None:
    rows = [("a", item, True) for item in (0, 3, 4, 9)] * 500 + [("b", 5, True)] * 2000
    parents, drawn = (np.array(column) for column in _sample(rows, 10, Negatives(per_positive=6)))
    for user, free in ((parents < 2000, [1, 2, 5, 6, 7, 8]), (parents >= 2000, [0, 1, 2, 3, 4, 6, 7, 8, 9])):
        counts = np.bincount(drawn[user], minlength=10)
        assert counts.sum() == 12_000 == counts[free].sum()
        expected = 12_000 / len(free)
        # The 99.9 % quantile of chi-square with 8 degrees of freedom is 26.1, with 5 it is 20.5.
        assert (np.square(counts[free] - expected) / expected).sum() < 26.1
    # Copies of one row are independent of each other: each pair of the 6 x 6 free items of user a comes up alike.
    pairs = Counter(zip(drawn[parents < 2000][0::6], drawn[parents < 2000][1::6], strict=True))
    # 2,000 rows over 36 cells: 55.6 a cell; 99.9 % of chi-square with 35 degrees of freedom is 66.6.
    assert sum((pairs[i, j] - 2000 / 36) ** 2 / (2000 / 36) for i in (1, 2, 5, 6, 7, 8) for j in (1, 2, 5, 6, 7, 8)) < 66.6


@given(rows=ROWS)
def test_other_users_do_not_matter(rows: list[tuple[str, int, bool]]) -> None:
    two = Negatives(per_positive=2)
    parents, drawn = _sample(rows, 9, two)
    own = [i for i, (user, _, _) in enumerate(rows) if user == "a"]
    alone, theirs = _sample([rows[i] for i in own], 9, two)
    assert [(own[row], item) for row, item in zip(alone, theirs, strict=True)] == [
        (row, item) for row, item in zip(parents, drawn, strict=True) if rows[row][0] == "a"
    ]


def test_seeds_give_other_negatives() -> None:
    rows = [("a", 0, True)] * 100
    first, again, other = (_sample(rows, 1000, Negatives(per_positive=1, seed=seed))[1] for seed in (0, 0, 1))
    assert first == again
    assert sum(i == j for i, j in zip(first, other, strict=True)) < 5


def _items(keys: list[str], first: int) -> pa.Table:
    return pa.table({"_item": pa.array([key.encode() for key in keys], pa.binary()), "row": np.arange(first, first + len(keys))})


@given(keys=st.lists(st.sampled_from(["", "x", "y", "z", "w"]), max_size=20), cuts=st.lists(st.integers(0, 20), max_size=4))
def test_the_first_row_of_each_item_wherever_files_are_cut(keys: list[str], cuts: list[int]) -> None:
    bounds = [0, *sorted(min(cut, len(keys)) for cut in cuts), len(keys)]
    parts = [distinct_items(_items(keys[begin:end], begin)) for begin, end in zip(bounds, bounds[1:], strict=False)]
    merged = all_items(parts)
    assert merged is not None
    expected = {key: keys.index(key) for key in dict.fromkeys(keys) if key}
    assert dict(zip(merged["_item"].to_pylist(), merged["row"].to_pylist(), strict=True)) == {k.encode(): v for k, v in expected.items()}
    assert merged["row"].to_pylist() == sorted(expected.values())


def test_items_are_merged_in_between_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negatives, "_PENDING_ROWS", 3)
    merged = all_items(_items([f"i{n % 7}" for n in range(begin, begin + 5)], begin) for begin in range(0, 50, 5))
    assert merged is not None
    assert merged["row"].to_pylist() == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("resample", ["[user]", "[shop, at]"])
def test_a_negative_keeps_its_user_and_time(resample: str) -> None:
    with pytest.raises(ColonnadeError, match=r"negatives.resample names '(user|at)': a negative keeps its user and time\."):
        FeatureSpec.from_yaml(
            f"""
            name: s
            features: [{{kind: numeric, name: price}}]
            label: {{implicit: true}}
            keys: {{user: user, item: item, time: at}}
            negatives: {{per_positive: 1, resample: {resample}}}
            """
        )
