"""Statistics of every kind of feature, worked out by hand from raw and transformed rows."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_specs import FeatureSpec
from preprocessing.measuring import SplitSummary
from preprocessing.sketches import CAPACITY
from preprocessing.statistics import describe, text_of, to_json

SPEC = FeatureSpec.from_yaml(r"""
name: kinds
features:
- {kind: numeric, name: price}
- {kind: numeric, name: place, size: 2}
- {kind: numeric_sequence, name: gaps, max_length: 2}
- {kind: bucketized, name: age, boundaries: [18, 65]}
- {kind: bucketized, name: rank, quantiles: 2}
- {kind: categorical, name: word, encoding: {type: vocabulary, min_count: 2, num_oov_buckets: 2}}
- {kind: categorical, name: given, encoding: {type: vocabulary, tokens: [x, y], num_oov_buckets: 0}}
- {kind: categorical, name: city, encoding: {type: hash, num_buckets: 3}}
- {kind: categorical, name: hour, dtype: int64, derive: {type: hour}, encoding: {type: identity, num_buckets: 24}}
- {kind: categorical, name: code, dtype: int64, encoding: {type: identity, num_buckets: 100000}}
- {kind: categorical, name: zip, derive: {type: prefix, length: 1}, encoding: {type: hash, num_buckets: 9}}
- {kind: multi_valued, name: tags, weights: tag_weights, max_length: 2, default: none, encoding: {type: vocabulary}}
- {kind: sequence, name: steps, value_delimiter: ';', max_length: 2, encoding: {type: vocabulary}}
- {kind: categorical, name: device, only_crossed: true, encoding: {type: hash, num_buckets: 3}}
- {kind: crossed, name: cross, inputs: [device, tags], num_buckets: 5000}
label: {column: y}
""")
ROWS = {"word": 5, "given": 3, "city": 4, "hour": 26, "code": 100002, "zip": 10, "tags": 5, "steps": 4, "age": 4, "rank": 3, "cross": 5001}
TOKENS = {"word": [b"b", b"\xff\n"], "given": [b"x", b"y"], "tags": [b"t", b"u", b"none"], "steps": [b"s", b"r"]}
B, F = pa.binary(), pa.float32()
NAN = float("nan")


def _vectors(rows: list[list[float]]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.array(rows, np.float32).ravel()), 2)


# Five rows.
RAW = pa.RecordBatch.from_pydict(
    {
        "price": pa.array([1, 2.5, NAN, 4, NAN], F),
        "place": _vectors([[1, 10], [3, NAN], [5, 30], [NAN, NAN], [7, 20]]),
        "gaps": pa.array([[9, 1, 2], [3], [], [], []], pa.list_(F)),
        "age": pa.array([17, 18, 64.5, 65, NAN], F),
        "rank": pa.array([1, 2, 3, 4, 4], F),
        "word": pa.array([b"b", b"b", b"rare", b"other", b""], B),
        "given": pa.array([b"x", b"x", b"z", b"", b"y"], B),
        "city": pa.array([b"Rom", b"Rom", "Köln".encode(), b"\xfe", b""], B),
        "hour": pa.array([0, 3600, 3601, 90000, -1], pa.int64()),
        "code": pa.array([99999, 99999, 5, 100000, -1], pa.int64()),
        "zip": pa.array([b"12", b"19", b"2", b"", b"1"], B),
        "tags": pa.array([[b"t", b"u", b"v"], [b"t"], [b"v"], [], [b"u", b"t"]], pa.list_(B)),
        "tags_weights": pa.array([[1, 2, 3], [4], [1], [], [1, 1]], pa.list_(F)),
        "steps": pa.array([[b"s", b"r", b"s", b"s"], [b"q"], [], [], [b"r"]], pa.list_(B)),
        "steps_steps": pa.array([[0, 0, 1, 2], [0], [], [], [0]], pa.list_(pa.int64())),
        "device": pa.array([b"tv", b"tv", b"pc", b"", b"pc"], B),
        "label": pa.array([1, 0, 0, 1, 1], F),
    }
)
TRANSFORMED = pa.RecordBatch.from_pydict(
    {
        "price": pa.array([0.0] * 5, F),
        "place": _vectors([[0, 0]] * 5),
        "gaps": pa.array([[1, 2], [3], [], [], []], pa.list_(F)),  # the last two
        "age": pa.array([1, 2, 2, 3, 0]),
        "rank": pa.array([1, 1, 2, 2, 2]),
        "word": pa.array([1, 1, 3, 4, 0]),
        "given": pa.array([1, 1, 0, 0, 2]),
        "city": pa.array([2, 2, 1, 2, 0]),
        "hour": pa.array([1, 2, 2, 2, 0]),
        "code": pa.array([100000, 100000, 6, 100001, 0]),
        "zip": pa.array([1, 1, 5, 0, 1]),
        "tags": pa.array([[1, 2], [1], [4], [3], [2, 1]], pa.list_(pa.int64())),
        "tags_weights": pa.array([[1, 2], [4], [1], [1], [1, 1]], pa.list_(F)),
        "steps": pa.array([[1, 1], [3], [], [], [2]], pa.list_(pa.int64())),
        "steps_steps": pa.array([[0, 1], [0], [], [], [0]], pa.list_(pa.int64())),
        "cross": pa.array([[4000, 7], [4000], [4095 + 7], [], [1, 1]], pa.list_(pa.int64())),
    }
)


def _summary(raw: pa.RecordBatch = RAW, transformed: pa.RecordBatch = TRANSFORMED) -> SplitSummary:
    summary = SplitSummary(SPEC, ROWS)
    summary.add(raw, transformed)
    return summary


def _described(**splits: SplitSummary) -> dict[str, Any]:
    return describe(SPEC, splits, ROWS, lambda table, number: TOKENS[table][:number])


@pytest.fixture(scope="module")
def train() -> dict[str, dict[str, Any]]:
    return {name: by_split["train"] for name, by_split in _described(train=_summary())["features"].items()}


def test_numbers(train: dict[str, dict[str, Any]]) -> None:
    price = train["price"]
    assert (price["rows"], price["missing_share"], price["distinct"]) == (5, 0.4, 3)
    assert (price["min"], price["max"], price["mean"], price["std"]) == (1, 4, 2.5, pytest.approx(np.std([1, 2.5, 4])))
    assert price["quantiles"] == {"0.01": 1, "0.05": 1, "0.25": 1, "0.5": 2.5, "0.75": 4, "0.95": 4, "0.99": 4}
    assert "quantile_error" not in price
    place = train["place"]
    assert place["missing_share"] == 0.4  # any element
    assert [(e["min"], e["mean"], e["max"], e["distinct"]) for e in place["elements"]] == [(1, 4, 7, 4), (10, 20, 30, 3)]
    gaps = train["gaps"]
    assert (gaps["missing_share"], gaps["length_mean"], gaps["length_max"], gaps["cut_share"]) == (0.6, 0.6, 2, 0.2)
    assert (gaps["min"], gaps["max"], gaps["mean"], gaps["distinct"]) == (1, 3, 2, 3)  # 9 was cut off


def test_buckets(train: dict[str, dict[str, Any]]) -> None:
    age = train["age"]
    assert age["top"] == [["[18, 65)", 2], ["[-inf, 18)", 1], ["[65, inf)", 1]]
    assert (age["missing_share"], age["mean"], age["distinct"]) == (0.2, 41.125, 4)
    assert train["rank"]["top"] == [["[3, inf)", 3], ["[-inf, 3)", 2]]
    assert "oov_share" not in age


def test_tokens(train: dict[str, dict[str, Any]]) -> None:
    word = train["word"]
    assert (word["missing_share"], word["values"], word["oov_share"], word["distinct"]) == (0.2, 4, 0.5, 3)
    assert word["top"] == [["b", 2]]
    assert "new_share" not in word
    # Without OOV buckets an unknown token is as good as missing, but it was there.
    given = train["given"]
    assert (given["missing_share"], given["oov_share"], given["top"]) == (0.2, 0.25, [["x", 2], ["y", 1]])
    # Two tokens share a bucket; raw values are told apart, also those that are no UTF-8.
    city = train["city"]
    assert (city["distinct"], city["top"], "oov_share" in city) == (3, [["Rom", 2], ["Köln", 1], ["\\xfe", 1]], False)
    assert train["hour"]["top"] == [["1", 3], ["0", 1]]
    assert (train["hour"]["distinct"], train["hour"]["missing_share"]) == (2, 0.2)
    # More ids than cells: counted as ids.
    assert (train["code"]["top"], train["code"]["oov_share"], train["code"]["distinct"]) == ([["99999", 2], ["5", 1]], 0.25, 3)
    assert train["zip"]["top"] == [["1", 3], ["2", 1]]
    assert (train["device"]["top"], train["device"]["missing_share"]) == ([["pc", 2], ["tv", 2]], 0.2)


def test_lists(train: dict[str, dict[str, Any]]) -> None:
    tags = train["tags"]
    # The default fills the empty list; its third value was cut off the first row.
    assert (tags["missing_share"], tags["length_mean"], tags["length_max"], tags["cut_share"]) == (0, 1.4, 2, 0.2)
    assert (tags["values"], tags["oov_share"], tags["distinct"]) == (7, pytest.approx(1 / 7), 4)
    assert tags["top"] == [["t", 3], ["u", 2], ["none", 1]]
    assert (tags["weights"]["mean"], tags["weights"]["max"]) == (pytest.approx(11 / 7), 4)
    # Lengths are in steps: three, of which two are kept; "q" is outside of the vocabulary.
    steps = train["steps"]
    assert (steps["length_mean"], steps["length_max"], steps["cut_share"], steps["missing_share"]) == (0.8, 2, 0.2, 0.4)
    assert (steps["oov_share"], steps["top"]) == (0.25, [["s", 2], ["r", 1]])
    cross = train["cross"]
    assert (cross["missing_share"], cross["values"], cross["distinct"], cross["length_max"]) == (0.2, 6, 4, 2)
    assert cross["top"] == [["bucket 0", 2], ["bucket 3999", 2], ["bucket 6", 1], ["bucket 4101", 1]]


def test_labels_and_what_is_new_in_a_split() -> None:
    part = _summary(RAW.slice(2, 2), TRANSFORMED.slice(2, 2))
    described = _described(train=_summary(RAW.slice(0, 2), TRANSFORMED.slice(0, 2)), valid=part)
    assert described["label"] == {"train": 0.5, "valid": 0.5}
    assert described["labels"]["valid"]["max"] == 1
    valid = {name: by_split["valid"] for name, by_split in described["features"].items()}
    assert (valid["city"]["new_share"], valid["word"]["new_share"], valid["hour"]["new_share"]) == (1, 1, 0)
    assert valid["tags"]["new_share"] == 1
    assert "new_share" not in described["features"]["city"]["train"]
    assert set(described["drift"]) == {"label", *(f.name for f in SPEC.features)}
    assert all(set(by_split) == {"valid"} for by_split in described["drift"].values())
    # Two rows prove nothing.
    assert not any("differs" in warning for warning in described["warnings"])
    assert "given: every row of train has the same value" in described["warnings"]
    assert not any(warning.startswith("label") for warning in described["warnings"])
    one = RAW["label"].to_pylist().index(1)
    warnings = _described(train=_summary(RAW.slice(one, 1), TRANSFORMED.slice(one, 1)))["warnings"]
    assert "label: it is 1 in every row of train, so that there is nothing to learn" in warnings


def test_a_slice_is_measured_like_a_copy() -> None:
    copies = [pa.RecordBatch.from_pydict(batch.slice(1, 3).to_pydict(), schema=batch.schema) for batch in (RAW, TRANSFORMED)]
    assert _summary(RAW.slice(1, 3), TRANSFORMED.slice(1, 3)).to_table().equals(_summary(*copies).to_table())


@given(st.lists(st.integers(0, 5), max_size=4).map(sorted), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_parts_add_up_in_any_order(cuts: list[int], dice: Any) -> None:
    bounds = [0, *cuts, 5]
    parts = [_summary(RAW.slice(a, b - a), TRANSFORMED.slice(a, b - a)) for a, b in zip(bounds, bounds[1:], strict=False)]
    dice.shuffle(parts)
    total = SplitSummary(SPEC, ROWS)
    for part in parts:
        again = SplitSummary(SPEC, ROWS)
        again.take(part.to_table())
        total.merge(again)
    received, expected = (_described(train=summary)["features"] for summary in (total, _summary()))
    # The last bit of a deviation depends on the parts.
    assert json.loads(to_json(received)) == json.loads(to_json(expected))


def test_more_tokens_than_cells() -> None:
    spec = FeatureSpec.from_yaml(
        "name: many\nfeatures:\n- {kind: categorical, name: a, encoding: {type: vocabulary}}\n"
        "- {kind: categorical, name: h, encoding: {type: hash, num_buckets: 100000}}\nlabel: {column: y}\n"
    )
    ids = np.concatenate([np.arange(1, 20_001), np.repeat([1, 2, 19_999], [3000, 2000, 1000])])
    tokens = pa.array([b"t%05d" % i for i in ids], B)
    raw = pa.RecordBatch.from_pydict({"a": tokens, "h": tokens})
    rows = {"a": 20_002, "h": 100_001}
    summary = SplitSummary(spec, rows)
    summary.add(raw, pa.RecordBatch.from_pydict({"a": ids, "h": ids}))
    features = describe(spec, {"train": summary}, rows, lambda _, number: [b"t%05d" % i for i in range(1, 20_001)][:number])["features"]
    a, h = features["a"]["train"], features["h"]["train"]
    # Rare tokens of a vocabulary, which is in order of frequency, are not told apart: one that is frequent here alone is not seen.
    assert a["top"][:3] == [["t00001", 3001], ["t00002", 2001], ["t00003", 1]]
    # Counts of hashed tokens are too low by at most `top_error`.
    assert [value for value, _ in h["top"][:3]] == ["t00001", "t00002", "t19999"]
    assert all(true - h["top_error"] <= count <= true for (_, count), true in zip(h["top"], [3001, 2001, 1001], strict=False))
    assert h["top_error"] <= 26_000 / (CAPACITY + 1)
    assert (a["distinct"], "distinct_error" in a) == (20_000, False)  # the vocabulary holds these values and no others
    later = describe(spec, {"train": summary, "valid": copy.deepcopy(summary)}, rows, lambda *_: [b""] * CAPACITY)["features"]["a"]["valid"]
    for shown in (later, h):
        assert shown["distinct"] == pytest.approx(20_000, rel=4 * shown["distinct_error"])


def test_giant_tokens_are_cut() -> None:
    spec = FeatureSpec.from_yaml(
        "name: g\nfeatures:\n- {kind: categorical, name: h, encoding: {type: hash, num_buckets: 9}}\nlabel: {column: y}\n"
    )
    tokens = pa.array([b"x" * 100_000 + b"1", b"x" * 100_000 + b"2", b"y"], B)
    summary = SplitSummary(spec, {"h": 10})
    summary.add(pa.RecordBatch.from_pydict({"h": tokens}), pa.RecordBatch.from_pydict({"h": pa.array([1, 2, 3])}))
    shown = describe(spec, {"train": summary}, {"h": 10}, lambda *_: [])["features"]["h"]["train"]
    assert shown["distinct"] == 3
    assert shown["top"] == [["x" * 57 + "...", 2], ["y", 1]]
    assert summary.to_table().nbytes < 200_000


def test_json_is_readable_and_complete() -> None:
    described = _described(train=_summary())
    text = to_json({"rows": {"in": 5}, **described})
    assert json.loads(text)["features"]["price"]["train"]["mean"] == 2.5
    assert max(map(len, text.splitlines())) < 700
    assert '      "train": {"rows": 5, "missing_share": 0.4, ' in text


def test_text_of_values() -> None:
    assert text_of(b"a\nb\x00") == "a\\nb\\x00"
    assert text_of("Zürich 東京".encode()) == "Zürich 東京"
    assert text_of(b"\xff") == "\\xff"
    assert text_of(-5) == "-5"
    assert len(text_of(b"x" * 1000)) == 60
