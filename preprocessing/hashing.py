"""A hash of the bytes of a row, the same on every platform and in every version.

It is multilinear: the sum of weight times byte, modulo 2^64 (Lemire and Kaser, "Strongly universal string hashing is fast", The Computer
Journal 2014), mixed by the finaliser of SplitMix64. It is plain unsigned arithmetic, and no row passes through Python.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_ROWS_AT_ONCE = 1 << 14
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def hash_rows(columns: Sequence[pa.Array], seed: int = 0) -> np.ndarray:
    """Returns a 64-bit hash, uint64 [N], of several columns [N]; which column a value is in matters.

    Args:
        columns: Binary values, or lists of them; null hashes as empty.
        seed: Another seed, another hash.
    """
    combined = np.full(len(columns[0]), mixed(np.array([seed % 2**64], np.uint64))[0])
    for column in columns:
        combined = mixed(combined ^ _hash_column(column, seed))
    return combined


def mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele et al., "Fast splittable pseudorandom number generators", OOPSLA 2014), uint64 [N]."""
    values = values + _GOLDEN
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _hash_column(column: pa.Array, seed: int) -> np.ndarray:
    if pa.types.is_list(column.type):
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        return _with_length(_weighted_sums(_hash_column(column.flatten(), seed), lengths, _weights(lengths, seed)), lengths)
    column = column.fill_null(b"")
    hashes = np.zeros(len(column), np.uint64)
    # A sliced column shares its buffers with the whole: offsets do not begin at 0.
    lengths = np.diff(_offsets(column))
    weights = _weights(lengths, seed)
    for begin in range(0, len(column), _ROWS_AT_ONCE):
        part = column.slice(begin, _ROWS_AT_ONCE)
        offsets = _offsets(part)
        data = np.frombuffer(part.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
        hashes[begin : begin + len(part)] = _weighted_sums(data.astype(np.uint64), np.diff(offsets), weights)
    return _with_length(hashes, lengths)


def _weights(lengths: np.ndarray, seed: int) -> np.ndarray:
    """Returns one odd weight a place in the longest value."""
    places = np.arange(1, int(lengths.max(initial=0)) + 1, dtype=np.uint64)
    return mixed(places + np.uint64(seed % 2**32 << 32)) | np.uint64(1)


def _weighted_sums(values: np.ndarray, lengths: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sums the values of each row, lying one after the other, weighted by their place in it."""
    ends = np.cumsum(lengths)
    starts = ends - lengths
    place = np.arange(len(values)) - np.repeat(starts, lengths)
    # A leading zero lets each sum be the difference of two running totals, also for an empty row.
    totals = np.concatenate([np.zeros(1, np.uint64), np.cumsum(values * weights[place], dtype=np.uint64)])
    return totals[ends] - totals[starts]


def _with_length(sums: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Zeros at the end add nothing to a sum; the length tells such values apart."""
    return mixed(sums ^ lengths.astype(np.uint64) * _GOLDEN)


def _offsets(column: pa.Array) -> np.ndarray:
    buffer = column.buffers()[1]
    everything = np.frombuffer(buffer, np.int32) if buffer is not None else np.zeros(1, np.int32)
    return everything[column.offset : column.offset + len(column) + 1].astype(np.int64)
