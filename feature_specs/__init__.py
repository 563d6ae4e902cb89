"""Declared features: the one spec from which everything else follows."""

from feature_specs.errors import ColonnadeError
from feature_specs.features import (
    CategoricalFeature,
    Hash,
    Hour,
    Identity,
    MultiValuedFeature,
    NumericFeature,
    Prefix,
    SequenceFeature,
    Vocabulary,
    Weekday,
)
from feature_specs.sources import Join, PypiWheel, Source, TextTable
from feature_specs.spec import FeatureSpec, Keys, Label, RandomSplit

__all__ = [
    "CategoricalFeature",
    "ColonnadeError",
    "FeatureSpec",
    "Hash",
    "Hour",
    "Identity",
    "Join",
    "Keys",
    "Label",
    "MultiValuedFeature",
    "NumericFeature",
    "Prefix",
    "PypiWheel",
    "RandomSplit",
    "SequenceFeature",
    "Source",
    "TextTable",
    "Vocabulary",
    "Weekday",
]
