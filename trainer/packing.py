"""Columns of many rows as few arrays, which Python hands to the graph, and which the graph cuts into batches by column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

_SINGLES = "singles:"  # before the name of their type; no feature has such a name
_ALIGNMENT = 64  # bytes; TensorFlow takes arrays that begin there as they are, and copies others


class Lists(NamedTuple):
    """A list column: all values of its rows one after the other, and each row's first value and length, `[N]`."""

    values: NDArray
    starts: NDArray
    lengths: NDArray

    def take(self, rows: NDArray) -> Lists:
        """Returns the lists of `rows` alone."""
        lengths = self.lengths[rows]
        ends = np.cumsum(lengths)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
        return Lists(self.values[np.repeat(self.starts[rows], lengths) + within], ends - lengths, lengths)

    def padded(self, padding: float = 0) -> NDArray:
        """Returns the lists as `[N, T]`, padded on the right to the longest of them."""
        longest = int(self.lengths.max(initial=0))
        result = np.full((len(self.lengths), longest), padding, self.values.dtype)
        result[np.arange(longest) < self.lengths[:, None]] = self.values
        return result


Column = NDArray | Lists


class Packing:
    """How the columns of a chunk go into few arrays: single values of one type as rows of one, `[C, n]`; vectors and lists one by one.

    Args:
        types: Of the columns, each as it is in a batch.
        padding: Of the lists.
    """

    def __init__(self, types: Mapping[str, tf.TensorSpec], padding: Mapping[str, float]) -> None:
        self.padding = padding
        self.singles: dict[str, list[str]] = {}
        self.spec: dict[str, Any] = {}
        for name, spec in types.items():
            if name in padding:
                self.spec[name] = {"values": tf.TensorSpec([None], spec.dtype), "splits": tf.TensorSpec([None], tf.int64)}
            elif spec.shape.rank == 2:
                self.spec[name] = spec
            else:
                self.singles.setdefault(_SINGLES + spec.dtype.name, []).append(name)
        self.spec |= {key: tf.TensorSpec([len(names), None], _dtype(key)) for key, names in self.singles.items()}

    def take(self, columns: Iterable[tuple[str, Column]], rows: Sequence[NDArray]) -> list[dict[str, Any]]:
        """Returns for each of `rows` what the columns have there."""
        places = {name: (key, place) for key, names in self.singles.items() for place, name in enumerate(names)}
        pieces: list[dict[str, Any]] = [
            {key: _aligned(len(names), len(each), _dtype(key)) for key, names in self.singles.items()} for each in rows
        ]
        # Column by column: the values of one fit into the cache, where it is several times as fast to pick among them.
        for name, column in columns:
            if name in places and not isinstance(column, Lists):
                key, place = places[name]
                values = column.astype(_dtype(key), casting="same_kind", copy=False)
                for piece, each in zip(pieces, rows, strict=True):
                    np.take(values, each, out=piece[key][place], mode="clip")  # other modes go by way of a copy
            else:
                for piece, each in zip(pieces, rows, strict=True):
                    piece[name] = column.take(each) if isinstance(column, Lists) else column.take(each, axis=0)
        return pieces

    def join(self, pieces: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Returns a chunk as `spec` says: the rows of all pieces."""
        chunk: dict[str, Any] = {}
        for name in pieces[0]:
            parts = [piece[name] for piece in pieces]
            if name in self.padding:
                splits = np.concatenate([[0], np.cumsum(np.concatenate([part.lengths for part in parts]))])
                chunk[name] = {"values": np.concatenate([part.values for part in parts]), "splits": splits}
            else:
                chunk[name] = np.concatenate(parts, axis=1 if name in self.singles else 0) if len(parts) > 1 else parts[0]
        return chunk

    def num_rows(self, chunk: Mapping[str, Any]) -> tf.Tensor:
        """Returns the number of rows of a chunk, of which some column has to be a single value."""
        return tf.shape(chunk[next(iter(self.singles))], tf.int64)[1]

    def cut(self, chunk: Mapping[str, Any], first: tf.Tensor, last: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns rows `first` to `last` of a chunk by column, lists padded to the longest of them."""
        columns: dict[str, tf.Tensor] = {}
        for name, values in chunk.items():
            if name in self.singles:
                columns |= zip(self.singles[name], tf.unstack(values[:, first:last]), strict=True)
            elif name in self.padding:
                splits = values["splits"][first : last + 1]
                lists = tf.RaggedTensor.from_row_splits(values["values"][splits[0] : splits[-1]], splits - splits[0], validate=False)
                columns[name] = lists.to_tensor(default_value=tf.constant(self.padding[name], lists.dtype))
            else:
                columns[name] = values[first:last]
        return columns


def _dtype(key: str) -> np.dtype:
    return np.dtype(key.removeprefix(_SINGLES))


def _aligned(rows: int, columns: int, dtype: np.dtype) -> NDArray:
    """Returns an array `[rows, columns]` of anything."""
    size = rows * columns * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % _ALIGNMENT
    return memory[first : first + size].view(dtype).reshape(rows, columns)
