"""Linear regression of each item on all others, in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_USERS_AT_ONCE = 1024


def item_regression(users: NDArray, ids: NDArray, rows: int, l2: float) -> NDArray[np.float32]:
    """Returns B `[rows, rows]` with diag(B) = 0 that minimises |X - X B|^2 + l2 |B|^2, X[user, id] = 1 where they interacted.

    With P = (X^T X + l2 I)^-1 it is B_ij = -P_ij / P_jj: Steck, WWW 2019, equation 8. Solved in float64 over the ids that occur; those of
    others are 0.

    Args:
        users: Of each interaction, int `[N]`.
        ids: Of its item, int `[N]`; repeated interactions count once.
        rows: Number of ids.
        l2: Above 0.
    """
    seen, place = np.unique(ids, return_inverse=True)
    gram = _gram(np.unique(users, return_inverse=True)[1], place, len(seen))
    gram[np.diag_indices_from(gram)] += l2
    weights = np.linalg.inv(gram)
    weights /= -np.diag(weights)
    np.fill_diagonal(weights, 0.0)
    found = np.zeros((rows, rows), np.float32)
    found[np.ix_(seen, seen)] = weights
    return found


def _gram(users: NDArray, places: NDArray, count: int) -> NDArray[np.float64]:
    """Returns X^T X, of some users after the other: X is sparse, and a product of dense blocks is faster than one of sparse matrices."""
    gram = np.zeros((count, count))
    order = np.argsort(users, kind="stable")
    users, places = users[order], places[order]
    for first in range(0, int(users[-1]) + 1, _USERS_AT_ONCE):
        begin, end = np.searchsorted(users, [first, first + _USERS_AT_ONCE])
        block = np.zeros((_USERS_AT_ONCE, count), np.float32)
        block[users[begin:end] - first, places[begin:end]] = 1.0
        gram += block.T @ block  # whole numbers below 2^24, exact in float32
    return gram
