"""The kinds of feature: what a raw column holds and what becomes of it.

Every kind answers the same questions for the rest of the project: which raw column it reads (`raw_column`), which columns the transform
graph takes for it (`raw_inputs`) and gives (`outputs`), and which vectors the model has of it (`fields`).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from feature_specs.base import Column, Frozen, RawType
from feature_specs.encodings import (
    AnyEncoding,
    Buckets,
    Constant,
    Derivation,
    Encoding,
    Extract,
    Hash,
    Hour,
    Identity,
    Initializer,
    Normal,
    Prefix,
    Pretrained,
    Uniform,
    Vocabulary,
    Weekday,
)
from feature_specs.kinds import RESERVED_NAMES, Feature, TableFeature
from feature_specs.numbers import BucketizedFeature, NumericFeature, NumericSequenceFeature
from feature_specs.tokens import CategoricalFeature, CrossedFeature, MultiValuedFeature, SequenceFeature, TokenFeature

__all__ = [
    "RESERVED_NAMES",
    "AnyEncoding",
    "AnyFeature",
    "BucketizedFeature",
    "Buckets",
    "CategoricalFeature",
    "Column",
    "Constant",
    "CrossedFeature",
    "Derivation",
    "Encoding",
    "Extract",
    "Feature",
    "Frozen",
    "Hash",
    "Hour",
    "Identity",
    "Initializer",
    "MultiValuedFeature",
    "Normal",
    "NumericFeature",
    "NumericSequenceFeature",
    "Prefix",
    "Pretrained",
    "RawType",
    "SequenceFeature",
    "TableFeature",
    "TokenFeature",
    "Uniform",
    "Vocabulary",
    "Weekday",
]

AnyFeature = Annotated[
    NumericFeature
    | NumericSequenceFeature
    | BucketizedFeature
    | CategoricalFeature
    | MultiValuedFeature
    | SequenceFeature
    | CrossedFeature,
    Field(discriminator="kind"),
]
