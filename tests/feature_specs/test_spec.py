"""Specs: round trips, fingerprints, and what they say of their columns."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from small_specs import AD, spec_of

from feature_specs import (
    BucketizedFeature,
    CategoricalFeature,
    ColonnadeError,
    Column,
    CrossedFeature,
    FeatureSpec,
    Hash,
    Identity,
    JsonLinesTable,
    Keys,
    Label,
    LeaveLastOutSplit,
    MultiValuedFeature,
    Negatives,
    Normal,
    NumericFeature,
    NumericSequenceFeature,
    Pretrained,
    RandomSplit,
    SequenceFeature,
    Source,
    Vocabulary,
)
from feature_specs.datasets import all_datasets
from feature_specs.schema import main as print_schema

EVERYTHING = spec_of(
    CategoricalFeature(name="ad", column="Ad-Id", encoding=Vocabulary(min_count=2, max_size=9, num_oov_buckets=3), embedding_dim=8),
    CategoricalFeature(name="hour", dtype="int64", encoding=Identity(num_buckets=24), default=0),
    NumericFeature(name="price", scaling="log1p", default=1.5, on_invalid="missing"),
    MultiValuedFeature(name="tags", delimiter=" ", max_length=4, combiner="sqrtn", encoding=Hash(num_buckets=10)),
    SequenceFeature(name="seen", history_of="ad", table="ad", max_length=5),
    keys=Keys(user="user", time="at", group="query"),
    split=RandomSplit(fractions=(0.5, 0.25, 0.25), seed=3, by=("user",)),
)


KINDS = FeatureSpec(
    name="kinds",
    features=(
        CategoricalFeature(
            name="ad", encoding=Vocabulary(tokens=("b", "a"), num_oov_buckets=0, oov_token="a"), initializer=Normal(), l2=0.1
        ),
        CategoricalFeature(name="word", encoding=Vocabulary(), pretrained=Pretrained(file="v.parquet"), trainable=False, max_norm=1.0),
        NumericFeature(name="age", missing_indicator=True),
        NumericFeature(name="point", size=3, scaling="min_max", representation="value"),
        BucketizedFeature(name="price", boundaries=(1.0, 2.0), representation="indicator"),
        BucketizedFeature(name="income", quantiles=10),
        CategoricalFeature(name="city", only_crossed=True),
        MultiValuedFeature(name="tags", weights="tag weights", keep="last", encoding=Hash(num_buckets=10)),
        SequenceFeature(name="baskets", value_delimiter=",", padding="left", encoding=Hash(num_buckets=10)),
        NumericSequenceFeature(name="gaps", time_gaps=True),
        CrossedFeature(name="city_price", inputs=("city", "price"), num_buckets=100),
        CrossedFeature(name="city_tags", inputs=("city", "tags"), num_buckets=100),
    ),
    label=Label(implicit=True),
    keys=Keys(user="user", item="ad", time="at"),
    split=LeaveLastOutSplit(),
    negatives=Negatives(per_positive=2),
    source=Source(rows=JsonLinesTable(files="*.jsonl")),
)


@pytest.mark.parametrize("spec", [EVERYTHING, KINDS, *all_datasets().values()], ids=lambda spec: spec.name)
def test_round_trips(spec: FeatureSpec, tmp_path: Path) -> None:
    assert FeatureSpec.from_yaml(spec.to_yaml()) == spec
    assert FeatureSpec.from_json(spec.to_json()) == spec
    (tmp_path / "spec.yaml").write_text(spec.to_yaml(), encoding="utf-8")
    (tmp_path / "spec.json").write_text(spec.to_json(), encoding="utf-8")
    assert FeatureSpec.load(tmp_path / "spec.yaml").fingerprint == FeatureSpec.load(tmp_path / "spec.json").fingerprint


def test_the_fingerprint_follows_the_content() -> None:
    assert spec_of(AD).fingerprint == spec_of(CategoricalFeature(name="ad", encoding=Vocabulary(min_count=1))).fingerprint
    others = [
        spec_of(AD, name="t"),
        spec_of(AD, split=RandomSplit(seed=1)),
        spec_of(CategoricalFeature(name="ad", encoding=Hash(num_buckets=3))),
    ]
    assert len({spec_of(AD).fingerprint, *(spec.fingerprint for spec in others)}) == 4


def test_a_weight_is_written_only_where_it_is_given() -> None:
    plain, weighted = (spec_of(AD, label=Label(column="y", weight=weight)) for weight in (None, "w"))
    # So that specs without one keep the fingerprints from before labels had weights.
    assert "weight" not in plain.label.model_dump()
    assert weighted.fingerprint != plain.fingerprint
    assert FeatureSpec.from_json(weighted.to_json()) == FeatureSpec.from_yaml(weighted.to_yaml()) == weighted
    assert (weighted.column_types["w"], "w" in plain.column_types) == ("float32", False)


def test_weights_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValidationError, match="the label's weight is its own column 'y'"):
        Label(column="y", weight="y")
    negatives = Negatives(per_positive=1, resample=("shop", "w"))
    with pytest.raises(ValidationError, match="negatives.resample names 'w', the label's weight: a negative has that of its positive"):
        spec_of(AD, label=Label(column="y", weight="w"), keys=Keys(user="user", item="ad"), negatives=negatives)


def test_the_json_schema_accepts_what_is_exported(capsys: pytest.CaptureFixture[str]) -> None:
    print_schema([])
    schema = json.loads(capsys.readouterr().out)
    kinds = schema["properties"]["features"]["items"]["discriminator"]["mapping"]
    assert set(kinds) == {"numeric", "numeric_sequence", "bucketized", "categorical", "multi_valued", "sequence", "crossed"}
    assert json.loads(EVERYTHING.to_json()).keys() <= schema["properties"].keys()


def test_specs_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        AD.name = "other"  # type: ignore[misc]


def test_derived_views() -> None:
    assert list(EVERYTHING.tables) == ["ad", "hour", "tags"]
    assert EVERYTHING.table_widths == {"ad": 8}
    assert [f.name for f in EVERYTHING.histories] == ["seen"]
    types = {"Ad-Id": "string", "hour": "int64", "price": "float32", "tags": "string", "clicked": "float32", "at": "int64"}
    assert EVERYTHING.column_types == {**types, "user": "string", "query": "string"}


def test_columns_of_every_kind() -> None:
    assert KINDS.raw_inputs == (
        Column("ad", "string"),
        Column("word", "string"),
        Column("age", "float32"),
        Column("point", "float32", "vector", 3),
        Column("price", "float32"),
        Column("income", "float32"),
        Column("city", "string"),
        Column("tags", "string", "list"),
        Column("tags_weights", "float32", "list"),
        Column("baskets", "string", "list"),
        Column("baskets_steps", "int64", "list"),
        Column("gaps", "float32", "list"),
    )
    outputs = {column.name: column for column in KINDS.outputs}
    assert "city" not in outputs  # only crossed
    assert outputs["age_missing"] == Column("age_missing", "float32")
    assert outputs["price"] == Column("price", "int64")
    assert (outputs["city_price"].layout, outputs["city_tags"].layout) == ("single", "list")
    assert KINDS.fields == (
        *("ad", "word", "age", "age_missing", "point", "price", "income", "tags", "baskets", "gaps"),
        *("city_price", "city_tags"),
    )
    assert KINDS.column_types["tag weights"] == "float32"
    assert "gaps" not in KINDS.column_types  # the job computes them
    rows = {name: encoding.num_rows(7) for name, encoding in KINDS.tables.items()}
    assert rows == {"ad": 8, "word": 9, "price": 4, "income": 11, "tags": 11, "baskets": 11, "city_price": 101, "city_tags": 101}


def test_yaml_says_what_people_mean() -> None:
    text = """name: s
features:
- {kind: categorical, name: zip, encoding: {type: vocabulary, tokens: [no, on, 01067, 12:30, 2024-01-01, 7], num_oov_buckets: 0}}
- {kind: categorical, name: site, encoding: {type: hash, num_buckets: 1_000}, initializer: {type: normal, stddev: 1e-3}}
label: {column: y, positive: [yes], negative: [no]}
"""
    spec = FeatureSpec.from_yaml(text)
    zip_codes, site = spec.features
    assert isinstance(zip_codes, CategoricalFeature)
    assert isinstance(zip_codes.encoding, Vocabulary)
    assert zip_codes.encoding.tokens == ("no", "on", "01067", "12:30", "2024-01-01", 7)
    assert (spec.label.positive, spec.label.negative) == (("yes",), ("no",))
    assert spec.tables["site"].num_rows(0) == 1001
    assert FeatureSpec.from_yaml(spec.to_yaml()) == spec
    for part, wrong, message in (
        ("[no, on,", "[true,", "a token of a vocabulary is a text or an integer. Received: True. Put it in quotes"),
        ("[yes]", "[true]", "label.positive[0]: input should be a valid string. Received: True. Put it in quotes."),
        ("label:", "name: t\nlabel:", "the key 'name' stands twice"),
        ("kind: categorical, name: zip", "kind: categorical, name: zip, name: zap", "the key 'name' stands twice"),
    ):
        with pytest.raises(ColonnadeError, match=re.escape(message)):
            FeatureSpec.from_yaml(text.replace(part, wrong))
