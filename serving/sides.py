"""The two sides of a spec for matching, each as a spec of its own: what clients send to ask for items, and to describe one."""

from __future__ import annotations

from feature_specs.errors import ColonnadeError
from feature_specs.features import SequenceFeature
from feature_specs.spec import FeatureSpec

ARGUMENTS = ("k", "exclude_seen")
_SEEN = "seen"


def item_side(spec: FeatureSpec) -> FeatureSpec:
    """Returns the features that describe an item."""
    return _only(spec, spec.item_names)


def user_side(spec: FeatureSpec) -> FeatureSpec:
    """Returns the features that describe the user and the moment, and the history."""
    return _only(spec, (*spec.user_names, *([spec.history.name] if spec.history else [])))


def asking_side(spec: FeatureSpec) -> FeatureSpec:
    """Returns what items are asked for with: the user's side and, where that has no history, the list `seen` of items to leave out."""
    return _only(with_seen(spec), (*(feature.name for feature in user_side(spec).features), seen_name(spec)))


def with_seen(spec: FeatureSpec) -> FeatureSpec:
    """Returns all features and, where there is no history among them, `seen`."""
    item = spec.item_feature
    seen = SequenceFeature(name=_SEEN, dtype=item.dtype, table=item.table_name)
    return spec if spec.history else spec.model_copy(update={"features": (*spec.features, seen)})


def seen_name(spec: FeatureSpec) -> str:
    """Returns the name of the list of items that a user has seen."""
    return spec.history.name if spec.history else _SEEN


def check_names(spec: FeatureSpec) -> None:
    """Raises ColonnadeError where a feature has the name of another input of `retrieve`, or the user has no features at all."""
    others = ARGUMENTS if spec.history else (*ARGUMENTS, _SEEN)
    for column in user_side(spec).raw_inputs:
        if column.name.lower() in others:
            raise ColonnadeError(
                f"Feature {column.name!r} has the name of an input of the signature 'retrieve' ({', '.join(others)}). Give it another "
                f"name and put {column.name!r} in `column`."
            )
    if not user_side(spec).raw_inputs:
        raise ColonnadeError("No feature describes the user, so there is nothing to ask for items with. Add the user or their history.")


def _only(spec: FeatureSpec, names: tuple[str, ...]) -> FeatureSpec:
    # Not validated anew: half a spec is no spec, and everything that is asked of this one goes feature by feature.
    return spec.model_copy(update={"features": tuple(f for f in spec.features if f.name in names)})
