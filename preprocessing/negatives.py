"""Sampled negatives: for a positive row, items that its user has in no row.

A draw is one random number: the rank of the item among those that the user has not. With the user's items sorted, s(0) < s(1) < ..., there
are s(k) - k free items before s(k), so the free item of rank r is r plus the number of k with s(k) - k <= r: exact, uniform, and no draw is
ever thrown away, however many items the user has. A number depends on the user, the row's place among the user's rows and the seed alone.
Distinct negatives take the ranks in the order of a permutation of a user's own.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_specs import FeatureSpec, Negatives
from preprocessing.hashing import hash_rows, mixed
from preprocessing.sources.casting import is_missing
from preprocessing.users import Users, distinct, places_within

_PENDING_ROWS = 1 << 20
# Apart from the numbers that a split within each user draws with the same seed.
_SALT = 0x5EED
_ROUNDS = 6


def resampled(spec: FeatureSpec) -> tuple[str, ...]:
    """Returns the raw columns that follow the drawn item; the item's own is one of them."""
    if spec.negatives is None:
        return ()
    return tuple(dict.fromkeys([str(spec.keys.item), *spec.negatives.resample]))


def distinct_items(rows: pa.Table) -> pa.Table:
    """Returns the first row of each item, in order; rows without an item (`_item`) are left out."""
    items = rows["_item"].combine_chunks()
    _, first = np.unique(pc.dictionary_encode(items).indices.to_numpy(), return_index=True)
    first.sort()
    return rows.take(pa.array(first[~is_missing(items)[first]]))


def all_items(parts: Iterable[pa.Table]) -> pa.Table | None:
    """Returns the first row of each item of several tables, in their order; None where there are no tables."""
    merged: list[pa.Table] = []
    for part in parts:
        merged.append(part)
        # Often enough for little memory, seldom enough for little work.
        if sum(map(len, merged[1:])) > max(_PENDING_ROWS, len(merged[0])):
            merged = [distinct_items(pa.concat_tables(merged))]
    return distinct_items(pa.concat_tables(merged)).combine_chunks() if merged else None


def sample(users: Users, items: np.ndarray, positive: np.ndarray, num_items: int, negatives: Negatives) -> tuple[np.ndarray, np.ndarray]:
    """Draws negatives for rows that hold every row of their users.

    Args:
        users: Whose the rows are.
        items: Number of each row's item, int64 [N], -1 where it is missing.
        positive: Rows that get negatives, bool [N]; those without a user get none.
        num_items: How many items there are.
        negatives: How many for each row, whether an item may come twice for a user, and the seed.

    Returns:
        For each negative the row that it is made of, ascending, and the number of its item, both int64 [M]. A user who has every item gets
        none.
    """
    has = users.known & (items >= 0)
    owners, held = np.divmod(distinct(users.codes[has] * num_items + items[has]), max(num_items, 1))
    counts = np.bincount(owners, minlength=int(users.codes.max(initial=-1)) + 1)
    starts = np.cumsum(counts) - counts
    free_before = held - (np.arange(len(held)) - starts[owners])

    parents = np.repeat(np.flatnonzero(positive & users.known), negatives.per_positive)
    copies = np.tile(np.arange(negatives.per_positive), len(parents) // negatives.per_positive)
    free = num_items - counts[users.codes[parents]]
    if negatives.distinct:
        place = places_within(users.codes[parents])
        left = place < free
        parents, place, free = parents[left], place[left], free[left]
        rank = _permuted(place, free, hash_rows([users.keys], negatives.seed)[parents])
    else:
        parents, copies, free = parents[free > 0], copies[free > 0], free[free > 0]
        numbers = mixed(users.draws(negatives.seed)[parents] + mixed(copies.astype(np.uint64) + np.uint64(_SALT)))
        rank = (numbers % free.astype(np.uint64)).astype(np.int64)
    # One ascending array for all users: each user's numbers lie in a stretch of its own.
    stretch = num_items + 1
    user = users.codes[parents]
    passed = np.searchsorted(owners * stretch + free_before, user * stretch + rank, side="right") - starts[user]
    return parents, rank + passed


def _permuted(places: np.ndarray, sizes: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Returns where a permutation of 0 .. size - 1, its own for each key, takes each place, int64 [M].

    A Feistel network permutes the numbers of 2b bits, the least 2b that hold the size; a number beyond the size goes through it again until
    it is below (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002): less than four times on average.
    """
    bits = np.frexp((sizes - 1).astype(np.float64))[1]
    half = np.maximum((bits + 1) // 2, 1).astype(np.uint64)
    permuted, left = places.astype(np.uint64), np.arange(len(places))
    while len(left):
        shift, low = half[left], (np.uint64(1) << half[left]) - np.uint64(1)
        high_part, low_part = permuted[left] >> shift, permuted[left] & low
        for turn in range(_ROUNDS):
            salt = mixed(np.array([_SALT + turn], np.uint64))
            high_part, low_part = low_part, high_part ^ (mixed(mixed(keys[left] ^ salt) + low_part) & low)
        permuted[left] = high_part << shift | low_part
        left = left[permuted[left] >= sizes[left].astype(np.uint64)]
    return permuted.astype(np.int64)
