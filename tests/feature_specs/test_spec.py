"""Specs: round trips, fingerprints, and an error for everything that cannot work, naming the place and the fix."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

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
    TemporalSplit,
    Vocabulary,
)
from feature_specs.datasets import all_datasets, get_dataset
from feature_specs.schema import main as print_schema

AD = CategoricalFeature(name="ad", encoding=Vocabulary())
LABEL = Label(column="clicked")
KEYED = {"keys": Keys(user="user", time="at")}


def _spec(*features: object, **others: object) -> FeatureSpec:
    return FeatureSpec.model_validate({"name": "s", "features": features, "label": LABEL, **others})


EVERYTHING = _spec(
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
    assert _spec(AD).fingerprint == _spec(CategoricalFeature(name="ad", encoding=Vocabulary(min_count=1))).fingerprint
    others = [_spec(AD, name="t"), _spec(AD, split=RandomSplit(seed=1)), _spec(CategoricalFeature(name="ad", encoding=Hash(num_buckets=3)))]
    assert len({_spec(AD).fingerprint, *(spec.fingerprint for spec in others)}) == 4


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


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (lambda: Vocabulary(tokens=("a", "a")), "`tokens` should be different"),
        (lambda: Vocabulary(tokens=("a\nb",)), "has a line end in it"),
        (lambda: Vocabulary(tokens=("a",), file="f"), "`tokens` or a `file`, not both"),
        (lambda: Vocabulary(tokens=("a",), min_count=2), "a given vocabulary is not counted"),
        (lambda: Vocabulary(num_oov_buckets=0), "num_oov_buckets should be at least 1"),
        (lambda: Vocabulary(tokens=("a",), oov_token="b", num_oov_buckets=0), "oov_token should be one of"),
        (lambda: BucketizedFeature(name="b"), "`boundaries` or `quantiles`, one of them"),
        (lambda: BucketizedFeature(name="b", boundaries=(2.0, 1.0)), "boundaries should ascend"),
        (lambda: MultiValuedFeature(name="m", weights="w", combiner="attention"), "given weights and learned ones exclude"),
        (lambda: SequenceFeature(name="s", value_delimiter="|"), "value_delimiter and delimiter are both"),
        (lambda: SequenceFeature(name="s", history_of="a", keep="first"), "a history has one value a step and keeps the last"),
        (lambda: CategoricalFeature(name="c", encoding=Hash(num_buckets=2), pretrained=Pretrained(file="v.parquet")), "with a vocabulary"),
        (lambda: Pretrained(file="v.npy"), "a .npy file needs `tokens`"),
        (lambda: Pretrained(file="v.txt"), "come from a .npy or .parquet file"),
        (lambda: CrossedFeature(name="x", inputs=("a", "a"), num_buckets=2), "inputs should be different"),
        (lambda: NumericFeature(name="n", only_crossed=True), "a number cannot be crossed"),
        (lambda: Label(column="a", implicit=True), "a `column`, or be `implicit"),
        (lambda: Label(column="a", threshold=1, positive=("x",)), "not both"),
        (lambda: Label(column="a", positive=("x",), negative=("x",)), "are positive and negative"),
        (lambda: TemporalSplit(boundaries=(2, 1)), "split boundaries should ascend"),
    ],
)
def test_parts_that_make_no_sense(part: Callable[[], object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        part()


@pytest.mark.parametrize(
    ("features", "others", "message"),
    [
        ([], {}, "the spec has no features. Declare at least one"),
        ([AD, AD], {}, "'ad' and 'ad' have the same name .* Rename one"),
        ([AD, CategoricalFeature(name="AD", encoding=Hash(num_buckets=2))], {}, "'ad' and 'AD' have the same name"),
        ([AD, CategoricalFeature(name="b", table="add")], {}, "'b' uses the unknown table 'add'. Did you mean 'ad'"),
        ([CategoricalFeature(name="b")], {}, "'b' has no `encoding`. Give it one"),
        ([AD, CategoricalFeature(name="b", table="ad", encoding=Hash(num_buckets=2))], {}, "'ad' and 'b' share table 'ad' with different"),
        (
            [
                CategoricalFeature(name="a", encoding=Vocabulary(), embedding_dim=4),
                CategoricalFeature(name="b", table="a", embedding_dim=8),
            ],
            {},
            "'a' and 'b' share table 'a' but declare embedding_dim 4 and 8. Say it in 'a'",
        ),
        ([AD, SequenceFeature(name="seen", history_of="da", table="ad")], {}, "'seen': history_of should name a categorical feature"),
        ([AD, SequenceFeature(name="seen", history_of="ad", encoding=Vocabulary())], {}, "'seen' is a history of 'ad' .*`table: ad`"),
        ([AD, SequenceFeature(name="seen", history_of="ad", table="ad")], {}, "'seen' is a history: it needs keys.user and keys.time"),
        ([NumericFeature(name="x", column="c"), CategoricalFeature(name="y", column="c", encoding=Vocabulary())], {}, "different types"),
        ([CategoricalFeature(name="x", column="clicked", encoding=Vocabulary())], {}, "'x' reads the label's column 'clicked'"),
        (
            [AD, NumericFeature(name="age", missing_indicator=True), NumericFeature(name="Age_Missing")],
            {},
            "'age' and 'Age_Missing' have the same name",
        ),
        ([AD, NumericSequenceFeature(name="gaps", time_gaps=True)], {}, "'gaps' is a history: it needs keys.user and keys.time"),
        ([AD, NumericSequenceFeature(name="p", history_of="ad")], KEYED, "'p': history_of should name a numeric feature of size 1"),
        ([AD, CrossedFeature(name="x", inputs=("ad", "da"), num_buckets=9)], {}, "'x': inputs should name .* Received: 'da'. Did you mean"),
        (
            [AD, NumericFeature(name="n"), CrossedFeature(name="x", inputs=("ad", "n"), num_buckets=9)],
            {},
            "bucketized features. Received: 'n'",
        ),
        (
            [
                AD,
                CategoricalFeature(name="b", only_crossed=True),
                CrossedFeature(name="x", inputs=("ad", "b"), num_buckets=9, by_id=("b",)),
            ],
            {},
            "by_id should name features with a vocabulary or identity",
        ),
        ([AD, CategoricalFeature(name="b", only_crossed=True)], {}, "'b' is only_crossed, and no crossed feature has it"),
        ([AD], {"split": TemporalSplit()}, "split temporal needs keys.time"),
        ([AD], {"split": LeaveLastOutSplit(), "keys": Keys(user="u")}, "split leave_last_out needs keys.user and keys.time"),
        ([AD], {"negatives": Negatives(per_positive=2)}, "negatives needs keys.user and keys.item"),
    ],
)
def test_what_does_not_fit_is_refused(features: list, others: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        _spec(*features, **others)


@pytest.mark.parametrize("name", ["a-b", "a.b", "a b", "1a", "é", "", "_a", "class", "self", "Label"])
def test_names_that_no_signature_can_carry(name: str) -> None:
    with pytest.raises(ValidationError, match="feature name .*(cannot be carried|reserved)"):
        NumericFeature(name=name)


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ({"dtype": "string", "encoding": Identity(num_buckets=3)}, "'f': encoding 'identity' takes dtype 'int64'. Received: 'string'"),
        ({"dtype": "string", "derive": {"type": "hour"}}, "'f': derive 'hour' takes dtype 'int64'. Received: 'string'"),
        ({"dtype": "int64", "derive": {"type": "prefix", "length": 2}}, "'f': derive 'prefix' takes dtype 'string'"),
        ({"dtype": "int64", "default": "x"}, "'f': default should be of dtype 'int64'. Received: 'x'"),
    ],
)
def test_types_that_do_not_fit(feature: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CategoricalFeature(name="f", **feature)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "my.yaml should be a mapping .* Received: list."),
        ("a: [", "my.yaml is not valid YAML"),
        ("name: x\nfeatures: []", "the spec lacks the key 'label'"),
        ("name: x\nfeaturs: []\nlabel: {column: y}", "unknown key 'featurs' in the spec. Did you mean 'features'"),
        ("{name: x, features: [{kind: categoricl, name: a}], label: {column: y}}", "'categoricl' is not one of .*mean 'categorical'"),
        ("{name: x, features: [{name: a}], label: {column: y}}", r"features\[0\] lacks the key 'kind'"),
        (
            "{name: x, features: [{kind: categorical, name: ad, encodin: {type: vocabulary}}], label: {column: y}}",
            "unknown key 'encodin' in feature 'ad'. Did you mean 'encoding'",
        ),
        (
            "{name: x, features: [{kind: categorical, name: ad, encoding: {type: hash}}], label: {column: y}}",
            "feature 'ad': encoding lacks the key 'num_buckets'",
        ),
        (
            "{name: x, features: [{kind: numeric, name: p}], label: {column: y}, split: {type: rndom}}",
            "split: 'rndom' is not one of .*Did you mean 'random'",
        ),
        (
            "{name: x, features: [{kind: numeric, name: p}], label: {column: y}, source: {rows: {format: csv}}}",
            "rows: 'csv' is not one of .*text",
        ),
        (
            "{name: x, features: [{kind: numeric, name: p, default: high}], label: {column: y}}",
            "feature 'p': default: input should be a valid number.* Received: 'high'",
        ),
    ],
)
def test_a_wrong_file_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ColonnadeError, match=message) as info:
        FeatureSpec.from_yaml(text, "my.yaml")
    assert "\n" not in str(info.value)


def test_a_missing_file_and_an_unknown_data_set(tmp_path: Path) -> None:
    with pytest.raises(ColonnadeError, match="There is no spec file .*--dataset"):
        FeatureSpec.load(tmp_path / "none.yaml")
    with pytest.raises(ColonnadeError, match="Unknown data set 'movielens100k'. Did you mean 'movielens_100k'"):
        get_dataset("movielens100k")


def test_split_fractions_add_up() -> None:
    with pytest.raises(ValidationError, match="add up to 1, train above 0. Received"):
        RandomSplit(fractions=(0.8, 0.1, 0.2))


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
