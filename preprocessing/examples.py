"""Raw examples: what the transform graph takes, as Arrow tables.

The columns are `spec.raw_inputs`, without nulls: a missing value is "", -1 or NaN, and lists hold no missing values. Beside them the label,
the keys (`_user`, `_item`, `_group`, `_time`), the weight (`_weight`) where rows have one and, inside the job, the split.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from feature_specs import Column, FeatureSpec, Hour, Identity, MultiValuedFeature, SequenceFeature, Weekday
from feature_specs.features import AnyFeature, TokenFeature
from preprocessing.extraction import without_mismatches
from preprocessing.labels import labels, row_weights
from preprocessing.sources.casting import cast, cast_lists, cast_vectors, is_missing

SPLITS = ("train", "valid", "test")
_VALUE_TYPES = {"string": pa.binary(), "int64": pa.int64(), "float32": pa.float32()}
_KINDS = {"string": "one value", "int64": "an integer", "float32": "a finite number"}
_SHOWN_CHARACTERS = 80


def value_type(column: Column | AnyFeature) -> pa.DataType:
    """Returns the Arrow type of one value of a column."""
    return _VALUE_TYPES[column.dtype if isinstance(column, Column) else column.raw_type]


def arrow_type(column: Column) -> pa.DataType:
    """Returns the Arrow type of a column of raw or transformed examples."""
    kind = value_type(column)
    return {"single": kind, "vector": pa.list_(kind, column.size), "list": pa.list_(kind)}[column.layout]


def key_columns(spec: FeatureSpec) -> dict[str, str]:
    """Returns the raw column behind each key column; the group falls back to the user."""
    keys = spec.keys
    named = {"_user": keys.user, "_item": keys.item, "_group": keys.group or keys.user, "_time": keys.time}
    return {name: column for name, column in named.items() if column is not None}


def from_columns(spec: FeatureSpec, columns: Mapping[str, pa.Array]) -> tuple[pa.Table, dict[int, str]]:
    """Builds raw examples from raw columns of text; histories stay out.

    Args:
        spec: The data set.
        columns: By raw column name, text [N] (see `preprocessing.sources.casting`), null where missing.

    Returns:
        Examples [N] with the features that are read from a column, `label`, the keys and the weight; and by row, why it has to be rejected.
    """
    reasons: dict[int, str] = {}
    values: dict[str, pa.Array] = {}
    # A column that several features read is cast once; the spec makes sure that their types agree.
    readers: dict[tuple[str, str | None], list[AnyFeature]] = {}
    for feature in spec.read_features:
        readers.setdefault((feature.raw_column, getattr(feature, "weights", None)), []).append(feature)
    for (column, weights), features in readers.items():
        arrays, invalid = _cast(features[0], columns[column], columns[weights] if weights else None)
        if _rejects(features):
            expected = f"{_expected(features[0])}{f' with their weights in column {weights!r}' if weights else ''}"
            _note(reasons, invalid, column, columns[column], expected)
        for feature in features:
            values.update(zip((c.name for c in feature.raw_inputs), without_mismatches(feature, arrays), strict=True))
            _check_range(spec, feature, arrays[0], columns[column], reasons)
    keys = {}
    read_by = {column: features for (column, _), features in readers.items()}
    for name, column in key_columns(spec).items():
        # A key keeps the bytes of the file, also where a feature reads the column as a number.
        keys[name], invalid = cast(columns[column], "int64" if name == "_time" else "string")
        if _rejects(read_by.get(column, [])):
            _note(reasons, invalid, column, columns[column], "an integer" if name == "_time" else "one value")
    num_rows = len(next(iter(columns.values())))
    label = labels(spec.label, columns, num_rows, reasons)
    if spec.label.weight is not None:
        keys["_weight"] = row_weights(spec.label.weight, columns[spec.label.weight], reasons)
    if spec.is_matching:
        _note_incomplete(spec, values, keys, reasons)
    ordered = {c.name: values[c.name] for c in spec.raw_inputs if c.name in values}
    return pa.table({**ordered, "label": label, **keys}), reasons


def _cast(feature: AnyFeature, cells: pa.Array, weights: pa.Array | None) -> tuple[tuple[pa.Array, ...], np.ndarray]:
    """Returns the raw columns of a feature, and the mask of the rows that do not fit."""
    column, *more = feature.raw_inputs
    if column.layout == "single":
        values, invalid = cast(cells, column.dtype)
        return (values,), invalid
    delimiter = getattr(feature, "delimiter", "|")
    if column.layout == "vector":
        vectors, invalid = cast_vectors(cells, column.size, delimiter)
        return (vectors,), invalid
    lists = cast_lists(cells, column.dtype, delimiter, getattr(feature, "value_delimiter", None), weights)
    beside = {"float32": lists.weights, "int64": lists.steps}
    return (lists.values, *(beside[c.dtype] for c in more)), lists.invalid


def _expected(feature: AnyFeature) -> str:
    """Returns what a cell of the feature's column should be, for messages."""
    column = feature.raw_inputs[0]
    one = _KINDS[column.dtype]
    several = f"separated by {getattr(feature, 'delimiter', '|')!r}"
    if column.layout == "vector":
        return f"{column.size} finite numbers {several}"
    if column.layout == "single":
        return one
    return {"string": "a list of values", "int64": f"integers {several}", "float32": f"finite numbers {several}"}[column.dtype]


def _rejects(features: list[AnyFeature]) -> bool:
    return not features or any(feature.on_invalid == "reject" for feature in features)


def _check_range(spec: FeatureSpec, feature: AnyFeature, values: pa.Array, cells: pa.Array, reasons: dict[int, str]) -> None:
    """Notes the rows with a value that the encoding rejects."""
    if not isinstance(feature, TokenFeature):
        return
    encoding = spec.tables.get(feature.table_name)
    if not isinstance(encoding, Identity) or encoding.out_of_range != "reject":
        return
    is_list = isinstance(feature, MultiValuedFeature | SequenceFeature)
    flat = (values.flatten() if is_list else values).to_numpy(zero_copy_only=False)
    missing, size = flat == -1, encoding.num_buckets
    match feature.derive:
        case Hour():
            flat = flat % 86_400 // 3600
        case Weekday():
            flat = (flat // 86_400 + 3) % 7
    outside = ~missing & ((flat < 0) | (flat >= size))
    rows = np.repeat(np.arange(len(values)), np.diff(values.offsets.to_numpy())) if is_list else np.arange(len(values))
    bad = np.zeros(len(values), bool)
    bad[rows[outside]] = True
    _note(reasons, bad, feature.raw_column, cells, f"in the range 0 to {size - 1}")


def _note_incomplete(spec: FeatureSpec, values: Mapping[str, pa.Array], keys: Mapping[str, pa.Array], reasons: dict[int, str]) -> None:
    """Notes the rows that are no interaction, because the user or the item is missing; the item's id too, which 0 would stand for."""
    wanted = [("user", spec.keys.user, keys["_user"]), ("item", spec.keys.item, keys["_item"])]
    for role, column, cells in [*wanted, ("item", spec.keys.item, values[spec.item_feature.name])]:
        for row in np.flatnonzero(is_missing(cells)).tolist():
            reasons.setdefault(row, f"{role} {column!r} is missing")


def _note(reasons: dict[int, str], invalid: np.ndarray, column: str, cells: pa.Array, expected: str) -> None:
    for row in np.flatnonzero(invalid).tolist():
        reasons.setdefault(row, f"column {column!r}: {_shown(cells[row].as_py())} is not {expected}")


def _shown(value: bytes | list | None) -> str:
    text = repr(_decoded(value))
    return text if len(text) <= _SHOWN_CHARACTERS + 2 else text[: _SHOWN_CHARACTERS + 1] + "..." + text[-1]


def _decoded(value: bytes | list | None) -> str | list:
    if isinstance(value, list):
        return [_decoded(part) for part in value]
    return (value or b"").decode("utf-8", errors="replace")
