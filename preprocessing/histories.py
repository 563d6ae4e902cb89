"""Histories: for each row, what its user did strictly earlier, in the training split.

Rows of one user and one time never see each other; among earlier rows the order is time, then file. No row passes through Python: rows and
events are ranked by (user, time), and each history is a half-open range of the sorted events.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_specs import FeatureSpec
from preprocessing.sources.casting import is_missing


def add_histories(spec: FeatureSpec, table: pa.Table) -> pa.Table:
    """Adds the histories of the spec to raw examples that hold every row of their users.

    Args:
        spec: The data set.
        table: Raw examples [N] in file order with `_user`, `_time` and `_split`.
    """
    users = table["_user"].combine_chunks()
    times = table["_time"].to_numpy()
    train = table["_split"].to_numpy() == 0
    user_codes = pc.dictionary_encode(users).indices.to_numpy()
    known = ~is_missing(users) & (times != -1)
    for feature in spec.histories:
        values = table[str(feature.history_of)].combine_chunks()
        usable = known & train & ~is_missing(values)
        lists = history(user_codes, times, known, usable, values, feature.max_length)
        table = table.append_column(feature.name, lists)
    return table


def history(users: np.ndarray, times: np.ndarray, known: np.ndarray, usable: np.ndarray, values: pa.Array, max_length: int) -> pa.ListArray:
    """Returns the history of each row, most recent last.

    Args:
        users: Code of the user, integer [N].
        times: int64 [N].
        known: Rows whose user and time are known, bool [N]; the others have an empty history.
        usable: Rows whose value may stand in a history, bool [N]; a subset of `known`.
        values: The values [N], in file order.
        max_length: Keep the most recent ones.
    """
    order = np.lexsort((times, users))  # stable, so that ties stay in file order
    # A moment is one user's one time: rows of the same moment never see each other.
    new_user = np.diff(users[order], prepend=-1) != 0
    new_moment = new_user | (np.diff(times[order], prepend=0) != 0)
    moment = np.empty(len(users), np.int64)
    moment[order] = np.cumsum(new_moment)
    # Number of the first moment of the row's user.
    first_moment = np.empty(len(users), np.int64)
    first_moment[order] = np.maximum.accumulate(np.where(new_user, np.cumsum(new_moment), 0))

    # Events ascend by moment, so each history is the range from its user's first event to the row's own moment.
    events = order[usable[order]]
    end = np.searchsorted(moment[events], moment, side="left")
    begin = np.maximum(np.searchsorted(moment[events], first_moment, side="left"), end - max_length)
    lengths = np.where(known, end - begin, 0)
    # Gathers all ranges at once: for each, its begin plus 0, 1, 2, ...
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    taken = np.repeat(begin - offsets[:-1], lengths) + np.arange(offsets[-1])
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values.take(pa.array(events[taken])))
