"""What one feature's declaration cannot show: whether the parts of a spec fit together.

Every message names the feature and the fix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feature_specs.errors import did_you_mean
from feature_specs.features import Encoding, SequenceFeature, TokenFeature

if TYPE_CHECKING:
    from feature_specs.spec import FeatureSpec


def check(spec: FeatureSpec) -> None:
    """Raises ValueError for the first thing in `spec` that cannot work."""
    if not spec.features:
        raise ValueError("the spec has no features. Declare at least one under `features`.")
    _check_names(spec)
    _check_tables(spec)
    _check_histories(spec)
    _check_columns(spec)


def _check_names(spec: FeatureSpec) -> None:
    seen: dict[str, str] = {}
    for feature in spec.features:
        folded = feature.name.lower()
        if folded in seen:
            raise ValueError(
                f"features {seen[folded]!r} and {feature.name!r} have the same name (case is ignored: serving signatures cannot tell "
                "them apart). Rename one of them."
            )
        seen[folded] = feature.name


def _check_tables(spec: FeatureSpec) -> None:
    encodings: dict[str, tuple[str, Encoding]] = {}
    for feature in spec.token_features:
        if feature.encoding is not None:
            owner, encoding = encodings.setdefault(feature.table_name, (feature.name, feature.encoding))
            if encoding != feature.encoding:
                raise ValueError(
                    f"features {owner!r} and {feature.name!r} share table {feature.table_name!r} with different encodings. "
                    f"Leave out `encoding` in {feature.name!r}, or give it another `table`."
                )
    widths: dict[str, tuple[str, int]] = {}
    for feature in spec.token_features:
        table = feature.table_name
        if table not in encodings:
            if feature.table is None:
                raise ValueError(
                    f"feature {feature.name!r} has no `encoding`. Give it one (vocabulary, hash or identity) or name the "
                    f"`table` that it shares: {', '.join(sorted(encodings)) or 'none is declared'}."
                )
            raise ValueError(
                f"feature {feature.name!r} uses the unknown table {table!r}.{did_you_mean(table, encodings)} Declared tables: "
                f"{', '.join(sorted(encodings)) or 'none'}. Give one feature with this table an `encoding`."
            )
        if feature.embedding_dim is not None:
            owner, width = widths.setdefault(table, (feature.name, feature.embedding_dim))
            if width != feature.embedding_dim:
                raise ValueError(
                    f"features {owner!r} and {feature.name!r} share table {table!r} but declare embedding_dim {width} and "
                    f"{feature.embedding_dim}. Make them equal, or give {feature.name!r} another `table`."
                )


def _check_histories(spec: FeatureSpec) -> None:
    by_name = {feature.name: feature for feature in spec.features}
    for feature in spec.features:
        if not isinstance(feature, SequenceFeature) or feature.history_of is None:
            continue
        target = by_name.get(feature.history_of)
        if not isinstance(target, TokenFeature) or target.is_list:
            raise ValueError(
                f"feature {feature.name!r}: history_of should name a categorical feature. Received: "
                f"{feature.history_of!r}.{did_you_mean(feature.history_of, by_name)}"
            )
        if target.table_name != feature.table_name or target.dtype != feature.dtype:
            raise ValueError(
                f"feature {feature.name!r} is a history of {target.name!r} and should share its table and dtype. Set `table: "
                f"{target.table_name}` and `dtype: {target.dtype}`."
            )
        if spec.keys.user is None or spec.keys.time is None:
            raise ValueError(
                f"feature {feature.name!r} is a history: it needs keys.user and keys.time. Name the raw columns that hold them."
            )


def _check_columns(spec: FeatureSpec) -> None:
    types: dict[str, tuple[str, Any]] = {}
    for name, column, dtype in [(f.name, f.raw_column, (f.dtype, f.is_list, getattr(f, "delimiter", None))) for f in spec.read_features]:
        owner, first = types.setdefault(column, (name, dtype))
        if first != dtype:
            raise ValueError(
                f"features {owner!r} and {name!r} read column {column!r} with different types, {first[0]} and {dtype[0]}. Make "
                "dtype, kind and delimiter equal."
            )
    if spec.label.column in types:
        raise ValueError(
            f"feature {types[spec.label.column][0]!r} reads the label's column {spec.label.column!r}: the model would be given "
            "its answer. Remove the feature."
        )
