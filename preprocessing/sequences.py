"""The interactions of a shard as one row a user and split: what was seen before, and what came.

No user passes through Python: rows are sorted by user, time and place in the file, so that all lists are stretches of one array.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from preprocessing.catalogue import lists_of, numbers_of
from preprocessing.users import Users

# As in SPLITS: what is seen before a split are those with a smaller number.
TRAIN, VALID, TEST = range(3)


@dataclass(frozen=True)
class Sequences:
    """The interactions of a shard, by user, time and place in the file.

    Attributes:
        keys: Key of each row's user, in file order, binary [N].
        rows: Where the interactions stand in the file, int64 [N].
        users: Number of the user of each interaction, int64 [N], ascending.
        splits: int8 [N].
        items: Number of each item in the catalogue, int64 [N].
    """

    keys: pa.Array
    rows: np.ndarray
    users: np.ndarray
    splits: np.ndarray
    items: np.ndarray

    @classmethod
    def of(cls, rows: pa.Table, catalogue: pa.Array) -> Sequences:
        """Takes raw examples [N] in file order that hold every row of their users, and the keys of the catalogue."""
        users = Users.of(rows)
        # Stable: equal times stay in file order. Rows without a time, -1, come first.
        order = np.lexsort((users.times, users.codes))
        items = numbers_of(catalogue, rows["_item"].combine_chunks())
        splits = rows["_split"].to_numpy()
        return cls(users.keys, order, users.codes[order], splits[order], items[order])

    @property
    def num_users(self) -> int:
        """How many users there are."""
        return int(self.users.max(initial=-1)) + 1

    def of_split(self, split: int) -> pa.Table:
        """Returns one row a user with interactions in `split`, in order of the users' first rows.

        Returns:
            `_row`, the interaction that the columns of the user's side are of: for training the user's last, else the first target;
            `_user`; `_items`, item numbers: for training all of the split, else what earlier splits hold; and but for training
            `_targets`, the item numbers of the split.
        """
        target = self.splits == split
        counts = np.bincount(self.users[target], minlength=self.num_users)
        who = np.flatnonzero(counts)
        ends = np.cumsum(counts[who])
        rows = self.rows[target][ends - 1 if split == TRAIN else ends - counts[who]]
        targets = lists_of(self.items[target], counts[who])
        columns = {"_row": pa.array(rows), "_user": self.keys.take(pa.array(rows))}
        if split == TRAIN:
            return pa.table({**columns, "_items": targets})
        seen = (self.splits < split) & (counts[self.users] > 0)
        before = lists_of(self.items[seen], np.bincount(self.users[seen], minlength=self.num_users)[who])
        return pa.table({**columns, "_items": before, "_targets": targets})
