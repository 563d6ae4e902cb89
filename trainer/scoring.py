"""Scores batches with a model, many a call into the graph: no Python and no tracing between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs.errors import ColonnadeError
from trainer.models.base import MatchingModel, RankingModel

# Few, so that what is read ahead and Ctrl-C have their turn; many enough that a call costs nothing beside them.
_BATCHES_A_CALL = 32


class Batches(Protocol):
    """What can be scored."""

    def dataset(self) -> tf.data.Dataset:
        """Returns batches `(features, label)` or `(features, label, weight)`."""

    def errors_of_reading(self) -> AbstractContextManager[None]:
        """Inside, errors of reading are clear."""


class Scores(NamedTuple):
    """What a model says of N rows.

    Attributes:
        logits: `[N]` float32.
        labels: `[N]` float32.
        part_shares: Mean absolute value of each part, over the sum of these means.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.float32]
    part_shares: dict[str, float]


class _Scored(NamedTuple):
    """What one call has scored.

    Attributes:
        logits: Of all rows, `[n]`.
        labels: Of all rows, `[n]`.
        rows: Of each batch, `[b]`.
        sizes: Of each part of each batch, one batch after the other, `[b P]`: the sum of its absolute values.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.float32]
    rows: NDArray[np.int32]
    sizes: NDArray[np.float32]


class Scorer:
    """Scores with dropout off.

    Args:
        model: Of pairs, built.
    """

    def __init__(self, model: RankingModel | MatchingModel) -> None:
        self.model = model
        self._names: tuple[str, ...] = ()

    def score(self, data: Batches, max_batches: int = -1) -> Scores:
        """Returns the logits of all rows of `data` (of the first `max_batches` batches), in its order.

        Raises:
            ColonnadeError: There is no batch.
        """
        done = list(self._calls(data, max_batches))
        if not done:
            raise ColonnadeError("The data to be scored has no batch. Check its files and filters.")
        logits, labels, _, sizes = (np.concatenate(arrays) for arrays in zip(*done, strict=True))
        sums = sizes.reshape(-1, len(self._names)).sum(axis=0, dtype=np.float64)
        shares = sums / (sums.sum() or 1.0)
        return Scores(logits, labels, dict(zip(self._names, shares.tolist(), strict=True)))

    def logits(self, data: Batches) -> Iterator[NDArray[np.float32]]:
        """Yields the logits of each batch."""
        for each in self._calls(data):
            yield from np.split(each.logits, np.cumsum(each.rows)[:-1])

    def _calls(self, data: Batches, max_batches: int = -1) -> Iterator[_Scored]:
        """Yields what each call into the graph gives."""
        with data.errors_of_reading():
            iterator = iter(data.dataset().take(max_batches))
            is_more = True
            while is_more:
                scored = _Scored(*(tensor.numpy() for tensor in self._score_some(iterator, tf.constant(_BATCHES_A_CALL))))
                is_more = len(scored.rows) == _BATCHES_A_CALL
                if len(scored.rows):
                    yield scored

    @tf.function(reduce_retracing=True)
    def _score_some(self, iterator: Any, batches: tf.Tensor) -> tuple[tf.Tensor, ...]:  # noqa: ANN401 (of a dataset)
        """Returns the fields of `_Scored` for the next batches; there are fewer where `iterator` ends."""
        logits, labels, sizes = _array(tf.float32, [None]), _array(tf.float32, [None]), _array(tf.float32, [None])
        rows = _array(tf.int32, [])
        for number in tf.range(batches):
            following = iterator.get_next_as_optional()
            if following.has_value():
                features, label, *_ = following.get_value()
                scores, parts = self._scored(features)
                logits, labels = logits.write(number, scores), labels.write(number, label)
                rows, sizes = rows.write(number, tf.size(label)), sizes.write(number, parts)
        return logits.concat(), labels.concat(), rows.stack(), sizes.concat()

    def _scored(self, features: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the logits `[B]`, and the sum of the absolute values of each part, `[P]`."""
        parts = self.model.scored_parts(features)
        self._names = tuple(parts)
        return tf.add_n(list(parts.values())), tf.stack([tf.reduce_sum(tf.abs(part)) for part in parts.values()])


def _array(dtype: tf.DType, shape: list[int | None]) -> tf.TensorArray:
    return tf.TensorArray(dtype, size=0, dynamic_size=True, infer_shape=False, element_shape=shape)
