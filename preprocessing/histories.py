"""Histories: for each row, what its user did strictly earlier, in the training split.

Rows of one user and one time never see each other; among earlier rows the order is time, then file. No row passes through Python: rows and
events are ranked by (user, time), and each history is a half-open range of the sorted events. The lists themselves are made for a batch of
rows at a time, for they are many times as big as the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from feature_specs import FeatureSpec
from feature_specs.features import SequenceFeature
from preprocessing.sources.casting import is_missing
from preprocessing.users import Users


@dataclass(frozen=True)
class Visible:
    """The events that each row sees: `events[end - length : end]`.

    Attributes:
        events: Rows that are events, by user, time and file, int64 [E].
        ends: int64 [N].
        lengths: int64 [N].
    """

    events: np.ndarray
    ends: np.ndarray
    lengths: np.ndarray

    def of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the events that `rows` [M] see, one row's after the other's, and their offsets, int32 [M + 1]."""
        ends, lengths = self.ends[rows], self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        # Gathers all ranges at once: for each, its begin plus 0, 1, 2, ...
        places = np.repeat(ends - lengths - offsets[:-1], lengths) + np.arange(offsets[-1])
        return self.events[places], offsets.astype(np.int32)


class Timeline:
    """Rows in order of user and time; found once for all histories."""

    def __init__(self, users: np.ndarray, times: np.ndarray, known: np.ndarray) -> None:
        """Takes the code of the user and the time, int64 [N], and where both are known, bool [N]; the other rows see nothing."""
        self._known = known
        self._order = order = np.lexsort((times, users))  # stable, so that ties stay in file order
        # A moment is one user's one time: rows of the same moment never see each other.
        new_user = np.diff(users[order], prepend=-1) != 0
        new_moment = new_user | (np.diff(times[order], prepend=0) != 0)
        self._moment = np.empty(len(users), np.int64)
        self._moment[order] = np.cumsum(new_moment)
        # Number of the first moment of the row's user.
        self._first_moment = np.empty(len(users), np.int64)
        self._first_moment[order] = np.maximum.accumulate(np.where(new_user, np.cumsum(new_moment), 0))

    def visible(self, usable: np.ndarray, max_length: int) -> Visible:
        """Returns what each row sees: the last `max_length` of the rows that are `usable`, bool [N], and known."""
        # Events ascend by moment, so each history is the range from its user's first event to the row's own moment.
        events = self._order[(usable & self._known)[self._order]]
        end = np.searchsorted(self._moment[events], self._moment, side="left")
        begin = np.maximum(np.searchsorted(self._moment[events], self._first_moment, side="left"), end - max_length)
        return Visible(events, end, np.where(self._known, end - begin, 0))


class Histories:
    """The histories of a spec, for rows that hold every row of their users."""

    def __init__(self, spec: FeatureSpec, rows: pa.Table, users: Users) -> None:
        """Takes raw examples [N] in file order, with `_split` and the features whose histories are wanted."""
        self._features = spec.histories
        self._times = users.times
        self._values = {name: rows[name].combine_chunks() for name in sources(spec)}
        train = rows["_split"].to_numpy() == 0
        timeline = Timeline(users.codes, users.times, users.timed) if self._features else None
        # Time gaps go with the first history of tokens, or else the first of numbers: where its value is missing, there is no event.
        leading = sorted((f for f in self._features if f.history_of is not None), key=lambda f: not isinstance(f, SequenceFeature))
        self._visible: list[Visible] = []
        for feature in self._features:
            source = feature.history_of or (leading[0].history_of if leading else None)
            usable = train if source is None else train & ~is_missing(self._values[source])
            if timeline is not None:
                self._visible.append(timeline.visible(usable, feature.max_length))

    def of(self, rows: np.ndarray) -> dict[str, pa.ListArray]:
        """Returns the histories of `rows` [M], by feature, the most recent event last."""
        lists = {}
        for feature, visible in zip(self._features, self._visible, strict=True):
            events, offsets = visible.of(rows)
            if feature.history_of is None:
                now = np.repeat(self._times[rows], np.diff(offsets))
                values = pa.array((now - self._times[events]).astype(np.float32))
            else:
                values = self._values[feature.history_of].take(pa.array(events))
            lists[feature.name] = pa.ListArray.from_arrays(pa.array(offsets), values)
        return lists


def sources(spec: FeatureSpec) -> list[str]:
    """Returns the names of the features whose histories are wanted, each once."""
    return list(dict.fromkeys(feature.history_of for feature in spec.histories if feature.history_of is not None))
