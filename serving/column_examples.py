"""Features as columns take them, as tf.Examples: rows to check an export with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from serving.column_signatures import ParsingSpec

_FIELDS = {"string": "bytes_list", "int64": "int64_list", "float32": "float_list"}


def to_examples(features: Mapping[str, Any], parsing_spec: ParsingSpec, rows: int) -> list[bytes]:
    """Returns the first rows of a batch as serialized tf.Examples; none where tf.Examples cannot hold them (several values a step)."""
    columns = {}
    for key, feature in parsing_spec.items():
        value = features[key]
        if isinstance(value, tf.RaggedTensor):
            value = value.to_sparse()
        if feature.dtype.name not in _FIELDS or (isinstance(value, tf.SparseTensor) and value.shape.rank > 2):
            return []
        columns[key] = _lists(value, np.dtype(feature.dtype.as_numpy_dtype))
    count = min(rows, *(len(lists) for lists in columns.values()))
    return [_example({key: lists[row] for key, lists in columns.items()}, parsing_spec) for row in range(count)]


def synthetic_examples(parsing_spec: ParsingSpec, rows: int = 64, seed: int = 0) -> list[bytes]:
    """Returns made-up rows: unseen words, zeros for integers, any numbers; every third value of any length is missing."""
    rng = np.random.default_rng(seed)
    values: list[dict[str, list[Any]]] = []
    for row in range(rows):
        values.append({})
        for key, feature in parsing_spec.items():
            any_length = isinstance(feature, tf.io.VarLenFeature)
            size = (0 if row % 3 == 0 else 1) if any_length else int(np.prod(feature.shape))
            numbers = rng.normal(size=size) * (not feature.dtype.is_integer)  # integers are 0: the only id that all tables have
            values[-1][key] = (
                [b"unseen %g" % x for x in numbers] if feature.dtype == tf.string else _as(numbers, np.dtype(feature.dtype.name))
            )
    return [_example(row, parsing_spec) for row in values]


def _lists(value: Any, dtype: np.dtype) -> list[list[Any]]:  # noqa: ANN401 (dense or sparse)
    """Returns the values of each row."""
    if not isinstance(value, tf.SparseTensor):
        array = value.numpy()
        return [_as(row, dtype) for row in array.reshape(len(array), -1)]
    value = tf.sparse.reorder(value)
    rows: list[list[Any]] = [[] for _ in range(int(value.dense_shape[0]))]
    for row, each in zip(value.indices[:, 0].numpy().tolist(), _as(value.values.numpy(), dtype), strict=True):
        rows[row].append(each)
    return rows


def _as(values: np.ndarray, dtype: np.dtype) -> list[Any]:
    return values.tolist() if values.dtype == object else values.astype(dtype).tolist()


def _example(row: Mapping[str, list[Any]], parsing_spec: ParsingSpec) -> bytes:
    example = tf.train.Example()
    for key, values in row.items():
        if values:
            getattr(example.features.feature[key], _FIELDS[parsing_spec[key].dtype.name]).value.extend(values)
    return example.SerializeToString()
