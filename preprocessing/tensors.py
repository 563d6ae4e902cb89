"""Between Arrow and tensors, a column at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from feature_specs import Column, FeatureSpec
from preprocessing.examples import arrow_type

_TENSOR_TYPES = {"string": tf.string, "int64": tf.int64, "float32": tf.float32}


def to_tensors(spec: FeatureSpec, batch: pa.RecordBatch) -> dict[str, Any]:
    """Returns raw examples [B] as the transform graph takes them."""
    return {column.name: _to_tensor(column, batch.column(column.name)) for column in spec.raw_inputs}


def _to_tensor(column: Column, values: pa.Array) -> tf.Tensor | tf.RaggedTensor:
    flat = (values if column.layout == "single" else values.flatten()).to_numpy(zero_copy_only=False)
    if column.layout == "vector":
        flat = flat.reshape(-1, column.size)
    tensor = tf.constant(flat, _TENSOR_TYPES[column.dtype])
    if column.layout != "list":
        return tensor
    # A sliced column keeps the offsets of the whole.
    offsets = values.offsets.to_numpy().astype(np.int64)
    return tf.RaggedTensor.from_row_splits(tensor, offsets - offsets[0], validate=False)


def transformed_schema(spec: FeatureSpec) -> pa.Schema:
    """Returns the columns of the Parquet files that are inputs of a model, in the order of the spec."""
    return pa.schema([(column.name, arrow_type(column)) for column in spec.outputs])


def to_arrow(spec: FeatureSpec, outputs: Mapping[str, Any]) -> pa.RecordBatch:
    """Returns the outputs of the transform graph as a record batch [B]."""
    columns = [_to_array(column, outputs[column.name]) for column in spec.outputs]
    return pa.RecordBatch.from_arrays(columns, schema=transformed_schema(spec))


def _to_array(column: Column, output: tf.Tensor | tf.RaggedTensor) -> pa.Array:
    if column.layout == "list":
        offsets = pa.array(output.row_splits.numpy().astype(np.int32))
        return pa.ListArray.from_arrays(offsets, pa.array(output.flat_values.numpy()))
    flat = pa.array(output.numpy().ravel())
    return flat if column.layout == "single" else pa.FixedSizeListArray.from_arrays(flat, column.size)
