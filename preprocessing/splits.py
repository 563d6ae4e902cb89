"""Which rows are for training, validation and test: 0, 1 and 2.

Some splits a row knows by itself (`of_rows`: a hash of its values, its file, its time), others take all rows of its user (`of_users`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np
import pyarrow as pa

from feature_specs import ColonnadeError, FilesSplit, LeaveLastOutSplit, RandomSplit, TemporalSplit, WithinUserSplit
from feature_specs.splits import Fractions, Split
from preprocessing.hashing import hash_rows
from preprocessing.users import Users, run_lengths

TRAIN, VALID, TEST = range(3)
_COMPRESSED = (".gz", ".bz2", ".xz")


def of_rows(split: Split, hashed: Sequence[pa.Array], times: np.ndarray | None, path: str) -> np.ndarray | None:
    """Returns the split of each row, int8 [N], or None where it depends on other rows.

    Args:
        split: What the spec says.
        hashed: The columns [N] to hash.
        times: int64 [N], -1 where missing; None where the spec names no time.
        path: The file of the rows.
    """
    match split:
        case RandomSplit():
            return by_hash(hashed, split.fractions, split.seed)
        case FilesSplit():
            place = of_file(split, path)
            if place == TRAIN and hashes_whole_rows(split):
                return by_hash(hashed, (1 - split.valid_fraction, split.valid_fraction, 0.0), split.seed)
            return np.full(len(hashed[0]), place, np.int8)
        case TemporalSplit(boundaries=(first, second)) if times is not None:
            return by_time(times, (first, second))
    return None


def of_users(split: Split, users: Users, boundaries: tuple[int, int]) -> np.ndarray:
    """Returns the split of each row, int8 [N], where `of_rows` cannot, of rows that hold every row of their users.

    Args:
        split: What the spec says.
        users: Whose the rows are.
        boundaries: Of a temporal split by quantiles, see `moments`.
    """
    match split:
        case LeaveLastOutSplit():
            return leave_last_out(users, split.min_rows)
        case WithinUserSplit():
            return within_user(users, split)
    return by_time(users.times, boundaries)


def needs_users(split: Split) -> bool:
    """Whether a row's split takes all rows of its user."""
    return isinstance(split, LeaveLastOutSplit | WithinUserSplit)


def needs_quantiles(split: Split) -> bool:
    """Whether a row's split takes the times of all rows."""
    return isinstance(split, TemporalSplit) and split.boundaries is None


def hashes_whole_rows(split: Split) -> bool:
    """Whether every column of a row takes part in its split."""
    if isinstance(split, FilesSplit):
        return split.valid is None and split.valid_fraction > 0
    return isinstance(split, RandomSplit) and not split.by


def by_hash(columns: Sequence[pa.Array], fractions: Fractions, seed: int) -> np.ndarray:
    """Splits by a hash of the columns: adding rows moves none."""
    if fractions[TRAIN] == 1:
        return np.zeros(len(columns[0]), np.int8)
    share = (hash_rows(columns, seed) >> np.uint64(11)).astype(np.float64) / 2.0**53
    return np.digitize(share, np.cumsum(fractions)[:2]).astype(np.int8)


def by_time(times: np.ndarray, boundaries: tuple[int, int]) -> np.ndarray:
    """Splits at two moments: before the first train, at or after the second test; rows without a time train."""
    places = (times >= boundaries[0]).astype(np.int8) + (times >= boundaries[1])
    return np.where(times == -1, TRAIN, places).astype(np.int8)


def of_file(split: FilesSplit, path: str) -> int:
    """Returns the split of a file; of several patterns that match, that of test is taken, then that of validation.

    Raises:
        ColonnadeError: No pattern matches.
    """
    base = posixpath.basename(path)
    names = {base, *(base.removesuffix(ending) for ending in _COMPRESSED)}
    patterns = {TEST: split.test, VALID: split.valid, TRAIN: split.train}
    for place, pattern in patterns.items():
        if pattern is not None and any(fnmatchcase(name, pattern) for name in names):
            return place
    given = ", ".join(repr(pattern) for pattern in reversed(patterns.values()) if pattern is not None)
    raise ColonnadeError(
        f"Input {path!r} is in no split: its name matches none of {given}. Name it in `split`, or leave it out of --input."
    )


def last_training_row(users: Users, splits: np.ndarray) -> np.ndarray:
    """Has the last training row of each user, by time, then file, validate; of users with two or more. Takes and returns int8 [N]."""
    rows = np.flatnonzero(users.known & (splits == TRAIN))
    ordered = rows[np.lexsort((users.times[rows], users.codes[rows]))]
    lengths = run_lengths(users.codes[ordered])
    last = (np.cumsum(lengths) - 1)[lengths >= 2]
    changed = splits.copy()
    changed[ordered[last]] = VALID
    return changed


def leave_last_out(users: Users, min_rows: int) -> np.ndarray:
    """Of each user with `min_rows` rows, the last by time, then file, is for test, the one before for validation."""
    rows = np.flatnonzero(users.timed)
    # Stable: equal times stay in file order.
    ordered = rows[np.lexsort((users.times[rows], users.codes[rows]))]
    lengths = run_lengths(users.codes[ordered])
    last = (np.cumsum(lengths) - 1)[lengths >= min_rows]
    splits = np.zeros(len(users.codes), np.int8)
    splits[ordered[last]], splits[ordered[last - 1]] = TEST, VALID
    return splits


def within_user(users: Users, split: WithinUserSplit) -> np.ndarray:
    """Shuffles the rows of each user; the first round(n * share) validate, the next are for test. Rows without a user train."""
    rows = np.flatnonzero(users.known)
    ordered = rows[np.lexsort((users.draws(split.seed)[rows], users.codes[rows]))]
    lengths = run_lengths(users.codes[ordered])
    place = np.arange(len(ordered)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    # Half to even, as Python rounds. Shares below 1 in all leave counts that fit.
    valid, test = (np.rint(lengths * share).astype(np.int64) for share in split.fractions[1:])
    splits = np.zeros(len(users.codes), np.int8)
    splits[ordered] = np.select([place < np.repeat(valid, lengths), place < np.repeat(valid + test, lengths)], [VALID, TEST], TRAIN)
    return splits
