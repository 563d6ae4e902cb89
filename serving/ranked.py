"""Retrieved lists by brute force, from the live model and its transformed features: what an export's `retrieve` is held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs.spec import FeatureSpec
from serving.items import Items
from serving.retrieval import MatchingScorer, compiled, finite, index_of
from serving.sides import user_side
from serving.signatures import MISSING

_MOST_SCORES = 1 << 24
_MOST_NUMBERS = 1 << 26


class Compared(NamedTuple):
    """Served lists beside those by brute force.

    Attributes:
        item_ids: By how much the items listed score less, in the live model, than those that belong there, `[B]`; infinite where an item
            is unknown, listed twice or to be left out. Items of equal scores may change places.
        scores: The largest difference between a served score and the live one of the same item, `[B]`.
        wanted_ids: What belongs there, raw ids `[B, k]`.
        wanted_scores: And its scores, `[B, k]`.
    """

    item_ids: NDArray[np.float64]
    scores: NDArray[np.float64]
    wanted_ids: NDArray
    wanted_scores: NDArray[np.float32]


class BruteForce:
    """Scores of all items, sorted.

    Args:
        model: The live model.
        spec: Tells the sides apart.
        items: All of them.
    """

    def __init__(self, model: MatchingScorer, spec: FeatureSpec, items: Items) -> None:
        self._items, self._numbers = items, items.numbers()
        self._missing = MISSING[spec.item_feature.dtype] or b""
        vectors, geometry = index_of(model, spec, items.features)
        self._is_coarse = vectors.dtype != tf.float32
        self._at_once = max(1, _MOST_NUMBERS // (items.count * int(vectors.shape[1])))

        def scores(features: Mapping[str, tf.Tensor]) -> tf.Tensor:
            query = model.query(features)
            return finite(model.score(query if geometry == "other" else tf.cast(query, vectors.dtype), vectors))

        self._scores = compiled(user_side(spec), scores)

    @property
    def most_rows(self) -> int:
        """How many rows can be compared in reasonable time."""
        return max(1, _MOST_SCORES // self._items.count)

    def tolerance(self, wanted: float) -> float:
        """Returns how far lists may differ: in half precision the order of a sum shows in the third digit."""
        return max(wanted, 0.02) if self._is_coarse else wanted

    def compare(
        self, features: Mapping[str, tf.Tensor], seen: tf.RaggedTensor, served: Mapping[str, tf.Tensor], exclude_seen: bool = True
    ) -> Compared:
        """Compares the lists that an export gives.

        Args:
            features: Transformed, B rows.
            seen: The raw ids of each row's history, ragged `[B, None]`.
            served: `item_ids` and `scores`, `[B, k]`.
            exclude_seen: Whether the items seen were to be left out.
        """
        parts = []
        histories = seen.to_list()
        for start in range(0, len(histories), self._at_once):
            rows = slice(start, start + self._at_once)
            scores = self._scores({name: values[rows] for name, values in features.items()}).numpy()
            for row, history in enumerate(histories[rows] if exclude_seen else []):
                scores[row, [self._numbers[item] for item in history if item in self._numbers]] = -np.inf
            parts.append(self._compare(scores, served["item_ids"][rows].numpy(), served["scores"][rows].numpy()))
        return Compared(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    def _compare(self, scores: NDArray[np.float32], ids: NDArray, served: NDArray[np.float32]) -> Compared:
        count, k = scores.shape[1], ids.shape[1]
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        wanted = np.pad(np.take_along_axis(scores, order, axis=1), [(0, 0), (0, k - order.shape[1])], constant_values=-np.inf)
        padded = np.pad(order, [(0, 0), (0, k - order.shape[1])], constant_values=count)
        # Number C stands for padding, and for ids that are none.
        raw = np.append(self._items.raw_ids, [self._missing])
        wanted_ids = np.where(np.isneginf(wanted), raw[count], raw[padded])
        numbers = np.array([[self._numbers.get(item, count) for item in row] for row in ids.tolist()], np.int64).reshape(ids.shape)
        strange = (numbers == count) & (ids != self._missing)
        twice = np.array([len({*row[row < count].tolist()}) < np.sum(row < count) for row in numbers], bool)
        live = np.take_along_axis(np.pad(scores, [(0, 0), (0, 1)], constant_values=-np.inf), numbers, axis=1)
        item_ids = np.where(strange | twice[:, np.newaxis], np.inf, relative(wanted, live))
        return Compared(item_ids.max(axis=1, initial=0.0), relative(live, served).max(axis=1, initial=0.0), wanted_ids, wanted)


def relative(expected: NDArray, found: NDArray) -> NDArray[np.float64]:
    """Returns differences, of numbers above 1 relative to their size; infinite where one is no number and the other is another."""
    expected, found = expected.astype(np.float64), found.astype(np.float64)
    with np.errstate(invalid="ignore"):
        differences = np.abs(found - expected) / np.maximum(1.0, np.abs(np.where(np.isfinite(expected), expected, 1.0)))
    same = (expected == found) | (np.isnan(expected) & np.isnan(found))
    return np.where(same, 0.0, np.nan_to_num(differences, nan=np.inf))
