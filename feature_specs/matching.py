"""What a spec for matching declares: which features describe the item, which one is the history, and whether it all fits together.

Every message names what was received and the fix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_specs.errors import did_you_mean
from feature_specs.features import CategoricalFeature, CrossedFeature, SequenceFeature
from feature_specs.splits import FilesSplit

if TYPE_CHECKING:
    from feature_specs.spec import FeatureSpec


def item_features(spec: FeatureSpec) -> list[CategoricalFeature]:
    """Returns the features that read one token from the column of `keys.item`; a spec for matching has exactly one."""
    return [f for f in spec.features if isinstance(f, CategoricalFeature) and f.raw_column == spec.keys.item]


def check(spec: FeatureSpec) -> None:
    """Raises ValueError for the first thing that cannot work in a spec for matching, or that only such a spec can have."""
    if not spec.is_matching:
        _check_other(spec)
        return
    _check_roles(spec)
    _check_item_feature(spec)
    _check_item_side(spec)
    _check_history(spec)
    _check_crosses(spec)


def _check_other(spec: FeatureSpec) -> None:
    options = {
        "item_features": bool(spec.item_features),
        "split.valid_last": isinstance(spec.split, FilesSplit) and spec.split.valid_last,
        "split.candidates": isinstance(spec.split, FilesSplit) and spec.split.candidates is not None,
    }
    for option, given in options.items():
        if given:
            raise ValueError(f"{option} is for matching; the label's task is {spec.label.task!r}. Leave it out, or set `task: matching`.")


def _check_roles(spec: FeatureSpec) -> None:
    if spec.keys.user is None or spec.keys.item is None:
        raise ValueError("the label's task 'matching' needs keys.user and keys.item. Name the raw columns that hold them.")
    if spec.negatives is not None:
        raise ValueError("`negatives` are copies of rows for ranking; for matching they are sampled in training. Leave `negatives` out.")
    if spec.label.weight is not None:
        raise ValueError(f"the label has the weight {spec.label.weight!r}; for matching all interactions count once. Leave `weight` out.")
    if spec.keys.group is not None:
        raise ValueError(f"keys.group is {spec.keys.group!r}, and matching ranks all items for each user. Leave keys.group out.")


def _check_item_feature(spec: FeatureSpec) -> None:
    found = item_features(spec)
    if len(found) != 1:
        received = f"{', '.join(repr(f.name) for f in found)} do" if found else "none does"
        raise ValueError(
            f"matching needs exactly one categorical feature that reads keys.item, column {spec.keys.item!r}: its ids are the items. "
            f"Received: {received}. {'Keep one of them' if found else 'Add it'}."
        )
    item = found[0]
    if item.only_crossed:
        raise ValueError(f"feature {item.name!r} is the item and only_crossed: no model would know the item. Leave out only_crossed.")
    encoding = spec.tables.get(item.table_name)
    if getattr(encoding, "num_oov_buckets", 1) == 0 and getattr(encoding, "oov_token", None) is None:
        raise ValueError(
            f"feature {item.name!r} is the item, and with num_oov_buckets: 0 an item outside of the vocabulary has id 0, as padding has. "
            "Set num_oov_buckets: 1."
        )


def _check_item_side(spec: FeatureSpec) -> None:
    by_name = {feature.name: feature for feature in spec.features}
    for name in spec.item_features:
        if name not in by_name:
            known = ", ".join(by_name)
            raise ValueError(f"item_features names the unknown feature {name!r}.{did_you_mean(name, by_name)} Features: {known}.")
        if by_name[name] in spec.histories:
            raise ValueError(f"item_features names {name!r}, a history, which is of the user. Leave it out of item_features.")
        if by_name[name].raw_column in (spec.keys.user, spec.keys.time) and not isinstance(by_name[name], CrossedFeature):
            raise ValueError(
                f"item_features names {name!r}, which reads {by_name[name].raw_column!r}, the user or time of an interaction. Leave it out."
            )


def _check_history(spec: FeatureSpec) -> None:
    item = spec.item_feature
    for place, feature in enumerate(spec.histories):
        if not isinstance(feature, SequenceFeature) or feature.history_of != item.name:
            of = getattr(feature, "history_of", None)
            raise ValueError(
                f"feature {feature.name!r} is a history of {of or 'time gaps'!r}; matching knows the history of its item alone. Set "
                f"`history_of: {item.name}` and `table: {item.table_name}`, or leave the feature out."
            )
        if place:
            raise ValueError(f"features {spec.histories[0].name!r} and {feature.name!r} are both the history. Keep one of them.")
        if feature.derive != item.derive:
            raise ValueError(f"feature {feature.name!r} is the history of {item.name!r} and should derive its values as that does.")
        if feature.default is not None:
            raise ValueError(f"feature {feature.name!r} is the history and has a default, but new users have none. Leave `default` out.")


def _check_crosses(spec: FeatureSpec) -> None:
    items = set(spec.item_names)
    for feature in spec.features:
        if not isinstance(feature, CrossedFeature):
            continue
        sides = {name in items for name in feature.inputs}
        if len(sides) == 2:
            ours, theirs = ([repr(name) for name in feature.inputs if (name in items) == side] for side in (True, False))
            raise ValueError(
                f"feature {feature.name!r} crosses {', '.join(ours)} of the item with {', '.join(theirs)} of the user; matching embeds "
                "both sides apart. Cross features of one side."
            )
        if (feature.name in items) not in sides:
            side, fix = ("user", "Leave it out of") if feature.name in items else ("item", "Add it to")
            raise ValueError(f"feature {feature.name!r} crosses features of the {side}. {fix} item_features.")
