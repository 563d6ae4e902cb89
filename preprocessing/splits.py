"""Which rows are for training, validation and test: a hash of the row's own bytes decides.

The hash is multilinear: the sum of weight times byte, modulo 2^64 (Lemire and Kaser, "Strongly universal string hashing is fast", The
Computer Journal 2014), mixed by the finaliser of SplitMix64. It is plain unsigned arithmetic, so it is the same on every platform and
in every version, and no row passes through Python.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from feature_specs import RandomSplit

_ROWS_AT_ONCE = 1 << 14


def assign(columns: Sequence[pa.Array], split: RandomSplit) -> np.ndarray:
    """Returns the split of each row, int8 [N]: 0 train, 1 valid, 2 test.

    Args:
        columns: The binary columns [N] to hash; null hashes as empty.
        split: Shares and seed.
    """
    share = (hash_rows(columns, split.seed) >> np.uint64(11)).astype(np.float64) / 2.0**53
    return np.digitize(share, np.cumsum(split.fractions)[:2]).astype(np.int8)


def hash_rows(columns: Sequence[pa.Array], seed: int = 0) -> np.ndarray:
    """Returns a 64-bit hash, uint64 [N], of several binary columns [N]; which column a value is in matters."""
    combined = np.full(len(columns[0]), _mixed(np.array([seed % 2**64], np.uint64))[0])
    for column in columns:
        combined = _mixed(combined ^ _hash_column(column, seed))
    return combined


def _hash_column(column: pa.Array, seed: int) -> np.ndarray:
    column = column.fill_null(b"")
    hashes = np.zeros(len(column), np.uint64)
    # A sliced column shares its buffers with the whole: offsets do not begin at 0.
    lengths = _offsets(column)[1:] - _offsets(column)[:-1]
    longest = int(lengths.max(initial=0))
    # One odd weight a place in the value.
    weights = _mixed(np.arange(1, longest + 1, dtype=np.uint64) + np.uint64(seed % 2**32 << 32)) | np.uint64(1)
    for begin in range(0, len(column), _ROWS_AT_ONCE):
        part = column.slice(begin, _ROWS_AT_ONCE)
        offsets = _offsets(part)
        data = np.frombuffer(part.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]].astype(np.uint64)
        starts, length = offsets[:-1] - offsets[0], np.diff(offsets)
        place = np.arange(len(data)) - np.repeat(starts, length)
        # A leading zero lets each sum be the difference of two running totals, also for an empty value.
        totals = np.concatenate([np.zeros(1, np.uint64), np.cumsum(data * weights[place], dtype=np.uint64)])
        hashes[begin : begin + len(part)] = totals[offsets[1:] - offsets[0]] - totals[starts]
    # Zero bytes at the end add nothing to the sum; the length tells such values apart.
    return _mixed(hashes ^ lengths.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def _offsets(column: pa.Array) -> np.ndarray:
    buffer = column.buffers()[1]
    everything = np.frombuffer(buffer, np.int32) if buffer is not None else np.zeros(1, np.int32)
    return everything[column.offset : column.offset + len(column) + 1].astype(np.int64)


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele et al., "Fast splittable pseudorandom number generators", OOPSLA 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
