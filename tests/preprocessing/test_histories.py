"""Histories against a brute-force loop."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_specs import FeatureSpec
from preprocessing.histories import add_histories, history

ROW = st.tuples(st.integers(0, 3), st.integers(-2, 3), st.booleans(), st.booleans(), st.integers(0, 9))


@settings(max_examples=300, deadline=None)
@given(rows=st.lists(ROW, max_size=25), max_length=st.integers(1, 4))
def test_history_equals_a_double_loop(rows: list[tuple[int, int, bool, bool, int]], max_length: int) -> None:
    users, times, known, train, items = (np.array(column) for column in zip(*rows, strict=True)) if rows else [np.zeros(0, int)] * 5
    known, usable = known.astype(bool), known.astype(bool) & train.astype(bool)
    expected = []
    for i in range(len(rows)):
        seen = [j for j in range(len(rows)) if usable[j] and known[i] and users[j] == users[i] and times[j] < times[i]]
        seen.sort(key=lambda j: (times[j], j))
        expected.append([int(items[j]) for j in seen[-max_length:]])
    actual = history(users.astype(np.int64), times.astype(np.int64), known, usable, pa.array(items.astype(np.int64)), max_length)
    assert actual.to_pylist() == expected


def test_a_history_holds_no_missing_user_time_or_item_and_no_other_split() -> None:
    spec = FeatureSpec.from_yaml(
        """
        name: s
        features:
        - {kind: categorical, name: item, encoding: {type: hash, num_buckets: 5}}
        - {kind: sequence, name: past, history_of: item, table: item, max_length: 9}
        label: {column: y}
        keys: {user: u, time: t}
        """
    )
    rows = [  # user, time, item, split
        (b"a", 5, b"late", 0),
        (b"a", 1, b"first", 0),
        (b"a", 1, b"tie", 0),
        (b"a", 2, b"", 0),
        (b"a", 3, b"validation", 1),
        (b"a", -1, b"timeless", 0),
        (b"", 4, b"userless", 0),
        (b"", 5, b"userless too", 0),
        (b"b", 9, b"other", 0),
        (b"a", 5, b"late tie", 2),
    ]
    users, times, items, splits = zip(*rows, strict=True)
    table = pa.table({"item": list(items), "_user": list(users), "_time": list(times), "_split": pa.array(splits, pa.int8())})
    assert add_histories(spec, table)["past"].to_pylist() == [
        [b"first", b"tie"],
        [],
        [],
        [b"first", b"tie"],
        [b"first", b"tie"],
        [],
        [],
        [],
        [],
        [b"first", b"tie"],
    ]
