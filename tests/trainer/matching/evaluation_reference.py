"""Evaluation of matching as slow loops over users and items, and models that are small enough for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.data import Lists
from trainer.matching.catalogue import Catalogue
from trainer.matching.evaluation import EvaluationRows
from trainer.models.base import MatchingModel


def ranks_of(scores: Sequence[float], targets: Sequence[int], others: Sequence[int]) -> list[int]:
    """Ranks of targets among others, ascending, straight from the definition."""
    found = []
    ordered = sorted(targets, key=lambda t: (math.isnan(scores[t]), -scores[t]))
    for before, target in enumerate(ordered):
        found.append(1 + before + sum(1 for item in others if not scores[item] < scores[target]))
    return found


def metrics_of(ranks: Sequence[float], num_targets: int, k: int) -> dict[str, float]:
    """All metrics at one cutoff of one user."""
    hits = [rank for rank in ranks if rank <= k]
    ideal = sum(1 / math.log2(1 + place) for place in range(1, min(k, num_targets) + 1))
    return {
        f"hit_rate@{k}": float(bool(hits)),
        f"ndcg@{k}": sum(1 / math.log2(1 + rank) for rank in hits) / ideal,
        f"mrr@{k}": 1 / hits[0] if hits else 0.0,
        f"map@{k}": sum((place + 1) / rank for place, rank in enumerate(hits)) / min(k, num_targets),
        f"precision@{k}": len(hits) / k,
        f"recall@{k}": len(hits) / num_targets,
    }


def full_metrics(scores: np.ndarray, seen: list[list[int]], targets: list[list[int]], k: int) -> dict[str, float]:
    """Means over users who have targets; a target that was seen is never found."""
    users = []
    for row, own in enumerate(targets):
        if own:
            wanted = set(own)
            others = [item for item in range(scores.shape[1]) if item not in wanted | set(seen[row])]
            users.append(metrics_of(ranks_of(scores[row], list(wanted - set(seen[row])), others), len(wanted), k))
    return {name: float(np.mean([user[name] for user in users])) for name in users[0]}


def lists_of(values: Sequence[Sequence[int]]) -> Lists:
    """Lists of item numbers."""
    lengths = np.array([len(each) for each in values], np.int64)
    return Lists(np.array([item for each in values for item in each], np.int32), np.cumsum(lengths) - lengths, lengths)


def catalogue_of(counts: Sequence[int]) -> Catalogue:
    """Items whose one feature is their number."""
    return Catalogue(tuple(b"%d" % number for number in range(len(counts))), np.array(counts), {"item": np.arange(len(counts))}, "item")


def rows_of(seen: list[list[int]], targets: list[list[int]], candidates: list[list[int]] | None = None) -> EvaluationRows:
    """Users whose one feature is their number."""
    listed = None if candidates is None else lists_of(candidates)
    return EvaluationRows(lambda begin, end: {"user": np.arange(begin, end)}, lists_of(seen), lists_of(targets), listed)


class Vectors(MatchingModel):
    """Inner products of given vectors of users and items; dropout would show."""

    def __init__(self, users: np.ndarray, items: np.ndarray) -> None:
        super().__init__()
        self.users, self.items = tf.constant(users, tf.float32), tf.constant(items, tf.float32)
        self.dropout = keras.layers.Dropout(0.9)

    def query(self, features: Any, all_positions: bool = False) -> tf.Tensor:  # noqa: ARG002
        return self.dropout(tf.gather(self.users, features["user"]))

    def candidates(self, features: Any) -> tf.Tensor:
        return tf.gather(self.items, features["item"])


class Pairs(Vectors):
    """A layer on each pair, sum over j of relu(u(j) + i(j)) repeated `width` times, which remembers its largest tensor."""

    width = 5

    def __init__(self, users: np.ndarray, items: np.ndarray) -> None:
        super().__init__(users, items)
        self.largest = tf.Variable(0, trainable=False)

    def score(self, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        sums = tf.nn.relu(query[:, None] + (candidates if candidates.shape.rank == 3 else candidates[None]))
        wide = tf.repeat(sums, self.width, axis=2)
        self.largest.assign(tf.maximum(self.largest, tf.size(wide)))
        return tf.reduce_sum(wide, 2)


def table_model(scores: np.ndarray) -> Vectors:
    """A model that has just these scores, `[N, C]`."""
    return Vectors(scores, np.eye(scores.shape[1]))
