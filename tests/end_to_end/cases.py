"""What a feature is declared as, holds and has to become, and the ids of hashed and crossed values by TensorFlow's own ops."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf


class Case(NamedTuple):
    """A feature.

    Attributes:
        declared: As in a spec, without the name.
        cells: Its raw column, a row each, separated by commas; None where it has none.
        expected: By transformed column, the values of all rows.
        weights: A second raw column, in the same way.
    """

    declared: str
    cells: str | None
    expected: dict[str, list[Any]]
    weights: str | None = None


def hashed(token: str, buckets: int) -> int:
    """Returns the id of a hashed token."""
    return 1 + int(tf.strings.to_hash_bucket_fast(token, buckets)) if token else 0


def crosses(buckets: int, *columns: list[Any], hash_key: int | None = None) -> list[list[int]]:
    """Returns the ids of the crosses of lists of values, row by row, with the op of `tf.feature_column`."""
    rows = []
    for values in zip(*columns, strict=True):
        inputs = [tf.sparse.from_dense([value]) if value else tf.sparse.from_dense(np.zeros([1, 0], np.int64)) for value in values]
        # `from_dense` leaves zeros out.
        inputs = [tf.SparseTensor([[0, i] for i in range(len(v))], v, [1, len(v)]) if v else s for v, s in zip(values, inputs, strict=True)]
        rows.append((tf.sparse.cross_hashed(inputs, buckets, hash_key).values.numpy() + 1).tolist() if all(values) else [])
    return rows


def single(rows: list[list[int]]) -> list[int]:
    """Returns crosses of single values."""
    return [row[0] if row else 0 for row in rows]
