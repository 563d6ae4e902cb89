"""Fused analyzers: one pass over the training split computes every vocabulary, a second output every mean and deviation.

Stock TF-Transform builds several Beam stages a column; here all columns of a batch go through one CombineFn. Two analyzers remain,
because `ptransform_analyzer` takes either asset files or plain tensors as outputs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam.experimental as tft_beam_experimental
from apache_beam.io.filesystems import FileSystems

from feature_specs import Vocabulary
from preprocessing.statistics import merged_moments

# TensorFlow reads neither an empty file nor an empty line: this one stands in a file without tokens, and has no id.
EMPTY_VOCABULARY = b"\x00(no tokens)"
_COMPACT_ROWS = 1 << 20
_COUNTS = pa.schema([("token", pa.binary()), ("count", pa.int64())])


class CountTokens(beam.CombineFn):
    """Counts the tokens of several tables at once.

    An element is a tuple with one array of tokens (bytes, [N]) a table. The accumulator is, for each table, a list of partial
    counts; they are merged when they grow, so that memory follows the number of distinct tokens.
    """

    def __init__(self, num_tables: int) -> None:
        self._num_tables = num_tables

    def create_accumulator(self) -> list[list[pa.Table]]:  # noqa: D102
        return [[] for _ in range(self._num_tables)]

    def add_input(self, accumulator: list[list[pa.Table]], batch: Sequence[np.ndarray]) -> list[list[pa.Table]]:  # noqa: D102
        for parts, tokens in zip(accumulator, batch, strict=True):
            # NumPy holds bytes objects; counting starts after one conversion of the whole batch.
            counted = pc.value_counts(pa.array(tokens, type=pa.binary()))
            parts.append(pa.Table.from_arrays(counted.flatten(), schema=_COUNTS))
            # Merging only when the parts outgrow the total keeps the cost linear in the rows.
            if len(parts) > 1 and sum(map(len, parts[1:])) > max(_COMPACT_ROWS, len(parts[0])):
                parts[:] = [_merged(parts)]
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[list[list[pa.Table]]]) -> list[list[pa.Table]]:  # noqa: D102
        return [[_merged([part for parts in table for part in parts])] for table in zip(*accumulators, strict=True)]

    def compact(self, accumulator: list[list[pa.Table]]) -> list[list[pa.Table]]:  # noqa: D102
        return [[_merged(parts)] for parts in accumulator]

    def extract_output(self, accumulator: list[list[pa.Table]]) -> list[pa.Table]:  # noqa: D102
        return [_merged(parts) for parts in accumulator]


def _merged(parts: Sequence[pa.Table]) -> pa.Table:
    if not parts:
        return _COUNTS.empty_table()
    summed = pa.concat_tables(parts).group_by("token").aggregate([("count", "sum")])
    return pa.Table.from_arrays([summed["token"].combine_chunks(), summed["count_sum"].combine_chunks()], schema=_COUNTS)


def ordered_vocabulary(counts: pa.Table, encoding: Vocabulary) -> list[bytes]:
    """Returns the tokens of a vocabulary in the order of their ids: by count, then by bytes, both descending."""
    tokens = counts["token"]
    # What one line of a text file cannot hold is out of the vocabulary, as in TF-Transform.
    writable = pc.and_(pc.greater(pc.binary_length(tokens), 0), pc.invert(pc.match_substring_regex(tokens, "[\r\n]")))
    kept = counts.filter(pc.and_(writable, pc.greater_equal(counts["count"], encoding.min_count)))
    order = pc.sort_indices(kept, sort_keys=[("count", "descending"), ("token", "descending")])
    return kept["token"].take(order[: encoding.max_size]).to_pylist()


class _WriteVocabularies(tft_beam_experimental.PTransformAnalyzer):
    """Counts, orders and writes all vocabularies; yields one file name a table."""

    def __init__(self, files: Sequence[tuple[str, Vocabulary]]) -> None:
        super().__init__()
        self._files = tuple(files)

    def expand(self, batches: beam.PCollection) -> tuple[beam.PCollection, ...]:
        tags = [str(i) for i in range(len(self._files))]
        written = (
            batches
            | "CountTokens" >> beam.CombineGlobally(CountTokens(len(self._files)))
            | "WriteVocabularies" >> beam.FlatMap(_write, self.base_temp_dir, self._files).with_outputs(*tags)
        )
        return tuple(written[tag] for tag in tags)


def _write(counts: list[pa.Table], folder: str, files: Sequence[tuple[str, Vocabulary]]) -> Iterable[Any]:
    if not FileSystems.exists(folder):
        FileSystems.mkdirs(folder)
    for i, (table, (name, encoding)) in enumerate(zip(counts, files, strict=True)):
        path = os.path.join(folder, name)
        with FileSystems.create(path, compression_type="uncompressed") as out:
            tokens = ordered_vocabulary(table, encoding) or [EMPTY_VOCABULARY]
            out.write(b"".join(token + b"\n" for token in tokens))
        yield beam.pvalue.TaggedOutput(str(i), np.array(path))


def vocabularies(tokens: Sequence[tf.Tensor], files: Sequence[tuple[str, Vocabulary]]) -> tuple[tf.Tensor, ...]:
    """Computes all vocabularies in one pass.

    Args:
        tokens: One tensor of strings [N] a table; the empty string is missing.
        files: Name of the asset file and encoding of each table.

    Returns:
        Names of the vocabulary files, deferred as those of `tft.vocabulary`.
    """
    if not files:
        return ()
    outputs = tft.experimental.ptransform_analyzer(
        list(tokens),
        _WriteVocabularies(files),
        output_dtypes=[tf.string] * len(files),
        output_shapes=[[]] * len(files),
        output_asset_default_values=[b"placeholder"] * len(files),
        name="vocabularies",
    )
    return tuple(outputs)


class Moments(beam.CombineFn):
    """Count, mean and sum of squared deviations of several columns, NaN left out; float64, mergeable (Chan et al. 1979)."""

    def __init__(self, num_columns: int) -> None:
        self._num_columns = num_columns

    def create_accumulator(self) -> np.ndarray:  # noqa: D102
        return np.zeros([3, self._num_columns])

    def add_input(self, accumulator: np.ndarray, batch: Sequence[np.ndarray]) -> np.ndarray:  # noqa: D102
        # float32 sums of many rows would lose the small ones.
        values = batch[0].astype(np.float64)
        present = ~np.isnan(values)
        count = present.sum(axis=0)
        mean = np.where(present, values, 0.0).sum(axis=0) / np.maximum(count, 1)
        squares = np.where(present, np.square(values - mean), 0.0).sum(axis=0)
        return merged_moments(accumulator, np.stack([count, mean, squares]))

    def merge_accumulators(self, accumulators: Iterable[np.ndarray]) -> np.ndarray:  # noqa: D102
        total = self.create_accumulator()
        for accumulator in accumulators:
            total = merged_moments(total, accumulator)
        return total

    def extract_output(self, accumulator: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # noqa: D102
        count, mean, squares = accumulator
        return mean.astype(np.float32), np.sqrt(squares / np.maximum(count, 1)).astype(np.float32)


class _ComputeMoments(beam.PTransform):
    def __init__(self, num_columns: int) -> None:
        super().__init__()
        self._num_columns = num_columns

    def expand(self, batches: beam.PCollection) -> tuple[beam.PCollection, ...]:
        moments = batches | "Moments" >> beam.CombineGlobally(Moments(self._num_columns))
        return moments | "Mean" >> beam.Map(lambda pair: pair[0]), moments | "Deviation" >> beam.Map(lambda pair: pair[1])


def means_and_deviations(columns: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes the mean and the standard deviation of every column of `columns`, float32 [B, N], NaN left out.

    Returns:
        Two tensors [N]; both are 0 for a column without values.
    """
    num_columns = columns.shape[1]
    mean, deviation = tft.experimental.ptransform_analyzer(
        [columns],
        _ComputeMoments(num_columns),
        output_dtypes=[tf.float32, tf.float32],
        output_shapes=[[num_columns], [num_columns]],
        name="moments",
    )
    return mean, deviation
