"""Specs of a line, for tests."""

from __future__ import annotations

from feature_specs import CategoricalFeature, FeatureSpec, Keys, Label, Vocabulary

AD = CategoricalFeature(name="ad", encoding=Vocabulary())
LABEL = Label(column="clicked")
KEYED = {"keys": Keys(user="user", time="at")}


def spec_of(*features: object, **others: object) -> FeatureSpec:
    """Returns a spec of these features."""
    return FeatureSpec.model_validate({"name": "s", "features": features, "label": LABEL, **others})
