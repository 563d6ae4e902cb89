"""Raw examples: what the transform graph takes, as Arrow tables.

One column a feature, by the feature's name, without nulls: a missing value is "", -1 or NaN, and lists hold no missing values. Beside them
the label, the keys (`_user`, `_item`, `_group`, `_time`) and, inside the job, the split.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_specs import ColonnadeError, FeatureSpec
from feature_specs.errors import did_you_mean
from feature_specs.features import Feature, MultiValuedFeature, NumericFeature, SequenceFeature, TokenFeature
from preprocessing.sources.casting import cast, cast_lists, missing_marker, without_missing

SPLITS = ("train", "valid", "test")
_VALUE_TYPES = {"string": pa.binary(), "int64": pa.int64(), "float32": pa.float32()}
_KINDS = {"int64": "an integer", "float32": "a finite number"}


def value_type(feature: NumericFeature | TokenFeature) -> pa.DataType:
    """Returns the Arrow type of one value of a feature."""
    return _VALUE_TYPES[feature.dtype]


def key_columns(spec: FeatureSpec) -> dict[str, str]:
    """Returns the raw column behind each key column; the group falls back to the user."""
    keys = spec.keys
    named = {"_user": keys.user, "_item": keys.item, "_group": keys.group or keys.user, "_time": keys.time}
    return {name: column for name, column in named.items() if column is not None}


def from_columns(spec: FeatureSpec, columns: Mapping[str, pa.Array]) -> tuple[pa.Table, dict[int, str]]:
    """Builds raw examples from raw columns of bytes; histories stay out.

    Args:
        spec: The data set.
        columns: By raw column name, binary [N], null where missing.

    Returns:
        Examples [N] with the features that are read from a column, `label` and the keys; and by row, why it has to be rejected.
    """
    reasons: dict[int, str] = {}
    values: dict[str, pa.Array] = {}
    # A column that several features read is cast once; the spec makes sure that their types agree.
    readers: dict[str, list[NumericFeature | TokenFeature]] = {}
    for feature in spec.read_features:
        readers.setdefault(feature.raw_column, []).append(feature)
    for column, features in readers.items():
        first = features[0]
        cells = columns[column]
        if isinstance(first, MultiValuedFeature | SequenceFeature):
            array, invalid = cast_lists(cells, first.dtype, first.delimiter)
        else:
            array, invalid = cast(cells, first.dtype)
        if _rejects(features):
            _note(reasons, invalid, column, cells, _KINDS.get(first.dtype, ""))
        values.update({f.name: array for f in features})
    keys = {}
    for name, column in key_columns(spec).items():
        # A key keeps the bytes of the file, also where a feature reads the column as a number.
        keys[name], invalid = cast(columns[column], "int64" if name == "_time" else "string")
        if _rejects(readers.get(column, [])):
            _note(reasons, invalid, column, columns[column], "an integer")
    label = _label(spec, columns[spec.label.column], reasons)
    ordered = {f.name: values[f.name] for f in spec.read_features}
    return pa.table({**ordered, "label": label, **keys}), reasons


def _rejects(features: list[NumericFeature | TokenFeature]) -> bool:
    return not features or any(feature.on_invalid == "reject" for feature in features)


def _note(reasons: dict[int, str], invalid: np.ndarray, column: str, cells: pa.Array, expected: str) -> None:
    for row in np.flatnonzero(invalid).tolist():
        reasons.setdefault(row, f"column {column!r}: {_shown(cells, row)} is not {expected}")


def _shown(cells: pa.Array, row: int) -> str:
    text = (cells[row].as_py() or b"").decode("utf-8", errors="replace")
    return repr(text if len(text) <= 80 else text[:80] + "...")


def _label(spec: FeatureSpec, cells: pa.Array, reasons: dict[int, str]) -> pa.Array:
    array, invalid = cast(cells, "float32")
    numbers = array.to_numpy(zero_copy_only=False)
    column = spec.label.column
    _note(reasons, invalid, column, cells, "a finite number")
    for row in np.flatnonzero(np.isnan(numbers) & ~invalid).tolist():
        reasons.setdefault(row, f"label {column!r} is missing")
    if spec.label.threshold is not None:
        return pa.array((numbers >= spec.label.threshold).astype(np.float32))
    if spec.label.task == "binary":
        _note(reasons, ~np.isnan(numbers) & (numbers != 0) & (numbers != 1), column, cells, "0 or 1; give the label a threshold")
    return array


def from_table(spec: FeatureSpec, table: pa.Table) -> pa.Table:
    """Normalises flat raw examples, keyed by feature names, to the types and missing markers of raw examples.

    A feature whose column is absent is missing in every row; a `label` is kept where there is one.

    Raises:
        ColonnadeError: A column is of a type that the feature cannot take, or no column is a feature.
    """
    names = [feature.name for feature in spec.features]
    if not set(names) & set(table.column_names):
        given = ", ".join(table.column_names)
        hint = did_you_mean(table.column_names[0], names) if table.column_names else ""
        raise ColonnadeError(f"No column is a feature of {spec.name!r}.{hint} Given: {given}. Features: {', '.join(names)}.")
    columns: dict[str, pa.Array] = {}
    for feature in spec.features:
        try:
            columns[feature.name] = _normalised(feature, value_type(feature), table)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            received = table.schema.field(feature.name).type
            raise ColonnadeError(
                f"Feature {feature.name!r} should be of dtype {feature.dtype!r}. Received: {received} ({error})."
            ) from error
    if "label" in table.column_names:
        columns["label"] = pc.cast(table["label"], pa.float32()).combine_chunks()
    return pa.table(columns)


def _normalised(feature: Feature, kind: pa.DataType, table: pa.Table) -> pa.Array:
    if feature.name not in table.column_names:
        cells = pa.nulls(len(table), pa.list_(kind) if feature.is_list else kind)
    else:
        cells = table[feature.name].combine_chunks()
    if not feature.is_list:
        return pc.fill_null(_cast_values(cells, kind), pa.scalar(missing_marker(kind), kind))
    if not (pa.types.is_list(cells.type) or pa.types.is_large_list(cells.type) or pa.types.is_fixed_size_list(cells.type)):
        raise pa.ArrowTypeError("a list is expected")
    lists = pc.cast(cells, pa.large_list(cells.type.value_type))
    row = pc.list_parent_indices(lists).to_numpy()
    flat = pc.fill_null(_cast_values(pc.list_flatten(lists), kind), pa.scalar(missing_marker(kind), kind))
    return without_missing(row, flat, len(lists))


def _cast_values(cells: pa.Array, kind: pa.DataType) -> pa.Array:
    """Casts typed values; integers become strings as decimals, as they do in the transform graph."""
    if pa.types.is_binary(kind) and not pa.types.is_large_binary(cells.type) and not pa.types.is_binary(cells.type):
        cells = pc.cast(cells, pa.string())
    return pc.cast(cells, kind)
