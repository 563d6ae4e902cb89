"""Declared features: the one spec from which everything else follows."""

from feature_specs.base import Column
from feature_specs.errors import ColonnadeError
from feature_specs.feature_columns import from_feature_columns
from feature_specs.features import (
    BucketizedFeature,
    Buckets,
    CategoricalFeature,
    Constant,
    CrossedFeature,
    Hash,
    Hour,
    Identity,
    MultiValuedFeature,
    Normal,
    NumericFeature,
    NumericSequenceFeature,
    Prefix,
    Pretrained,
    SequenceFeature,
    Uniform,
    Vocabulary,
    Weekday,
)
from feature_specs.sources import Join, JsonLinesTable, ParquetTable, PypiWheel, Source, TextTable, TFRecordTable
from feature_specs.spec import FeatureSpec, Keys, Label
from feature_specs.splits import FilesSplit, LeaveLastOutSplit, Negatives, RandomSplit, TemporalSplit, WithinUserSplit

__all__ = [
    "BucketizedFeature",
    "Buckets",
    "CategoricalFeature",
    "ColonnadeError",
    "Column",
    "Constant",
    "CrossedFeature",
    "FeatureSpec",
    "FilesSplit",
    "Hash",
    "Hour",
    "Identity",
    "Join",
    "JsonLinesTable",
    "Keys",
    "Label",
    "LeaveLastOutSplit",
    "MultiValuedFeature",
    "Negatives",
    "Normal",
    "NumericFeature",
    "NumericSequenceFeature",
    "ParquetTable",
    "Prefix",
    "Pretrained",
    "PypiWheel",
    "RandomSplit",
    "SequenceFeature",
    "Source",
    "TFRecordTable",
    "TemporalSplit",
    "TextTable",
    "Uniform",
    "Vocabulary",
    "Weekday",
    "WithinUserSplit",
    "from_feature_columns",
]
