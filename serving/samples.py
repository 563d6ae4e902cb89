"""Rows that the preprocessing job wrote: raw values as `raw.<column>` beside what it made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from feature_specs.errors import ColonnadeError
from feature_specs.spec import FeatureSpec
from serving.sides import asking_side, seen_name
from serving.signatures import RawExamples, to_scorer_inputs

BATCH_ROWS = 4096


def raw_rows(spec: FeatureSpec, sample_parquet: str | Path) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    """Returns the raw examples of a sample, at most 4096 rows, for the check of an export before it is published."""
    batch = next(read_samples([Path(sample_parquet)]), None)
    if batch is None:
        raise ColonnadeError(f"Sample {str(sample_parquet)!r} has no rows. Preprocess again.")
    return raw_examples(spec, batch)


def read_samples(files: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    """Yields the rows of several files.

    Raises:
        ColonnadeError: One of them cannot be read.
    """
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                yield from file.iter_batches(BATCH_ROWS)
        except (OSError, pa.ArrowException) as error:
            problem = " ".join(str(error).split()).rstrip(".")
            raise ColonnadeError(f"Sample {str(path)!r} cannot be read: {problem}. Preprocess again.") from error


def raw_examples(spec: FeatureSpec, batch: pa.RecordBatch) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    """Returns the raw values of some rows."""
    return {c.name: _tensor(_column(batch, f"raw.{c.name}")) for c in spec.raw_inputs}


def scorer_inputs(spec: FeatureSpec, batch: pa.RecordBatch) -> dict[str, tf.Tensor]:
    """Returns what the job made of some rows, as a scorer takes it."""
    return to_scorer_inputs(spec, {c.name: _tensor(_column(batch, c.name)) for c in spec.outputs})


def rows_of(tensors: RawExamples, numbers: np.ndarray) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    """Returns the rows `numbers` of examples."""
    return {name: tf.gather(values, numbers) for name, values in tensors.items()}


def only(side: FeatureSpec, raw: RawExamples) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    """Returns the columns of one side of raw examples."""
    return {column.name: raw[column.name] for column in side.raw_inputs}


def asking(spec: FeatureSpec, raw: RawExamples) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    """Returns what items are asked for with, of raw examples of pairs; where these have no history, nothing was seen."""
    if seen_name(spec) in raw:
        return only(asking_side(spec), raw)
    rows = next(iter(raw.values())).shape[0]
    nothing = tf.RaggedTensor.from_row_lengths(tf.zeros([0], spec.item_feature.dtype), tf.zeros([rows], tf.int64))
    return only(asking_side(spec), {**raw, seen_name(spec): nothing})


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    if name not in batch.schema.names:
        raise ColonnadeError(f"The sample has no column {name!r}: it was made with another spec than the export. Preprocess again.")
    return batch.column(name)


def _tensor(column: pa.Array) -> tf.Tensor | tf.RaggedTensor:
    kind = column.type
    if pa.types.is_fixed_size_list(kind):
        return tf.constant(column.flatten().to_numpy(zero_copy_only=False).reshape(-1, kind.list_size))
    if not pa.types.is_list(kind):
        return tf.constant(column.to_numpy(zero_copy_only=False))
    flat = column.flatten().to_numpy(zero_copy_only=False)
    # Without a value NumPy's objects have no type that TensorFlow knows.
    values = tf.constant(flat, tf.string if pa.types.is_binary(kind.value_type) else flat.dtype)
    return tf.RaggedTensor.from_row_lengths(values, column.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64))
