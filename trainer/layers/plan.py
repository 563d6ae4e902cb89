"""What the input layer makes of a spec, before there is any variable: its fields, their widths and order, the rows of tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from feature_specs import ColonnadeError, FeatureSpec, Vocabulary
from feature_specs.features import AnyFeature, NumericFeature, NumericSequenceFeature, TableFeature

Kind = Literal["ids", "number", "value", "indicator"]


@dataclass(frozen=True)
class Field:
    """One entry of the input layer's dictionaries.

    Attributes:
        name: Its key; the column of its ids or numbers has the same name.
        feature: Whose field it is.
        kind: Learned vectors of ids ("ids") or of numbers ("number"); numbers as they are ("value"); how often each id occurs
            ("indicator").
        width: Of its vectors.
        trainable: Whether the rows of its table are trained.
        shares: Whether another field of its table is an indicator.
    """

    name: str
    feature: AnyFeature
    kind: Kind
    width: int
    trainable: bool = True
    shares: bool = False

    @property
    def is_apart(self) -> bool:
        """Whether its first-order weights cannot be a column of its rows: these are frozen, or an indicator's ids have the weights too."""
        return self.shares or not self.trainable

    @property
    def is_list(self) -> bool:
        """Whether an example has any number of vectors."""
        return self.feature.is_list

    @property
    def size(self) -> int:
        """Numbers of one value."""
        return self.feature.size if isinstance(self.feature, NumericFeature) and self.name == self.feature.name else 1

    @property
    def combiner(self) -> str:
        """How several vectors become one."""
        return str(getattr(self.feature, "combiner", "sum"))

    @property
    def is_attended(self) -> bool:
        """Whether the vectors of a list are pooled by attention."""
        return self.is_list and self.kind != "indicator" and self.combiner == "attention"

    @property
    def table(self) -> str:
        """Name of the table of a field with ids."""
        if not isinstance(self.feature, TableFeature):
            raise TypeError(f"{self.name} has no table")
        return self.feature.table_name

    @property
    def rank(self) -> int:
        """Where the field lies among those of one width, so that a batch takes the fewest copies."""
        if self.kind == "ids":
            return (0 if not self.is_apart else 5 if self.trainable else 7) + self.is_list
        if self.kind != "number":
            return 9 if self.kind == "value" else 10
        # A list of numbers is pooled before it is multiplied with its vector, unless by attention.
        return 4 if self.size > 1 or self.is_attended else 2 + self.is_list


def fields_of(spec: FeatureSpec, widths: Mapping[str, int], rows: Mapping[str, int]) -> list[Field]:
    """Returns the fields of a spec, in its order.

    Args:
        spec: The features.
        widths: Of the vectors of each feature that has learned ones.
        rows: Of each table.
    """
    found = []
    for feature in spec.features:
        if not feature.fields:
            continue
        kind, trainable, shares = _kind(feature), True, False
        if isinstance(feature, TableFeature) and feature.fields:
            trainable = spec.table_options[feature.table_name].trainable
            shares = any(f.representation == "indicator" for f in spec.table_features if f.table_name == feature.table_name)
        found += [Field(name, feature, kind, _width(feature, name, kind, widths, rows), trainable, shares) for name in feature.fields]
    return found


def field_names(spec: FeatureSpec) -> tuple[str, ...]:
    """Returns the name of each field of `[B, F, D]`, in order."""
    widths, rows = dict.fromkeys((f.name for f in spec.features), 1), dict.fromkeys(spec.tables, 2)
    return tuple(field.name for field in sorted(fields_of(spec, widths, rows), key=lambda field: field.rank))


def value_names(spec: FeatureSpec) -> tuple[str, ...]:
    """Returns the fields of numbers as they are, in the order of the spec."""
    return tuple(name for feature in spec.features if feature.fields and _kind(feature) == "value" for name in feature.fields)


def widths_of(spec: FeatureSpec, embedding_dim: int | None, pretrained: Mapping[str, int]) -> dict[str, int]:
    """Returns the width of each feature's learned vectors; a table of pretrained ones has theirs.

    Raises:
        ColonnadeError: A feature has none.
    """
    if embedding_dim is not None and embedding_dim < 1:
        raise ColonnadeError(f"embedding_dim should be at least 1. Received: {embedding_dim}.")
    options = spec.table_options
    declared: dict[str, int | None] = {}
    for feature in spec.features:
        if not feature.fields or _kind(feature) in ("value", "indicator"):
            continue
        if isinstance(feature, TableFeature):
            declared[feature.name] = pretrained.get(feature.table_name) or options[feature.table_name].embedding_dim
        else:
            declared[feature.name] = feature.embedding_dim
    without = [name for name, width in declared.items() if width is None]
    if without and embedding_dim is None:
        raise ColonnadeError(f"Features without a width: {', '.join(without)}. Pass embedding_dim, or declare one for each in the spec.")
    return {name: width or embedding_dim or 0 for name, width in declared.items()}


def rows_of_tables(spec: FeatureSpec, table_rows: Mapping[str, int] | None) -> dict[str, int]:
    """Returns the rows of every table of the model's features, padding and OOV included.

    Raises:
        ColonnadeError: A table with a vocabulary is not in `table_rows`.
    """
    rows: dict[str, int] = {}
    used = {feature.table_name for feature in spec.table_features}
    for table, encoding in spec.tables.items():
        if table not in used:
            continue
        if not isinstance(encoding, Vocabulary):
            rows[table] = encoding.num_rows()
        elif table_rows is not None and table in table_rows:
            rows[table] = table_rows[table]
        elif encoding.tokens is not None:
            rows[table] = encoding.num_rows(min(len(encoding.tokens), encoding.max_size or len(encoding.tokens)))
        else:
            raise ColonnadeError(
                f"The number of rows of table {table!r} is not known: it has a vocabulary. Received table_rows: "
                f"{dict(table_rows or {}) or None}. Pass table_rows=DataDirectory.open(...).table_rows."
            )
    return rows


def first_order_spec(spec: FeatureSpec) -> FeatureSpec:
    """Returns the spec of the linear term: everything is embedded, as one trained weight; only `l2` of its tables is kept."""
    features = []
    for feature in spec.features:
        known = type(feature).model_fields
        plain: dict[str, object] = {"representation": "embedding", "embedding_dim": None, "initializer": None, "trainable": True}
        plain |= {"max_norm": None, "pretrained": None}
        if getattr(feature, "combiner", None) == "attention":
            plain["combiner"] = "mean"  # attention is learned on vectors
        features.append(feature.model_copy(update={option: value for option, value in plain.items() if option in known}))
    return spec.model_copy(update={"features": tuple(features)})


def check_equal_widths(fields: Collection[Field]) -> None:
    """Raises a ColonnadeError where one vector a field has no one width, or is no vector: a number as it is."""
    by_width: dict[int, list[str]] = {}
    for field in fields:
        by_width.setdefault(field.width, []).append(field.name if field.kind in ("ids", "number") else f"{field.name}: {field.kind}")
    has_values = any(field.kind == "value" for field in fields)
    if len(by_width) > 1 or has_values:
        received = "; ".join(f"{width} ({', '.join(names)})" for width, names in by_width.items())
        raise ColonnadeError(
            f"One vector a field needs equal widths. Received: {received}. Leave `embedding_dim` (and `representation`) out of the spec, "
            "choose the embedding_dim of pretrained vectors, or use a model on sequences or on flat input."
            + (" Numbers as they are go beside the vectors into an MLP: deepfm has one, autoint with hidden_units." if has_values else "")
        )


def _kind(feature: AnyFeature) -> Kind:
    if isinstance(feature, NumericFeature | NumericSequenceFeature):
        return "value" if feature.representation == "value" else "number"
    return "indicator" if feature.representation == "indicator" else "ids"


def _width(feature: AnyFeature, name: str, kind: Kind, widths: Mapping[str, int], rows: Mapping[str, int]) -> int:
    if kind == "value":
        return feature.size if isinstance(feature, NumericFeature) and name == feature.name else 1
    if kind == "indicator" and isinstance(feature, TableFeature):
        return rows[feature.table_name] - 1
    return widths[feature.name]
