"""FeatureSpec: the only place that names a feature; everything else in the project is a function of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from feature_specs import matching, validation
from feature_specs.base import Column
from feature_specs.errors import ColonnadeError
from feature_specs.explain import explain
from feature_specs.features import (
    AnyEncoding,
    AnyFeature,
    CategoricalFeature,
    CrossedFeature,
    Frozen,
    MultiValuedFeature,
    NumericFeature,
    NumericSequenceFeature,
    RawType,
    SequenceFeature,
    TableFeature,
    TokenFeature,
)
from feature_specs.sources import Source
from feature_specs.splits import Negatives, RandomSplit, Split
from feature_specs.yaml_text import parse


class Label(Frozen):
    """What a model learns.

    Attributes:
        column: The raw column; none where the label is implicit.
        threshold: A row is positive where the value is at least this. Without it the value must be 0 or 1 (binary) or any number
            (regression).
        positive: Raw values that make a row positive, such as [">50K"]; then the column is read as text.
        negative: Raw values that make a row negative; all others are set aside. Where not given, whatever is not positive is negative.
        implicit: Every row is a 1, such as a log of clicks; sampled negatives bring the 0s.
        task: What the model is trained for. For "matching" rows are interactions: those that are positive, or all where it is implicit.
        weight: Raw column with the weight of each row in the training loss, 0 or more; all count once where not given.
    """

    column: str | None = None
    threshold: float | None = None
    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    implicit: bool = False
    task: Literal["binary", "regression", "matching"] = "binary"
    weight: str | None = None

    @model_serializer(mode="wrap")
    def _keep_tag(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out a weight that is not given: specs without one keep the fingerprints that they had before there were weights."""
        return {name: value for name, value in serialize(self).items() if name != "weight" or value is not None}

    @model_validator(mode="after")
    def _says_one_thing(self) -> Label:
        if self.implicit == (self.column is not None):
            raise ValueError("the label should have a `column`, or be `implicit: true`; one of them.")
        if self.threshold is not None and self.positive:
            raise ValueError("the label should have a `threshold` or `positive` values, not both.")
        if self.negative and not self.positive:
            raise ValueError("the label has `negative` values and no `positive` ones. Give these too.")
        if set(self.positive) & set(self.negative):
            raise ValueError(f"the label's values {sorted(set(self.positive) & set(self.negative))} are positive and negative.")
        if self.task == "regression" and (self.threshold is not None or self.positive or self.implicit):
            raise ValueError("the label of a regression is a number as it is. Leave out threshold, positive and implicit.")
        if self.weight is not None and self.weight == self.column:
            raise ValueError(f"the label's weight is its own column {self.column!r}. Name the column that says how much a row counts.")
        return self


class Keys(Frozen):
    """Raw columns with a role: they are carried through to the Parquet files and are no inputs of the model.

    Attributes:
        user: Whose row it is; histories are built per user.
        item: What was shown.
        time: When, in seconds; ties are broken by file order.
        group: Within which rankings are compared (GAUC); the user where not given.
    """

    user: str | None = None
    item: str | None = None
    time: str | None = None
    group: str | None = None


class FeatureSpec(Frozen):
    """A data set, declared: raw columns, features, tables, label, keys, split and source; for matching also which features are the item's.

    Example:
        >>> spec = FeatureSpec.from_yaml('''
        ... name: clicks
        ... features:
        ... - {kind: categorical, name: ad, encoding: {type: vocabulary}}
        ... label: {column: clicked}
        ... ''')
        >>> spec.features[0].table_name
        'ad'
    """

    name: str
    features: tuple[AnyFeature, ...]
    label: Label
    keys: Keys = Keys()
    split: Split = RandomSplit()
    negatives: Negatives | None = None
    source: Source = Source()
    item_features: tuple[str, ...] = ()

    @model_serializer(mode="wrap")
    def _keep_tag(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out item features where there are none: such specs keep the fingerprints that they had before there were any."""
        return {name: value for name, value in serialize(self).items() if name != "item_features" or value}

    @model_validator(mode="after")
    def _is_consistent(self) -> FeatureSpec:
        validation.check(self)
        lists = {f.name for f in self.features if isinstance(f, MultiValuedFeature)}
        for feature in self.features:
            if isinstance(feature, CrossedFeature):
                feature._crosses_lists = bool(lists & set(feature.inputs))
        return self

    @property
    def raw_inputs(self) -> tuple[Column, ...]:
        """What the transform graph takes: the columns of raw examples, in order of the features."""
        return tuple(column for feature in self.features for column in feature.raw_inputs)

    @property
    def outputs(self) -> tuple[Column, ...]:
        """What the transform graph gives: the columns of transformed examples, in order of the features."""
        return tuple(column for feature in self.features for column in feature.outputs)

    @property
    def paddings(self) -> dict[str, float]:
        """What pads each list of transformed examples, on the right: 0 for ids, NaN for numbers, -1 for the steps of values."""
        steps = {f.steps_name for f in self.features if isinstance(f, SequenceFeature) and f.value_delimiter}
        lists = [column for column in self.outputs if column.layout == "list"]
        return {c.name: float("nan") if c.dtype == "float32" else -1 if c.name in steps else 0 for c in lists}

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the vectors that the input layer gives, in order of the features."""
        return tuple(name for feature in self.features for name in feature.fields)

    @property
    def token_features(self) -> tuple[TokenFeature, ...]:
        """The features of tokens: categorical, multi-valued, sequence; those that are only crossed too."""
        return tuple(f for f in self.features if isinstance(f, TokenFeature))

    @property
    def table_features(self) -> tuple[TableFeature, ...]:
        """The features whose ids index a table in the model."""
        return tuple(f for f in self.features if isinstance(f, TableFeature) and not f.only_crossed)

    @property
    def numeric_features(self) -> tuple[NumericFeature, ...]:
        """The numeric features, in order."""
        return tuple(f for f in self.features if isinstance(f, NumericFeature))

    @property
    def histories(self) -> tuple[SequenceFeature | NumericSequenceFeature, ...]:
        """The sequences that the preprocessing job builds from a user's earlier rows."""
        return tuple(f for f in self.features if isinstance(f, SequenceFeature | NumericSequenceFeature) and f.is_history)

    @property
    def read_features(self) -> tuple[AnyFeature, ...]:
        """The features that are read from a raw column: all but histories and crosses."""
        return tuple(f for f in self.features if f.raw_inputs and f not in self.histories)

    @property
    def is_matching(self) -> bool:
        """Whether rows are interactions, of which items are to be retrieved."""
        return self.label.task == "matching"

    @property
    def item_feature(self) -> CategoricalFeature:
        """The feature whose ids are the items; specs for matching have it."""
        return matching.item_features(self)[0]

    @property
    def item_names(self) -> tuple[str, ...]:
        """Names of the features that describe the item: the item itself first, which `item_features` need not name."""
        return tuple(dict.fromkeys((self.item_feature.name, *self.item_features)))

    @property
    def user_names(self) -> tuple[str, ...]:
        """Names of the features that describe the user or the moment: all but those of the item and the history."""
        others = {*self.item_names, *(feature.name for feature in self.histories)}
        return tuple(feature.name for feature in self.features if feature.name not in others)

    @property
    def history(self) -> SequenceFeature | None:
        """The user's earlier items, where a spec for matching declares them."""
        return next((f for f in self.histories if self.is_matching and isinstance(f, SequenceFeature)), None)

    @property
    def tables(self) -> dict[str, AnyEncoding]:
        """Encoding of every table, in the order of first use."""
        members = [f for f in self.features if isinstance(f, TableFeature)]
        found = {f.table_name: f.table_encoding for f in members if f.table_encoding is not None}
        return {name: found[name] for name in dict.fromkeys(f.table_name for f in members) if name in found}

    @property
    def table_options(self) -> dict[str, TableFeature]:
        """The feature that speaks for each table: the one with the encoding; of several, the first."""
        owners: dict[str, TableFeature] = {}
        for feature in self.features:
            if isinstance(feature, TableFeature) and feature.table_encoding is not None:
                owners.setdefault(feature.table_name, feature)
        return owners

    @property
    def table_widths(self) -> dict[str, int]:
        """Width of the tables that declare one."""
        return {f.table_name: f.embedding_dim for f in self.table_features if f.embedding_dim is not None}

    @property
    def column_types(self) -> dict[str, RawType]:
        """Type of every raw column that is read: of a feature or its weights, of the label or its weight, of a key (string, or int64)."""
        types: dict[str, RawType] = {f.raw_column: f.raw_type for f in self.read_features}
        types.update({f.weights: "float32" for f in self.features if isinstance(f, MultiValuedFeature) and f.weights})
        if self.label.column is not None:
            types.setdefault(self.label.column, "string" if self.label.positive else "float32")
        if self.label.weight is not None:
            types.setdefault(self.label.weight, "float32")
        if self.keys.time is not None:
            types.setdefault(self.keys.time, "int64")
        by = self.split.by if isinstance(self.split, RandomSplit) else ()
        resampled = self.negatives.resample if self.negatives else ()
        for column in (self.keys.user, self.keys.item, self.keys.group, *by, *resampled):
            if column is not None:
                types.setdefault(column, "string")
        return types

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON: equal specs, and only they, have equal fingerprints."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_json(self) -> str:
        """Returns the whole spec, defaults included, as JSON."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"

    def to_yaml(self) -> str:
        """Returns the spec as YAML, without the fields that have their default value."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True, width=140)

    @classmethod
    def from_json(cls, text: str, origin: str = "spec") -> FeatureSpec:
        """Reads a spec from JSON; `origin` names the file in errors."""
        try:
            tree = json.loads(text)
        except ValueError as error:
            raise ColonnadeError(f"{origin} is not valid JSON: {error}. Compare it with the output of FeatureSpec.to_json().") from error
        return _validated(tree, origin)

    @classmethod
    def from_yaml(cls, text: str, origin: str = "spec") -> FeatureSpec:
        """Reads a spec from YAML; `origin` names the file in errors."""
        try:
            tree = parse(text)
        except yaml.YAMLError as error:
            raise ColonnadeError(f"{origin} is not valid YAML: {' '.join(str(error).split())}.") from error
        return _validated(tree, origin)

    @classmethod
    def load(cls, path: str | Path) -> FeatureSpec:
        """Reads a .yaml, .yml or .json file.

        Raises:
            ColonnadeError: The file is missing, is no YAML or JSON, or does not describe a valid spec.
        """
        path = Path(path)
        if not path.is_file():
            raise ColonnadeError(f"There is no spec file {str(path)!r}. Give --spec the path of a YAML or JSON file, or use --dataset.")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ColonnadeError(f"Spec file {str(path)!r} is not UTF-8 text: {error}.") from error
        return cls.from_json(text, str(path)) if path.suffix == ".json" else cls.from_yaml(text, str(path))


def _validated(tree: object, origin: str) -> FeatureSpec:
    if not isinstance(tree, dict):
        raise ColonnadeError(f"{origin} should be a mapping with the keys name, features and label. Received: {type(tree).__name__}.")
    try:
        return FeatureSpec.model_validate(tree)
    except ValidationError as error:
        raise ColonnadeError(f"{origin}: {explain(error, tree)}") from error
