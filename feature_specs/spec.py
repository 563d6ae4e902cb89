"""FeatureSpec: the only place that names a feature; everything else in the project is a function of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

import yaml
from pydantic import ValidationError, field_validator, model_validator

from feature_specs import validation
from feature_specs.errors import ColonnadeError
from feature_specs.explain import explain
from feature_specs.features import AnyFeature, Encoding, Frozen, NumericFeature, RawType, SequenceFeature, TokenFeature
from feature_specs.sources import Source


class Label(Frozen):
    """What a ranking model learns.

    Attributes:
        column: The raw column.
        threshold: A row is positive where the value is at least this. Without it the value must be 0 or 1 (binary) or any number
            (regression).
        task: What the model is trained for.
    """

    column: str
    threshold: float | None = None
    task: Literal["binary", "regression"] = "binary"


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


class RandomSplit(Frozen):
    """Every row falls into a split by a hash of its own values, so that adding rows moves none.

    Attributes:
        fractions: Expected shares of train, valid and test; they add up to 1.
        by: Raw columns that are hashed; all columns of the row where not given. Rows equal in these share a split.
        seed: Another seed, another split.
    """

    type: Literal["random"] = "random"
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    by: tuple[str, ...] = ()
    seed: int = 0

    @field_validator("fractions")
    @classmethod
    def _adds_up(cls, fractions: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6 or fractions[0] == 0:
            raise ValueError(
                "split fractions should be three shares of train, valid and test that add up to 1, train above 0. Received: "
                f"{fractions}."
            )
        return fractions


class FeatureSpec(Frozen):
    """A data set, declared: raw columns, features, tables, label, keys, split and source.

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
    split: RandomSplit = RandomSplit()
    source: Source = Source()

    @model_validator(mode="after")
    def _is_consistent(self) -> FeatureSpec:
        validation.check(self)
        return self

    @property
    def token_features(self) -> tuple[TokenFeature, ...]:
        """The features whose values index an embedding table, in order."""
        return tuple(f for f in self.features if isinstance(f, TokenFeature))

    @property
    def numeric_features(self) -> tuple[NumericFeature, ...]:
        """The numeric features, in order."""
        return tuple(f for f in self.features if isinstance(f, NumericFeature))

    @property
    def histories(self) -> tuple[SequenceFeature, ...]:
        """The sequences that the preprocessing job builds from a user's earlier rows."""
        return tuple(f for f in self.features if isinstance(f, SequenceFeature) and f.history_of)

    @property
    def read_features(self) -> tuple[NumericFeature | TokenFeature, ...]:
        """The features that are read from a raw column: all but the histories."""
        return tuple(f for f in self.features if f not in self.histories)

    @property
    def tables(self) -> dict[str, Encoding]:
        """Encoding of every embedding table, in the order of first use."""
        found = {f.table_name: f.encoding for f in self.token_features if f.encoding is not None}
        return {name: found[name] for name in dict.fromkeys(f.table_name for f in self.token_features)}

    @property
    def table_widths(self) -> dict[str, int]:
        """Width of the tables that declare one."""
        return {f.table_name: f.embedding_dim for f in self.token_features if f.embedding_dim is not None}

    @property
    def column_types(self) -> dict[str, RawType]:
        """Type of every raw column that is read: of a feature, of the label (float32) or of a key (string; the time is int64)."""
        types: dict[str, RawType] = {f.raw_column: f.dtype for f in self.read_features}
        types.setdefault(self.label.column, "float32")
        if self.keys.time is not None:
            types.setdefault(self.keys.time, "int64")
        for column in (self.keys.user, self.keys.item, self.keys.group, *self.split.by):
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
            tree = yaml.safe_load(text)
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
