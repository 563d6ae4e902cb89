"""Specs for matching: the sides of an interaction, what cannot work, and that other specs stay what they were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError
from small_specs import spec_of

from feature_specs import (
    CategoricalFeature,
    CrossedFeature,
    FeatureSpec,
    FilesSplit,
    Hash,
    Keys,
    Label,
    LeaveLastOutSplit,
    Negatives,
    NumericFeature,
    NumericSequenceFeature,
    Prefix,
    SequenceFeature,
    Vocabulary,
)
from feature_specs.datasets import all_datasets

USER = CategoricalFeature(name="user", encoding=Vocabulary())
CITY = CategoricalFeature(name="city", encoding=Vocabulary())
ITEM = CategoricalFeature(name="item", column="item id", encoding=Vocabulary())
BRAND = CategoricalFeature(name="brand", encoding=Vocabulary())
PRICE = NumericFeature(name="price")
SEEN = SequenceFeature(name="seen", history_of="item", table="item")
MATCHING: Mapping[str, Any] = {
    "label": Label(implicit=True, task="matching"),
    "keys": Keys(user="user", item="item id", time="at"),
    "split": LeaveLastOutSplit(),
}


def matching(*features: object, **others: object) -> FeatureSpec:
    """Returns a spec for matching."""
    return spec_of(*features, **{**MATCHING, **others})


def test_the_sides_of_an_interaction() -> None:
    cross = CrossedFeature(name="brand_item", inputs=("brand", "item"), num_buckets=9)
    mine = CrossedFeature(name="city_user", inputs=("city", "user"), num_buckets=9)
    spec = matching(USER, BRAND, SEEN, CITY, ITEM, PRICE, cross, mine, item_features=("price", "brand", "brand_item"))
    assert spec.is_matching
    assert spec.item_feature == ITEM
    assert spec.item_names == ("item", "price", "brand", "brand_item")
    assert spec.user_names == ("user", "city", "city_user")
    assert spec.history == SEEN
    assert matching(ITEM).history is None
    assert matching(ITEM).user_names == ()
    # The item itself may be named too.
    assert matching(USER, ITEM, item_features=("item",)).item_names == ("item",)
    assert not spec_of(ITEM).is_matching


def test_specs_for_matching_survive_a_round_trip() -> None:
    files = FilesSplit(train="a", test="b", valid_last=True, candidates="c")
    for spec in (matching(USER, ITEM, BRAND, SEEN, item_features=("brand",)), matching(USER, ITEM, split=files)):
        assert FeatureSpec.from_yaml(spec.to_yaml()) == FeatureSpec.from_json(spec.to_json()) == spec
        assert FeatureSpec.from_json(spec.to_json()).fingerprint == spec.fingerprint
    named = {
        matching(USER, ITEM, BRAND).fingerprint,
        matching(USER, ITEM, BRAND, item_features=("brand",)).fingerprint,
        spec_of(USER, ITEM, BRAND, label=Label(implicit=True)).fingerprint,
        matching(USER, ITEM, BRAND, split=files).fingerprint,
        matching(USER, ITEM, BRAND, split=files.model_copy(update={"candidates": None})).fingerprint,
        matching(USER, ITEM, BRAND, split=files.model_copy(update={"valid_last": False})).fingerprint,
    }
    assert len(named) == 6


def test_a_positive_label_may_say_which_rows_are_interactions() -> None:
    for label in ({"column": "stars", "threshold": 4}, {"column": "event", "positive": ["buy"]}, {"column": "clicked"}):
        assert matching(USER, ITEM, label={**label, "task": "matching"}).is_matching


def test_the_schema_knows_what_is_for_matching() -> None:
    schema = FeatureSpec.model_json_schema()
    assert "item_features" in schema["properties"]
    assert schema["$defs"]["Label"]["properties"]["task"]["enum"] == ["binary", "regression", "matching"]
    assert {"valid_last", "candidates"} <= set(schema["$defs"]["FilesSplit"]["properties"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: spec_of(ITEM, item_features=("item",)), r"item_features is for matching; the label's task is 'binary'\. Leave it out"),
        (lambda: spec_of(ITEM, split=FilesSplit(train="a", valid_last=True)), r"split\.valid_last is for matching"),
        (lambda: spec_of(ITEM, split=FilesSplit(train="a", test="b", candidates="c")), r"split\.candidates is for matching"),
        (lambda: FilesSplit(train="a", valid="b", valid_last=True), "valid_last and also `valid` or `valid_fraction`"),
        (lambda: FilesSplit(train="a", candidates="b"), "candidates 'b', and no `test` files"),
        (lambda: matching(USER, ITEM, keys=Keys(item="item id"), split={}), r"needs keys\.user and keys\.item"),
        (lambda: matching(USER, ITEM, keys=Keys(user="user", item="item id")), r"split leave_last_out needs keys\.user and keys\.time"),
        (lambda: matching(USER, ITEM, negatives=Negatives(per_positive=1)), "sampled in training. Leave `negatives` out"),
        (
            lambda: matching(ITEM, label=Label(implicit=True, task="matching", weight="w")),
            "weight 'w'; for matching all interactions count",
        ),
        (lambda: matching(ITEM, keys=Keys(user="u", item="item id", time="t", group="g")), r"keys\.group is 'g'"),
        (lambda: matching(USER), r"reads keys\.item, column 'item id': its ids are the items\. Received: none does\. Add it"),
        (lambda: matching(ITEM, ITEM.model_copy(update={"name": "other", "derive": Prefix(length=1)})), "Received: 'item', 'other' do"),
        (
            lambda: matching(
                ITEM.model_copy(update={"only_crossed": True}), BRAND, CrossedFeature(name="x", inputs=("item", "brand"), num_buckets=2)
            ),
            "'item' is the item and only_crossed",
        ),
        (
            lambda: matching(CategoricalFeature(name="item", column="item id", encoding=Vocabulary(tokens=("a",), num_oov_buckets=0))),
            "has id 0, as padding has. Set num_oov_buckets: 1",
        ),
        (lambda: matching(ITEM, BRAND, item_features=("brnad",)), "unknown feature 'brnad'. Did you mean 'brand'"),
        (lambda: matching(ITEM, SEEN, item_features=("seen",)), "'seen', a history, which is of the user"),
        (lambda: matching(USER, ITEM, item_features=("user",)), "'user', which reads 'user', the user or time of an interaction"),
        (lambda: matching(ITEM, NumericFeature(name="n", column="item id")), "read column 'item id' with different types"),
        (
            lambda: matching(ITEM, BRAND, SequenceFeature(name="brands", history_of="brand", table="brand")),
            "'brands' is a history of 'brand'; matching knows the history of its item alone. Set `history_of: item`",
        ),
        (lambda: matching(ITEM, NumericSequenceFeature(name="gaps", time_gaps=True)), "'gaps' is a history of 'time gaps'"),
        (lambda: matching(ITEM, SEEN, SEEN.model_copy(update={"name": "again"})), "'seen' and 'again' are both the history"),
        (
            lambda: matching(ITEM, SequenceFeature(name="s", history_of="item", encoding=Hash(num_buckets=3))),
            "should share its table and dtype",
        ),
        (lambda: matching(ITEM, SEEN.model_copy(update={"derive": Prefix(length=2)})), "should derive its values as that does"),
        (lambda: matching(ITEM, SEEN.model_copy(update={"default": "x"})), "'seen' is the history and has a default"),
        (
            lambda: matching(USER, ITEM, CITY, CrossedFeature(name="x", inputs=("city", "item"), num_buckets=2)),
            "'x' crosses 'item' of the item with 'city' of the user; matching embeds both sides apart",
        ),
        (
            lambda: matching(ITEM, BRAND, CrossedFeature(name="x", inputs=("brand", "item"), num_buckets=2), item_features=("brand",)),
            "'x' crosses features of the item. Add it to item_features",
        ),
        (
            lambda: matching(USER, CITY, ITEM, CrossedFeature(name="x", inputs=("city", "user"), num_buckets=2), item_features=("x",)),
            "'x' crosses features of the user. Leave it out of item_features",
        ),
    ],
)
def test_what_cannot_work_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make()


# As they were before there was matching: data directories and runs of these specs stay good.
FINGERPRINTS = {
    "census": "8bfe27c8d35b93bd8184d5051b865abeee652c1fa95d384f231748dba0742bb4",
    "criteo": "a162eba55be4f1daf0614bda9ef1d83ad2b0002ac5c1d3dd52de4502982ee5d3",
    "criteo_encoded": "5ed4900e17858e3d5d20ae95732f66e48942fd37f8fad55c36e01e9f4d676e51",
    "frappe": "1113a1ae029c55654823c0b5261396030b77cb7895c30ef8872ce9647ff2c9d4",
    "frappe_log": "abcf9e047bca3d58dfaf98115a408e69c900016fa05e17b0f108f338058dcfa7",
    "frappe_resampled": "8e571c3428a59a4139ee8e1471e2bf0d628b36b0ecd0e121e023755a61419595",
    "movielens_100k": "314083385a8364b94393180727b26eafb708424a78989ea6a549766cf5971d95",
    "movielens_1m": "e243cc9a35abc8d598e5b4acd109ceaf36137b0c08f2e4edccb0b2524ccc04f8",
    "movielens_1m_ratings": "6faf2c7e138d38bfe848f9527fda56f54db826883a14eedc3a3cd503f1ee129b",
}


def test_built_in_specs_keep_their_fingerprints() -> None:
    found = all_datasets()
    assert {name: found[name].fingerprint for name in FINGERPRINTS} == FINGERPRINTS
    assert {name for name, spec in found.items() if spec.is_matching} == found.keys() - FINGERPRINTS.keys()
