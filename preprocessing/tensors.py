"""Between Arrow and tensors, a column at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from feature_specs import FeatureSpec
from feature_specs.features import NumericFeature, TokenFeature

_TENSOR_TYPES = {"string": tf.string, "int64": tf.int64, "float32": tf.float32}


def to_tensors(spec: FeatureSpec, batch: pa.RecordBatch) -> dict[str, Any]:
    """Returns raw examples [B] as the transform graph takes them."""
    tensors = {}
    for feature in spec.features:
        column = batch.column(feature.name)
        flat = column.flatten() if feature.is_list else column
        values = tf.constant(flat.to_numpy(zero_copy_only=False), _TENSOR_TYPES[feature.dtype])
        if feature.is_list:
            # A sliced column keeps the offsets of the whole.
            offsets = column.offsets.to_numpy().astype(np.int64)
            values = tf.RaggedTensor.from_row_splits(values, offsets - offsets[0], validate=False)
        tensors[feature.name] = values
    return tensors


def transformed_schema(spec: FeatureSpec) -> pa.Schema:
    """Returns the feature columns of the Parquet files, in the order of the spec."""
    return pa.schema([(f.name, pa.list_(_id_type(f)) if f.is_list else _id_type(f)) for f in spec.features])


def _id_type(feature: NumericFeature | TokenFeature) -> pa.DataType:
    return pa.float32() if isinstance(feature, NumericFeature) else pa.int64()


def to_arrow(spec: FeatureSpec, outputs: Mapping[str, Any]) -> pa.RecordBatch:
    """Returns the outputs of the transform graph as a record batch [B]."""
    columns = []
    for feature in spec.features:
        output = outputs[feature.name]
        if feature.is_list:
            offsets = pa.array(output.row_splits.numpy().astype(np.int32))
            columns.append(pa.ListArray.from_arrays(offsets, pa.array(output.flat_values.numpy())))
        else:
            columns.append(pa.array(output.numpy()))
    return pa.RecordBatch.from_arrays(columns, schema=transformed_schema(spec))
