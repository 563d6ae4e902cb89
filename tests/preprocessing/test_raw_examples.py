"""Raw columns of text to raw examples: what is invalid, what is missing, and what each layout holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from feature_specs import ColonnadeError, FeatureSpec
from preprocessing.analyzers import Analysis
from preprocessing.examples import from_columns
from preprocessing.flat_examples import from_table
from preprocessing.transform import make_preprocessing_fn

LISTS = pa.list_(pa.binary())
NAN = float("nan")


def spec_of(*features: str, **more: str) -> FeatureSpec:
    rest = "".join(f"{key}: {value}\n" for key, value in {"label": "{column: y}", **more}.items())
    return FeatureSpec.from_yaml("name: raw\nfeatures:\n" + "".join(f"- {{{feature}}}\n" for feature in features) + rest)


def cast(feature: str, cells: list[Any], kind: pa.DataType | None = None, **more: list[Any]) -> tuple[dict[str, list[Any]], dict[int, str]]:
    """Returns the raw examples, without the label, and the reasons for rejection."""
    spec = spec_of(feature)
    columns = {"x": pa.array(cells, kind or pa.binary()), "y": pa.array([b"1"] * len(cells))}
    columns.update({name: pa.array(values, pa.binary()) for name, values in more.items()})
    examples, reasons = from_columns(spec, columns)
    return examples.drop_columns("label").to_pydict(), reasons


@pytest.mark.parametrize(
    ("feature", "cells", "reason"),
    [
        ("kind: numeric, name: x", [b"cheap"], "column 'x': 'cheap' is not a finite number"),
        ("kind: numeric, name: x, size: 2, delimiter: ';'", [b"1;2;3"], "column 'x': '1;2;3' is not 2 finite numbers separated by ';'"),
        ("kind: numeric_sequence, name: x", [b"1|x"], "column 'x': '1|x' is not finite numbers separated by '|'"),
        ("kind: bucketized, name: x, boundaries: [1]", [b"inf"], "column 'x': 'inf' is not a finite number"),
        ("kind: categorical, name: x, dtype: int64, encoding: {type: hash, num_buckets: 9}", [b"1.5"], "'1.5' is not an integer"),
        ("kind: multi_valued, name: x, dtype: int64, encoding: {type: hash, num_buckets: 9}", [b"1|z"], "'1|z' is not integers separated"),
    ],
)
def test_invalid_values_reject_their_row_or_are_missing(feature: str, cells: list[bytes], reason: str) -> None:
    _, reasons = cast(feature, cells)
    assert list(reasons) == [0]
    assert reason in reasons[0]
    values, reasons = cast(f"{feature}, on_invalid: missing", cells)
    assert reasons == {}
    missing = {"numeric": NAN, "bucketized": NAN, "categorical": -1}
    whole = missing.get(feature.split(",")[0].removeprefix("kind: "), [1])
    np.testing.assert_equal(values["x"][0], [NAN, NAN] if "size" in feature else whole)


def test_a_list_is_no_single_value() -> None:
    values, reasons = cast("kind: categorical, name: x, encoding: {type: hash, num_buckets: 9}", [[b"a"], [b"b", b"c"], [], None], LISTS)
    assert values["x"] == [b"a", b"", b"", b""]
    assert reasons == {1: "column 'x': ['b', 'c'] is not one value"}


@pytest.mark.parametrize("derive", ["", ", derive: {type: hour}"])
@pytest.mark.parametrize("kind", ["categorical", "multi_valued", "sequence"])
def test_values_out_of_range_reject_their_row(kind: str, derive: str) -> None:
    encoding = "encoding: {type: identity, num_buckets: 3, out_of_range: reject}"
    hour = 3600 if derive else 1
    cells = [b"%d" % (value * hour) for value in (0, 2, 3)] + [b"", b"-1"]
    for on_invalid in ("reject", "missing"):
        values, reasons = cast(f"kind: {kind}, name: x, dtype: int64, on_invalid: {on_invalid}, {encoding}{derive}", cells)
        assert reasons == {2: f"column 'x': '{3 * hour}' is not in the range 0 to 2"}
        assert len(values["x"]) == 5
    if kind != "categorical":
        _, reasons = cast(f"kind: {kind}, name: x, dtype: int64, {encoding}{derive}", [b"%d|%d" % (hour, 9 * hour), b"%d" % hour])
        assert list(reasons) == [0]


def test_two_features_may_read_one_column_with_and_without_weights() -> None:
    shared = "kind: multi_valued, column: x, encoding: {type: hash, num_buckets: 9}"
    spec = spec_of(f"name: plain, {shared}", f"name: heavy, weights: w, {shared}")
    columns = {"x": pa.array([b"a|b"]), "w": pa.array([b"2|3"]), "y": pa.array([b"1"])}
    assert from_columns(spec, columns)[0].to_pydict() == {
        "plain": [[b"a", b"b"]],
        "heavy": [[b"a", b"b"]],
        "heavy_weights": [[2.0, 3.0]],
        "label": [1.0],
    }


def test_long_values_are_shown_in_part() -> None:
    _, reasons = cast("kind: numeric, name: x", [b"z" * 10_000])
    assert len(reasons[0]) < 150


def test_flat_tables_have_every_layout() -> None:
    spec = spec_of(
        "kind: numeric, name: v, size: 2",
        "kind: multi_valued, name: m, weights: w, encoding: {type: hash, num_buckets: 9}",
        "kind: sequence, name: s, value_delimiter: ' ', encoding: {type: hash, num_buckets: 9}",
    )
    table = pa.table(
        {
            "v": [[1, 2], None],
            "m": [["a", None, "b"], None],
            "m_weights": [[2.0, 3.0, None], None],
            "s": [["a", "b", ""], ["c"]],
            "s_steps": [[0, 0, 1], [4]],
        }
    )
    found = from_table(spec, table).to_pydict()
    expected = {"v": [[1, 2], [NAN, NAN]], "m": [[b"a", b"b"], []], "m_weights": [[2, 1], []]}
    np.testing.assert_equal(found, {**expected, "s": [[b"a", b"b"], [b"c"]], "s_steps": [[0, 0], [4]]})
    alone = from_table(spec, table.select(["m", "s"])).to_pydict()
    assert (alone["m_weights"], alone["s_steps"]) == ([[1, 1], []], [[0, 1], [0]])
    with pytest.raises(ColonnadeError, match="'m_weights' should be of type list.*one value for each value of the feature"):
        from_table(spec, table.set_column(2, "m_weights", [[[1.0], None]]))
    with pytest.raises(ColonnadeError, match="'v' should be of type fixed_size_list.*vectors of 2 numbers"):
        from_table(spec, table.set_column(0, "v", [[[1, 2, 3], None]]))


def _graph(feature: str, **raw: Any) -> dict[str, list[Any]]:
    outputs = make_preprocessing_fn(spec_of(feature), Analysis())(raw)
    return {name: values.to_list() if isinstance(values, tf.RaggedTensor) else values.numpy().tolist() for name, values in outputs.items()}


@pytest.mark.parametrize(
    ("keep", "ids", "steps"),
    # Steps 1, 4 and 9 are three; what clients number with gaps is numbered without.
    [("last", [[3, 4, 5], [2], []], [[0, 1, 1], [0], []]), ("first", [[2, 3], [2], []], [[0, 1], [0], []])],
)
def test_steps_are_cut_and_numbered(keep: str, ids: list[Any], steps: list[Any]) -> None:
    feature = f"kind: sequence, name: s, dtype: int64, value_delimiter: ' ', max_length: 2, keep: {keep}"
    raw = {
        "s": tf.ragged.constant([[1, 2, 3, 4], [1], []], tf.int64, 1, row_splits_dtype=tf.int64),
        "s_steps": tf.ragged.constant([[1, 4, 9, 9], [5], []], tf.int64, 1, row_splits_dtype=tf.int64),
    }
    assert _graph(f"{feature}, encoding: {{type: identity, num_buckets: 9}}", **raw) == {"s": ids, "s_steps": steps}


def test_defaults_fill_empty_lists_with_weight_one_and_step_zero() -> None:
    lists = tf.ragged.constant([[], [4]], tf.int64, 1, row_splits_dtype=tf.int64)
    encoding = "dtype: int64, default: 7, encoding: {type: identity, num_buckets: 9}"
    heavy = tf.ragged.constant([[], [0.5]], tf.float32, 1, row_splits_dtype=tf.int64)
    found = _graph(f"kind: multi_valued, name: m, weights: w, {encoding}", m=lists, m_weights=heavy)
    assert found == {"m": [[8], [5]], "m_weights": [[1.0], [0.5]]}
    found = _graph(f"kind: sequence, name: s, value_delimiter: ' ', {encoding}", s=lists, s_steps=lists)
    assert found == {"s": [[8], [5]], "s_steps": [[0], [0]]}
