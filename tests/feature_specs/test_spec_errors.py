"""An error for every spec that cannot work, naming the place and the fix."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError
from small_specs import AD, KEYED, spec_of

from feature_specs import (
    BucketizedFeature,
    CategoricalFeature,
    ColonnadeError,
    CrossedFeature,
    FeatureSpec,
    Hash,
    Identity,
    Keys,
    Label,
    LeaveLastOutSplit,
    MultiValuedFeature,
    Negatives,
    NumericFeature,
    NumericSequenceFeature,
    Pretrained,
    RandomSplit,
    SequenceFeature,
    TemporalSplit,
    Vocabulary,
)
from feature_specs.datasets import get_dataset


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
        spec_of(*features, **others)


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
    ("declared", "place"),
    [
        ("features: [{kind: categorical, name: f, encoding: {type: vocabulary, min_count: true}}]", "feature 'f': encoding: min_count"),
        (
            "features: [{kind: categorical, name: f, dtype: int64, default: true, encoding: {type: hash, num_buckets: 3}}]",
            "feature 'f': default",
        ),
        ("features: [{kind: bucketized, name: f, boundaries: [false, 2]}]", "feature 'f': boundaries"),
        ("features: [{kind: numeric, name: f, size: TRUE}]", "feature 'f': size"),
        ("split: {fractions: [true, 0, 0]}", "split.fractions"),
        ("split: {seed: false}", "split.seed"),
    ],
)
def test_true_and_false_are_no_numbers(declared: str, place: str) -> None:
    text = f"name: s\nlabel: {{column: y}}\n{declared}\n"
    if "features" not in declared:
        text += "features: [{kind: numeric, name: f}]\n"
    with pytest.raises(ColonnadeError, match=re.escape(place) + ": input should be a number, not true or false. Received: "):
        FeatureSpec.from_yaml(text)
    # Texts of numbers are numbers, and so are whole floats; a boolean is one where it is meant.
    FeatureSpec.from_yaml(text.replace("true", "1.0").replace("TRUE", "'1'").replace("false", "0") + "source: {rows: {header: false}}\n")


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


@pytest.mark.parametrize("name", ["''", ".", "..", "../x", "a/b", "/a", "-rf", ".a", "a.", "a b", "'a;b'", "'a\n\n  '"])
def test_a_name_that_is_no_folder(name: str) -> None:
    text = f"name: {name}\nfeatures: [{{kind: numeric, name: p}}]\nlabel: {{column: y}}"
    with pytest.raises(ColonnadeError, match="the spec's name should be letters and digits, .* Received: "):
        FeatureSpec.from_yaml(text)


@pytest.mark.parametrize("name", ["a", "7", "clicks-2024.11_v2", "caf\u00e9"])
def test_names_of_folders(name: str) -> None:
    assert FeatureSpec.from_yaml(f"{{name: '{name}', features: [{{kind: numeric, name: p}}], label: {{column: y}}}}").name == name


def test_a_missing_file_and_an_unknown_data_set(tmp_path: Path) -> None:
    with pytest.raises(ColonnadeError, match="There is no spec file .*--dataset"):
        FeatureSpec.load(tmp_path / "none.yaml")
    with pytest.raises(ColonnadeError, match="Unknown data set 'movielens100k'. Did you mean 'movielens_100k'"):
        get_dataset("movielens100k")


def test_split_fractions_add_up() -> None:
    with pytest.raises(ValidationError, match="add up to 1, train above 0. Received"):
        RandomSplit(fractions=(0.8, 0.1, 0.2))
