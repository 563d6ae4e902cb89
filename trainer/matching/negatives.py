"""Negatives to be ranked against: for each user N distinct items, uniform over those that are not excluded.

With a user's excluded items sorted, s(0) < s(1) < ..., there are s(k) - k free items before s(k), so the free item of rank r is r plus the
number of k with s(k) - k <= r. The ranks 0 .. N - 1, taken through a permutation of the user's own, are N distinct draws: exact, and none
is ever thrown away, however much a user has seen. They depend on the seed, the user's row and what is excluded for the user, so that
every epoch and every model is measured against the same ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.data import Lists

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ROUNDS = 6


def draw(excluded: Lists, rows: NDArray, num_items: int, count: int, seed: int) -> NDArray[np.int64]:
    """Returns `count` items for each user, `[B, count]`; -1 at the end of rows of users who have fewer that are free.

    Args:
        excluded: Item numbers that are not drawn, ascending and distinct in each of the B lists, which lie one after the other.
        rows: A number of each user's own, `[B]`.
        num_items: Items are the numbers below it.
        count: N.
        seed: Another one, other items.
    """
    free = num_items - excluded.lengths
    drawn = np.minimum(free, count)
    place = np.broadcast_to(np.arange(count), (len(rows), count))
    is_drawn = place < drawn[:, None]
    users = np.repeat(np.arange(len(rows)), drawn)
    rank = _permuted(place[is_drawn], free[users], _mixed(rows.astype(np.uint64) ^ _mixed(np.array([seed % 2**64], np.uint64)))[users])
    # One ascending array for all users: each user's numbers lie in a stretch of its own.
    stretch = num_items + 1
    owners = np.repeat(np.arange(len(rows)), excluded.lengths)
    free_before = excluded.values - (np.arange(len(owners)) - excluded.starts[owners])
    passed = np.searchsorted(owners * stretch + free_before, users * stretch + rank, side="right") - excluded.starts[users]
    items = np.full((len(rows), count), -1, np.int64)
    items[is_drawn] = rank + passed
    return items


def _permuted(places: NDArray, sizes: NDArray, keys: NDArray) -> NDArray[np.int64]:
    """Returns where a permutation of 0 .. size - 1, its own for each key, takes each place, `[M]`.

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
            key = _mixed(keys[left] + np.uint64(turn))
            high_part, low_part = low_part, high_part ^ (_mixed(key ^ low_part) & low)
        permuted[left] = high_part << shift | low_part
        left = left[permuted[left] >= sizes[left].astype(np.uint64)]
    return permuted.astype(np.int64)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele et al., "Fast splittable pseudorandom number generators", OOPSLA 2014)."""
    values = values + _GOLDEN
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
