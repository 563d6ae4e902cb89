"""What one feature's declaration cannot show: whether the parts of a spec fit together.

Every message names the feature and the fix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from feature_specs import matching
from feature_specs.errors import ColonnadeError, did_you_mean
from feature_specs.features import (
    AnyEncoding,
    AnyFeature,
    BucketizedFeature,
    CrossedFeature,
    Identity,
    MultiValuedFeature,
    NumericFeature,
    NumericSequenceFeature,
    SequenceFeature,
    TableFeature,
    TokenFeature,
    Vocabulary,
)
from feature_specs.splits import LeaveLastOutSplit, TemporalSplit, WithinUserSplit

if TYPE_CHECKING:
    from feature_specs.spec import FeatureSpec


# Folders are called by it: no separator, nothing hidden, no option, no second word.
_SPEC_NAME = re.compile(r"[^\W_](?:[\w.-]*\w)?")


def check_name(name: str, what: str = "the spec's name") -> None:
    """Raises ColonnadeError where `name` is none for a spec, whose data and runs lie in folders of that name."""
    if not _SPEC_NAME.fullmatch(name):
        raise ColonnadeError(
            f"{what} should be letters and digits, with '_', '-' and '.' inside, such as 'clicks-2024': folders are called by it. "
            f"Received: {name!r}."
        )


def check(spec: FeatureSpec) -> None:
    """Raises ValueError for the first thing in `spec` that cannot work."""
    check_name(spec.name)
    if not spec.features:
        raise ValueError("the spec has no features. Declare at least one under `features`.")
    _check_names(spec)
    _check_tables(spec)
    _check_histories(spec)
    _check_crosses(spec)
    _check_columns(spec)
    _check_keys(spec)
    matching.check(spec)


def _check_names(spec: FeatureSpec) -> None:
    seen: dict[str, tuple[int, str]] = {}
    for place, feature in enumerate(spec.features):
        # Its own name, and those of the columns and fields that come with it.
        for name in dict.fromkeys([feature.name, *(c.name for c in (*feature.raw_inputs, *feature.outputs)), *feature.fields]):
            first, owner = seen.setdefault(name.lower(), (place, feature.name))
            if first != place:
                raise ValueError(
                    f"features {owner!r} and {feature.name!r} have the same name {name!r} (case is ignored: serving signatures cannot tell "
                    "them apart). Rename one of them."
                )
    if not spec.fields:
        raise ValueError("all features are only_crossed: the model would have none. Declare one without it.")


_OPTIONS = ("embedding_dim", "initializer", "l2", "trainable", "pretrained")


def _check_tables(spec: FeatureSpec) -> None:
    encodings: dict[str, tuple[str, AnyEncoding]] = {}
    members = [f for f in spec.features if isinstance(f, TableFeature)]
    for feature in members:
        if feature.table_encoding is not None:
            owner, encoding = encodings.setdefault(feature.table_name, (feature.name, feature.table_encoding))
            if encoding != feature.table_encoding:
                raise ValueError(
                    f"features {owner!r} and {feature.name!r} share table {feature.table_name!r} with different encodings. "
                    f"Leave out `encoding` in {feature.name!r}, or give it another `table`."
                )
    for feature in members:
        table = feature.table_name
        if table not in encodings:
            if feature.only_crossed and feature.table is None:
                continue
            if feature.table is None:
                raise ValueError(
                    f"feature {feature.name!r} has no `encoding`. Give it one (vocabulary, hash or identity) or name the "
                    f"`table` that it shares: {', '.join(sorted(encodings)) or 'none is declared'}."
                )
            raise ValueError(
                f"feature {feature.name!r} uses the unknown table {table!r}.{did_you_mean(table, encodings)} Declared tables: "
                f"{', '.join(sorted(encodings)) or 'none'}. Give one feature with this table an `encoding`."
            )
        speaker = next(f for f in members if f.name == encodings[table][0])
        for option in _OPTIONS:
            said, default = getattr(feature, option, None), option == "trainable" or None
            if said != default and said != getattr(speaker, option, None):
                raise ValueError(
                    f"features {speaker.name!r} and {feature.name!r} share table {table!r} but declare {option} "
                    f"{getattr(speaker, option, None)} and {said}. Say it in {speaker.name!r}, which has the encoding, or give "
                    f"{feature.name!r} another `table`."
                )


def _check_histories(spec: FeatureSpec) -> None:
    by_name = {feature.name: feature for feature in spec.features}
    for feature in spec.histories:
        _check_target(feature, by_name)
        if spec.keys.user is None or spec.keys.time is None:
            raise ValueError(
                f"feature {feature.name!r} is a history: it needs keys.user and keys.time. Name the raw columns that hold them."
            )


def _check_target(feature: SequenceFeature | NumericSequenceFeature, by_name: Mapping[str, AnyFeature]) -> None:
    if feature.history_of is None:
        return
    target = by_name.get(feature.history_of)
    hint = did_you_mean(feature.history_of, by_name)
    if isinstance(feature, NumericSequenceFeature):
        if not isinstance(target, NumericFeature) or target.size != 1:
            raise ValueError(
                f"feature {feature.name!r}: history_of should name a numeric feature of size 1. Received: {feature.history_of!r}.{hint}"
            )
        return
    if not isinstance(target, TokenFeature) or target.is_list:
        raise ValueError(f"feature {feature.name!r}: history_of should name a categorical feature. Received: {feature.history_of!r}.{hint}")
    if target.table_name != feature.table_name or target.dtype != feature.dtype:
        raise ValueError(
            f"feature {feature.name!r} is a history of {target.name!r} and should share its table and dtype. Set `table: "
            f"{target.table_name}` and `dtype: {target.dtype}`."
        )


def _check_crosses(spec: FeatureSpec) -> None:
    by_name = {feature.name: feature for feature in spec.features}
    used: set[str] = set()
    for feature in spec.features:
        if not isinstance(feature, CrossedFeature):
            continue
        used |= set(feature.inputs)
        for name in feature.inputs:
            source = by_name.get(name)
            if not isinstance(source, TokenFeature | BucketizedFeature) or isinstance(source, SequenceFeature):
                raise ValueError(
                    f"feature {feature.name!r}: inputs should name categorical, multi_valued or bucketized features. Received: "
                    f"{name!r}.{did_you_mean(name, by_name.keys() - {name})}"
                )
            encoding = spec.tables.get(source.table_name)
            if name in feature.by_id and not isinstance(encoding, Vocabulary | Identity):
                raise ValueError(
                    f"feature {feature.name!r}: by_id should name features with a vocabulary or identity encoding. Received: {name!r}."
                )
    for feature in spec.features:
        if feature.only_crossed and feature.name not in used:
            raise ValueError(f"feature {feature.name!r} is only_crossed, and no crossed feature has it as input. Remove it or the option.")


def _check_keys(spec: FeatureSpec) -> None:
    needs: dict[str, list[str]] = {}
    if isinstance(spec.split, TemporalSplit) and spec.keys.time is None:
        needs["split temporal"] = ["keys.time"]
    if isinstance(spec.split, LeaveLastOutSplit) and (spec.keys.user is None or spec.keys.time is None):
        needs["split leave_last_out"] = ["keys.user", "keys.time"]
    if isinstance(spec.split, WithinUserSplit) and spec.keys.user is None:
        needs["split within_user"] = ["keys.user"]
    if spec.negatives is not None and (spec.keys.user is None or spec.keys.item is None):
        needs["negatives"] = ["keys.user", "keys.item"]
    for what, keys in needs.items():
        raise ValueError(f"{what} needs {' and '.join(keys)}. Name the raw columns that hold them.")
    if spec.negatives is not None and (kept := {spec.keys.user, spec.keys.time} & set(spec.negatives.resample)):
        raise ValueError(f"negatives.resample names {', '.join(map(repr, sorted(map(str, kept))))}: a negative keeps its user and time.")
    if spec.negatives is not None and spec.label.weight in spec.negatives.resample:
        raise ValueError(f"negatives.resample names {spec.label.weight!r}, the label's weight: a negative has that of its positive.")
    if spec.negatives is not None and spec.label.task == "regression":
        raise ValueError("negatives have label 0, which goes with a binary label. Remove `negatives`, or set `task: binary`.")


def _check_columns(spec: FeatureSpec) -> None:
    types: dict[str, tuple[str, Any]] = {}
    for feature in spec.read_features:
        lists = tuple(getattr(feature, option, None) for option in ("size", "delimiter", "value_delimiter"))
        own = (feature.raw_type, feature.is_list, lists if feature.is_list or getattr(feature, "size", 1) > 1 else None)
        owner, first = types.setdefault(feature.raw_column, (feature.name, own))
        if first != own:
            raise ValueError(
                f"features {owner!r} and {feature.name!r} read column {feature.raw_column!r} with different types, {first[0]} and "
                f"{own[0]}. Make dtype, kind and delimiter equal."
            )
    for feature in spec.features:
        if isinstance(feature, MultiValuedFeature) and feature.weights in types:
            raise ValueError(f"feature {types[feature.weights][0]!r} reads the weights of {feature.name!r}, column {feature.weights!r}.")
    if spec.label.column in types:
        raise ValueError(
            f"feature {types[spec.label.column][0]!r} reads the label's column {spec.label.column!r}: the model would be given "
            "its answer. Remove the feature."
        )
