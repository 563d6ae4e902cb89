"""Histories against a brute-force loop."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_specs import FeatureSpec
from preprocessing.histories import Histories, Timeline
from preprocessing.users import Users

ROW = st.tuples(st.integers(0, 3), st.integers(-2, 3), st.booleans(), st.booleans())
SPEC = FeatureSpec.from_yaml(
    """
    name: s
    features:
    - {kind: categorical, name: item, encoding: {type: hash, num_buckets: 5}}
    - {kind: numeric, name: price}
    - {kind: numeric_sequence, name: prices, history_of: price, max_length: 9}
    - {kind: sequence, name: past, history_of: item, table: item, max_length: 3}
    - {kind: numeric_sequence, name: gaps, time_gaps: true, max_length: 3}
    label: {column: y}
    keys: {user: u, time: t}
    """
)


@settings(max_examples=300, deadline=None)
@given(rows=st.lists(ROW, max_size=25), max_length=st.integers(1, 4))
def test_history_equals_a_double_loop(rows: list[tuple[int, int, bool, bool]], max_length: int) -> None:
    users, times, known, train = (np.array(column) for column in zip(*rows, strict=True)) if rows else [np.zeros(0, int)] * 4
    known, usable = known.astype(bool), train.astype(bool)
    expected = []
    for i in range(len(rows)):
        seen = [j for j in range(len(rows)) if usable[j] and known[j] and known[i] and users[j] == users[i] and times[j] < times[i]]
        seen.sort(key=lambda j: (times[j], j))
        expected.append(seen[-max_length:])
    visible = Timeline(users.astype(np.int64), times.astype(np.int64), known).visible(usable, max_length)
    wanted = np.random.default_rng(0).permutation(len(rows))[: len(rows) // 2 + 1]
    events, offsets = visible.of(wanted)
    actual = [events[begin:end].tolist() for begin, end in zip(offsets, offsets[1:], strict=False)]
    assert actual == [expected[row] for row in wanted]


def _histories(rows: list[tuple[bytes, int, bytes, float, int]]) -> dict[str, list]:
    users, times, items, prices, splits = zip(*rows, strict=True)
    table = pa.table(
        {
            "item": list(items),
            "price": pa.array(prices, pa.float32()),
            "_user": list(users),
            "_time": list(times),
            "_split": pa.array(splits, pa.int8()),
        }
    )
    lists = Histories(SPEC, table, Users.of(table)).of(np.arange(len(rows)))
    return {name: array.to_pylist() for name, array in lists.items()}


def test_a_history_holds_no_missing_user_time_or_value_and_no_other_split() -> None:
    nan = float("nan")
    rows = [  # user, time, item, price, split
        (b"a", 5, b"late", 1.0, 0),
        (b"a", 1, b"first", 2.0, 0),
        (b"a", 1, b"tie", nan, 0),
        (b"a", 2, b"", 3.0, 0),
        (b"a", 3, b"validation", 4.0, 1),
        (b"a", -1, b"timeless", 5.0, 0),
        (b"", 4, b"userless", 6.0, 0),
        (b"", 5, b"userless too", 7.0, 0),
        (b"b", 9, b"other", 8.0, 0),
        (b"a", 5, b"late tie", 9.0, 2),
        (b"a", 8, b"last", 9.0, 0),
    ]
    received = _histories(rows)
    first = [b"first", b"tie"]
    assert received["past"] == [first, [], [], first, first, [], [], [], [], first, [b"first", b"tie", b"late"]]
    # An event without an item has a price, and one without a price an item.
    assert received["prices"] == [[2.0, 3.0], [], [], [2.0], [2.0, 3.0], [], [], [], [], [2.0, 3.0], [2.0, 3.0, 1.0]]
    # Gaps are those to the events of `past`, one by one.
    assert received["gaps"] == [[4.0, 4.0], [], [], [1.0, 1.0], [2.0, 2.0], [], [], [], [], [4.0, 4.0], [7.0, 7.0, 3.0]]


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from([b"", b"a", b"b"]),
            st.integers(-1, 6),
            st.sampled_from([b"", b"x", b"y"]),
            st.sampled_from([0.5, float("nan")]),
            st.integers(0, 2),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_gaps_are_aligned_with_tokens(rows: list[tuple[bytes, int, bytes, float, int]]) -> None:
    received = _histories(rows)
    for (_, time, *_), past, gaps in zip(rows, received["past"], received["gaps"], strict=True):
        assert len(past) == len(gaps)
        assert gaps == sorted(gaps, reverse=True)
        assert all(0 < gap <= time for gap in gaps)


def test_gaps_alone_go_by_all_earlier_rows() -> None:
    spec = FeatureSpec.from_yaml(
        """
        name: s
        features: [{kind: numeric_sequence, name: gaps, time_gaps: true, max_length: 2}]
        label: {column: y}
        keys: {user: u, time: t}
        """
    )
    times = [10, 20, 20, 50, 90]
    table = pa.table({"_user": [b"a"] * 5, "_time": times, "_split": pa.array([0, 0, 1, 0, 0], pa.int8())})
    assert Histories(spec, table, Users.of(table)).of(np.arange(5))["gaps"].to_pylist() == [[], [10.0], [10.0], [40.0, 30.0], [70.0, 40.0]]
