"""Rows grouped by user, as arrays: no user passes through Python."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from preprocessing.hashing import hash_rows, mixed
from preprocessing.sources.casting import is_missing


@dataclass(frozen=True)
class Users:
    """Whose each row is, for rows in file order that hold every row of their users.

    Attributes:
        keys: Key of the user, binary [N].
        codes: Number of the user, int64 [N]; rows without a user share one.
        known: Rows that have a user, bool [N].
        times: int64 [N]; -1 where missing.
    """

    keys: pa.Array
    codes: np.ndarray
    known: np.ndarray
    times: np.ndarray

    @classmethod
    def of(cls, rows: pa.Table) -> Users:
        """Takes `_user` and `_time` of raw examples [N]; where one is not there, it is missing in every row."""
        keys = rows["_user"].combine_chunks() if "_user" in rows.column_names else pa.array([b""] * len(rows), pa.binary())
        times = rows["_time"].to_numpy() if "_time" in rows.column_names else np.full(len(rows), -1)
        codes = pc.dictionary_encode(keys).indices.to_numpy().astype(np.int64)
        return cls(keys, codes, ~is_missing(keys), times)

    @property
    def timed(self) -> np.ndarray:
        """Rows that have a user and a time, bool [N]."""
        return self.known & (self.times != -1)

    def draws(self, seed: int) -> np.ndarray:
        """Returns a random number a row, uint64 [N], that depends on the row's user, its place among this user's rows, and the seed."""
        return mixed(hash_rows([self.keys], seed) + mixed(places_within(self.codes).astype(np.uint64)))


def places_within(codes: np.ndarray) -> np.ndarray:
    """Returns the place of each value of int64 [N], which are not negative, among those equal to it, int64 [N]."""
    places = np.empty(len(codes), np.int64)
    order = np.argsort(codes, kind="stable")
    lengths = run_lengths(codes[order])
    places[order] = np.arange(len(order)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return places


def run_lengths(ordered: np.ndarray) -> np.ndarray:
    """Returns the length of each run of equal values in int64 [N], which are not negative."""
    return np.diff(np.flatnonzero(np.diff(ordered, prepend=-1, append=-1)))


def distinct(values: np.ndarray) -> np.ndarray:
    """Returns each value of int64 [N] once, ascending. NumPy's own `unique` hashes, which takes a hundred times as long for such keys."""
    ordered = np.sort(values)
    return ordered[np.diff(ordered, prepend=ordered[:1] - 1) != 0]
