"""Raw examples from tables that a program made: typed columns, keyed by the names of `spec.raw_inputs`."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_specs import ColonnadeError, Column, FeatureSpec
from feature_specs.errors import did_you_mean
from preprocessing.examples import arrow_type, value_type
from preprocessing.sources.casting import is_missing, lists, missing_marker


def from_table(spec: FeatureSpec, table: pa.Table) -> pa.Table:
    """Normalises flat raw examples to the types and missing markers of raw examples.

    A column that is absent is missing in every row; a `label` is kept where there is one.

    Raises:
        ColonnadeError: A column is of a type that the feature cannot take, or no column is a feature.
    """
    names = [column.name for column in spec.raw_inputs]
    if not set(names) & set(table.column_names):
        given = ", ".join(table.column_names)
        hint = did_you_mean(table.column_names[0], names) if table.column_names else ""
        raise ColonnadeError(f"No column is a feature of {spec.name!r}.{hint} Given: {given}. Features: {', '.join(names)}.")
    columns: dict[str, pa.Array] = {}
    for feature in spec.features:
        kept = np.zeros(0, bool)
        for place, column in enumerate(feature.raw_inputs):
            try:
                if place == 0:
                    columns[column.name], kept = _normalised(column, table)
                else:
                    columns[column.name] = _beside(column, table, columns[feature.raw_inputs[0].name], kept)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
                received = table.schema.field(column.name).type
                raise ColonnadeError(
                    f"Feature {column.name!r} should be of type {arrow_type(column)}. Received: {received} ({error})."
                ) from error
    if "label" in table.column_names:
        columns["label"] = pc.cast(table["label"], pa.float32()).combine_chunks()
    return pa.table(columns)


def _normalised(column: Column, table: pa.Table) -> tuple[pa.Array, np.ndarray]:
    """Returns a raw column; of a list also the mask of the values that are kept."""
    kind = value_type(column)
    if column.name not in table.column_names:
        cells = pa.nulls(len(table), kind if column.layout == "single" else pa.list_(kind))
    else:
        cells = table[column.name].combine_chunks()
    if column.layout == "single":
        return pc.fill_null(_cast_values(cells, kind), pa.scalar(missing_marker(kind), kind)), np.zeros(0, bool)
    row, flat = _flat(cells, kind)
    if column.layout == "vector":
        return _vectors(row, flat, len(cells), column.size), np.zeros(0, bool)
    kept = ~is_missing(flat)
    return lists(row[kept], flat.filter(pa.array(kept)), len(cells)), kept


def _flat(cells: pa.Array, kind: pa.DataType) -> tuple[np.ndarray, pa.Array]:
    """Returns the row of each value of lists, and the values, with markers where they are missing."""
    if not (pa.types.is_list(cells.type) or pa.types.is_large_list(cells.type) or pa.types.is_fixed_size_list(cells.type)):
        raise pa.ArrowTypeError("a list is expected")
    wide = pc.cast(cells, pa.large_list(cells.type.value_type))
    flat = pc.fill_null(_cast_values(pc.list_flatten(wide), kind), pa.scalar(missing_marker(kind), kind))
    return pc.list_parent_indices(wide).to_numpy(), flat


def _vectors(row: np.ndarray, flat: pa.Array, num_rows: int, size: int) -> pa.Array:
    counts = np.bincount(row, minlength=num_rows)
    if not np.isin(counts, (0, size)).all():
        raise pa.ArrowInvalid(f"vectors of {size} numbers are expected")
    vectors = np.full((num_rows, size), np.nan, np.float32)
    vectors[counts == size] = flat.to_numpy(zero_copy_only=False).reshape(-1, size)
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), size)


def _beside(column: Column, table: pa.Table, values: pa.ListArray, kept: np.ndarray) -> pa.ListArray:
    """Returns the weights or steps of values of which those that are not `kept` were left out; where absent 1, or one value a step."""
    offsets = values.offsets
    if column.name not in table.column_names:
        lengths = np.diff(offsets.to_numpy())
        steps = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        absent = np.ones(len(steps), np.float32) if column.dtype == "float32" else steps
        return pa.ListArray.from_arrays(offsets, pa.array(absent))
    _, flat = _flat(table[column.name].combine_chunks(), value_type(column))
    if len(flat) != len(kept):
        raise pa.ArrowInvalid("one value for each value of the feature is expected")
    numbers = flat.to_numpy(zero_copy_only=False)[kept]
    return pa.ListArray.from_arrays(offsets, pa.array(np.where(np.isnan(numbers), 1, numbers).astype(numbers.dtype)))


def _cast_values(cells: pa.Array, kind: pa.DataType) -> pa.Array:
    """Casts typed values; integers become strings as decimals, as they do in the transform graph."""
    if pa.types.is_binary(kind) and not pa.types.is_large_binary(cells.type) and not pa.types.is_binary(cells.type):
        cells = pc.cast(cells, pa.string())
    return pc.cast(cells, kind)
