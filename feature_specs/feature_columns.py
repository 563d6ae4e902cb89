"""From `tf.feature_column` columns to a spec, without importing TensorFlow: columns are told apart by the names of their classes.

TensorFlow's buckets and places in a vocabulary are kept; an id of the spec is one more, since 0 is missing.
"""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Collection, Iterable
from typing import Any

from pydantic import ValidationError

from feature_specs.column_encodings import Column, encoding_of, initializer_of, kind, refuse
from feature_specs.errors import ColonnadeError
from feature_specs.features import (
    RESERVED_NAMES,
    AnyFeature,
    BucketizedFeature,
    CategoricalFeature,
    CrossedFeature,
    MultiValuedFeature,
    NumericFeature,
    NumericSequenceFeature,
    SequenceFeature,
    TokenFeature,
)
from feature_specs.spec import FeatureSpec, Label

_EMBEDDINGS = ("EmbeddingColumn", "SharedEmbeddingColumn")


def from_feature_columns(
    columns: Iterable[Column],
    *,
    name: str = "from_feature_columns",
    label: str | Label = "label",
    single: Collection[str] = (),
    max_length: int = 50,
) -> FeatureSpec:
    """Returns a spec whose input layer gives what TensorFlow's layers give for the columns.

    A column that is only listed as it is (for a linear model) and also inside an embedding or indicator is one feature: every feature of
    a spec has first-order weights.

    Args:
        columns: Of any function of `tf.feature_column`.
        name: Of the spec.
        label: Raw column of the label, or the whole declaration.
        single: Keys that hold one value a row; others hold any number of values, as they may in a TensorFlow column.
        max_length: Steps of a sequence that are kept, the last ones; TensorFlow keeps all.

    Raises:
        ColonnadeError: A column has what cannot be declared, such as a normalizer_fn; the message names it and the way out.
    """
    made = _Features(set(single), max_length)
    given = list(dict.fromkeys(columns))
    inside = {unwrapped(column.categorical_column) for column in given if hasattr(column, "categorical_column") and kind(column) in _DENSE}
    listed = [column for column in given if not _is_bare(column) or unwrapped(column) not in inside]
    # Crosses last: their inputs are features, made where no other column has them.
    for column in sorted(listed, key=lambda column: kind(unwrapped(column)) == "CrossedColumn"):
        made.add(column)
    declared = Label(column=label) if isinstance(label, str) else label
    try:
        return FeatureSpec(name=name, features=tuple(made.features), label=declared)
    except ValidationError as error:
        raise ColonnadeError(f"The columns make no valid spec: {_message(error)}") from error


_DENSE = (*_EMBEDDINGS, "IndicatorColumn")


def _is_bare(column: Column) -> bool:
    """Whether a column gives ids, and no vectors."""
    return kind(column) not in (*_DENSE, "NumericColumn", "SequenceNumericColumn", "BucketizedColumn")


def unwrapped(column: Column) -> Column:
    """Returns the categorical column inside embeddings, indicators, weights and sequences."""
    while hasattr(column, "categorical_column"):
        column = column.categorical_column
    return column


class _Features:
    """The features made so far."""

    def __init__(self, single: Collection[str], max_length: int) -> None:
        self.features: list[AnyFeature] = []
        self.single, self.max_length = single, max_length
        self._tables: dict[int, tuple[str, Any]] = {}

    def add(self, column: Column) -> None:
        """Makes the feature of a column that the model sees."""
        options = self._options(column) if kind(column) in _EMBEDDINGS else {}
        if kind(column) == "IndicatorColumn":
            options = {"representation": "indicator"}
            if kind(column.categorical_column) == "WeightedCategoricalColumn":
                refuse(column, "an indicator of weights", "Use embedding_column around it")
        self._make(column, getattr(column, "categorical_column", column), options)

    def _make(self, column: Column, categorical: Column, options: dict[str, Any]) -> str:
        """Returns the name of the feature that it makes."""
        inner = unwrapped(categorical)
        match kind(inner):
            case "NumericColumn" | "SequenceNumericColumn":
                return self._keep(column, *_number(inner, self.max_length))
            case "BucketizedColumn":
                source = inner.source_column
                if source.normalizer_fn is not None or tuple(source.shape) != (1,):
                    refuse(column, "buckets of a vector or of normalized numbers", "Declare a bucketized feature of one raw number")
                if kind(column) == "BucketizedColumn" and "only_crossed" not in options:
                    options = {"representation": "indicator"}
                options = {name: value for name, value in options.items() if name != "combiner"}
                default = source.default_value[0] if source.default_value else None
                return self._keep(
                    column,
                    BucketizedFeature,
                    source.key,
                    {**options, "boundaries": tuple(inner.boundaries), "default": default},
                    inner.name,
                )
            case "CrossedColumn":
                return self._cross(column, inner, options)
        dtype, encoding = encoding_of(column, inner)
        options = {**options, "dtype": dtype}
        if "table" not in options or options.pop("owns_table", False):
            options["encoding"] = encoding
        if kind(categorical) == "SequenceCategoricalColumn":
            return self._keep(column, SequenceFeature, inner.key, {**options, "max_length": self.max_length})
        if kind(categorical) == "WeightedCategoricalColumn":
            return self._keep(column, MultiValuedFeature, inner.key, {**options, "weights": categorical.weight_feature_key})
        if inner.key in self.single:
            options.pop("combiner", None)
            return self._keep(column, CategoricalFeature, inner.key, options)
        return self._keep(column, MultiValuedFeature, inner.key, options)

    def _options(self, column: Column) -> dict[str, Any]:
        """Returns what an embedding column says of its table and vectors."""
        shared = getattr(column, "shared_embedding_column_creator", None)
        table, prefix = (column, "") if shared is None else (shared, "_")
        if getattr(table, f"{prefix}ckpt_to_load_from") is not None:
            refuse(column, "ckpt_to_load_from", "Write the vectors to a .npy or Parquet file and declare `pretrained`")
        options: dict[str, Any] = {"combiner": column.combiner, "max_norm": column.max_norm}
        own = {
            "embedding_dim": table.dimension,
            "initializer": initializer_of(column, getattr(table, f"{prefix}initializer"), 1 / math.sqrt(table.dimension)),
            "trainable": bool(getattr(table, f"{prefix}trainable")),
        }
        if shared is None:
            return options | own
        encoding = encoding_of(column, unwrapped(column.categorical_column))[1]
        name, first = self._tables.setdefault(id(shared), (valid_name(shared._name), encoding))
        if encoding != first:
            refuse(column, "a table shared by columns that number their values in different ways", "Give them one vocabulary")
        is_owner = not any(getattr(feature, "table", None) == name for feature in self.features)
        return options | {"table": name} | ({**own, "owns_table": True} if is_owner else {})

    def _cross(self, column: Column, crossed: Column, options: dict[str, Any]) -> str:
        inputs, by_id = [], []
        for key in leaf_keys(crossed):
            inputs.append(self._input(key))
            if not isinstance(key, str) and kind(key) != "BucketizedColumn":
                by_id.append(inputs[-1])
        options |= {"inputs": tuple(inputs), "by_id": tuple(by_id), "num_buckets": crossed.hash_bucket_size}
        if crossed.hash_key:  # TensorFlow takes 0 for none
            options["hash_key"] = crossed.hash_key
        feature_name = valid_name(crossed.name)
        return self._keep(column, CrossedFeature, feature_name, options)

    def _input(self, key: Column) -> str:
        """Returns the name of the feature that a cross reads, made where there is none."""
        if isinstance(key, str):
            for feature in self.features:
                if isinstance(feature, CategoricalFeature | MultiValuedFeature) and feature.raw_column == key:
                    return feature.name
            kind_of = CategoricalFeature if key in self.single else MultiValuedFeature
            return self._keep(key, kind_of, key, {"only_crossed": True})
        for feature in self.features:
            if kind(key) == "BucketizedColumn":
                if (
                    isinstance(feature, BucketizedFeature)
                    and feature.raw_column == key.source_column.key
                    and feature.boundaries == key.boundaries
                ):
                    return feature.name
            elif isinstance(feature, TokenFeature) and not isinstance(feature, SequenceFeature) and feature.raw_column == key.key:
                if feature.encoding == encoding_of(key, key)[1]:
                    return feature.name
        return self._make(key, key, {"only_crossed": True})

    def _keep(self, column: Column, feature: type, key: str, options: dict[str, Any], wanted: str | None = None) -> str:
        """Adds a feature, under its key's name where that is free."""
        taken = {name.lower() for each in self.features for name in (each.name, *each.fields)}
        names = [valid_name(each) for each in (wanted or key, getattr(column, "name", key))]
        name = next((each for each in names if each.lower() not in taken), None)
        if name is None:
            refuse(column, f"a second feature called {names[-1]!r}", "Leave one of the columns out")
        options = {option: value for option, value in options.items() if value is not None and option != "owns_table"}
        if name != key and feature is not CrossedFeature:
            options["column"] = key
        try:
            self.features.append(feature(name=name, **options))
        except ValidationError as error:
            refuse(column, _message(error).rstrip("."), "Write the feature by hand")
        return str(name)


def _number(column: Column, max_length: int) -> tuple[type, str, dict[str, Any]]:
    if column.normalizer_fn is not None:
        refuse(
            column, "a normalizer_fn", "Declare a `scaling` (z_score, log1p, min_max, quantile_normal), whose statistics the job computes"
        )
    if kind(column) == "SequenceNumericColumn":
        if tuple(column.shape) != (1,) or column.default_value:
            refuse(column, "steps of several numbers, or padding that is not 0", "Give each number a sequence of its own")
        return NumericSequenceFeature, column.key, {"scaling": "none", "representation": "value", "max_length": max_length}
    defaults = set(_flat(column.default_value)) if column.default_value is not None else set()
    if len(defaults) > 1:
        refuse(column, f"several default values, {sorted(defaults)}", "Give one for the whole vector")
    options = {"scaling": "none", "representation": "value", "size": math.prod(column.shape)}
    return NumericFeature, column.key, options | {"default": float(defaults.pop()) if defaults else None}


def _flat(values: Any) -> Iterable[float]:  # noqa: ANN401 (nested tuples of numbers)
    if not isinstance(values, tuple | list):
        return [values]
    return [number for value in values for number in _flat(value)]


def leaf_keys(crossed: Column) -> list[Any]:
    """Returns what a cross crosses, in order: keys and columns; a cross inside it counts as what that crosses."""
    return [leaf for key in crossed.keys for leaf in (leaf_keys(key) if kind(key) == "CrossedColumn" else [key])]


def valid_name(name: str) -> str:
    """Returns the nearest name that a feature may have."""
    valid = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return valid if valid[:1].isalpha() and not keyword.iskeyword(valid) and valid.lower() not in RESERVED_NAMES else f"f_{valid}"


def _message(error: ValidationError) -> str:
    return str(error.errors()[0]["msg"]).removeprefix("Value error, ")
