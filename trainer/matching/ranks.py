"""Ranks of positives among negatives, and the metrics that are made of them.

A positive's rank is 1, plus the negatives whose score is not below its own, plus the positives before it: a tie, or a score that is no
number, counts against it, so that a model that scores everything alike gets the worst rank and not a lucky one.
Rows are users; they are B here, of the T positives that the one with most of them has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NEVER = np.iinfo(np.int64).max
METRICS = ("hit_rate", "ndcg", "mrr", "map", "precision", "recall")


def ranks(positives: NDArray, negatives: NDArray, is_positive: NDArray[np.bool_], is_negative: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Returns the ranks of each row's positives, ascending, `[B, T]`; `NEVER` where a row has fewer.

    Args:
        positives: Scores `[B, T]`.
        negatives: Scores `[B, N]`. Those that are not above any positive may be left out, and so may all but the best K where ranks
            beyond K are of no interest.
        is_positive: Which of the positives are there at all, `[B, T]`.
        is_negative: Which of the negatives are, `[B, N]`.
    """
    scores = np.where(np.isnan(positives), -np.inf, positives)
    order = np.lexsort((-scores, ~is_positive))
    there = np.take_along_axis(is_positive, order, 1)
    result = np.full(positives.shape, NEVER)
    # What is not below a number is NaN, too; nothing is below NaN.
    sorted_scores = np.take_along_axis(positives, order, 1)
    for place in range(positives.shape[1]):
        not_below = ~(negatives < sorted_scores[:, place, None]) & is_negative
        result[:, place] = np.where(there[:, place], 1 + place + not_below.sum(1), NEVER)
    return result


def user_metrics(ranks: NDArray[np.int64], num_targets: NDArray, cutoffs: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    """Returns each metric of each user, float64 `[B]`.

    With r(1) < r(2) < ... the ranks of a user's n targets, and h = the number of them up to K:

    - hit_rate@K: 1 if h > 0, else 0.
    - ndcg@K: sum of 1 / log2(1 + r) over ranks up to K, over the same of the ranks 1 .. min(K, n), the best there are (Jarvelin and
      Kekalainen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002, with gains 0 and 1).
    - mrr@K: 1 / r(1), or 0 beyond K.
    - map@K: sum of j / r(j) over ranks up to K, over min(K, n).
    - precision@K: h / K, also where there are fewer than K items to be ranked. recall@K: h / n.

    Args:
        ranks: `[B, T]`, ascending in each row, `NEVER` for what cannot be found and in places without a target.
        num_targets: n of each user, `[B]`, at least 1.
        cutoffs: All K.
    """
    places = ranks.astype(np.float64)
    gains, precisions = 1 / np.log2(1 + places), np.arange(1, ranks.shape[1] + 1) / places
    result: dict[str, NDArray[np.float64]] = {}
    for k in cutoffs:
        within = ranks <= k
        hits, best = within.sum(1), np.minimum(num_targets, k)
        ideal = np.cumsum(1 / np.log2(np.arange(2, best.max() + 2)))
        of_first = np.where(within[:, 0], 1 / places[:, 0], 0.0)
        values = {
            "hit_rate": (hits > 0).astype(np.float64),
            "ndcg": np.where(within, gains, 0.0).sum(1) / ideal[best - 1],
            "mrr": of_first,
            "map": np.where(within, precisions, 0.0).sum(1) / best,
            "precision": hits / k,
            "recall": hits / num_targets,
        }
        result |= {f"{name}@{k}": values[name] for name in METRICS}
    return result


def merged_lists(scores: NDArray, items: NDArray, is_item: NDArray[np.bool_], k: int) -> NDArray:
    """Returns the items of each row's k best scores, best first, `[B, k]`, -1 where there are fewer; of equals, the lower number first.

    Args:
        scores: `[B, M]`.
        items: Their numbers, `[B, M]`.
        is_item: Which of them are there at all, `[B, M]`.
        k: Length of the lists.
    """
    order = np.lexsort((items, -scores, ~is_item))[:, :k]
    lists = np.where(np.take_along_axis(is_item, order, 1), np.take_along_axis(items, order, 1), -1)
    return np.pad(lists, ((0, 0), (0, k - lists.shape[1])), constant_values=-1)


def list_metrics(lists: NDArray, counts: NDArray, cutoffs: Sequence[int]) -> dict[str, float]:
    """Returns what recommended lists are like, whoever likes them.

    - coverage@K: share of the catalogue that is in anybody's first K.
    - popularity@K: training interactions of the items in a user's first K, the mean over them and then over users (Yin et al.,
      "Challenging the Long Tail Recommendation", VLDB 2012; later known as average recommendation popularity).

    Args:
        lists: Item numbers, best first, `[B, K]` for the largest K; -1 where a user has fewer.
        counts: Training interactions of each item, `[C]`.
        cutoffs: All K.
    """
    there = lists >= 0
    popularity = np.where(there, counts[lists], 0)
    result = {}
    for k in cutoffs:
        sizes = there[:, :k].sum(1)
        means = popularity[:, :k].sum(1)[sizes > 0] / sizes[sizes > 0]
        covered = np.bincount(lists[:, :k][there[:, :k]], minlength=len(counts)) > 0
        result[f"coverage@{k}"] = float(covered.mean())
        result[f"popularity@{k}"] = float(means.mean()) if len(means) else float("nan")
    return result
