"""Raw examples from the inputs of `predict` and from tf.Examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from feature_specs import CategoricalFeature, FeatureSpec, Hash, Label, MultiValuedFeature, NumericFeature
from serving import signatures
from serving.synthetic import synthetic_rows

SPEC = FeatureSpec(
    name="three",
    features=(
        CategoricalFeature(name="B", encoding=Hash(num_buckets=9)),
        NumericFeature(name="a"),
        MultiValuedFeature(name="l", dtype="int64", encoding=Hash(num_buckets=9)),
    ),
    label=Label(column="y"),
)


def as_lists(raw: Any) -> dict[str, Any]:
    return {name: values.to_list() if isinstance(values, tf.RaggedTensor) else values.numpy().tolist() for name, values in raw.items()}


def test_padding_and_markers_leave_lists_wherever_they_stand() -> None:
    tensors = {"B": tf.constant(["x", ""]), "a": tf.constant([1.0, 2.0]), "l": tf.constant([[-1, 7, -1, 8], [-1, -1, -1, -1]], tf.int64)}
    raw = signatures.from_tensors(SPEC, tensors)
    assert as_lists(raw) == {"B": [b"x", b""], "a": [1.0, 2.0], "l": [[7, 8], []]}
    assert raw["l"].row_splits.dtype == tf.int64


def test_a_tensor_of_one_row_counts_for_all() -> None:
    tensors = {"B": tf.constant(["x", "y", "z"]), "a": tf.constant([np.nan]), "l": tf.constant([[5]], tf.int64)}
    raw = signatures.from_tensors(SPEC, tensors)
    assert raw["l"].to_list() == [[5]] * 3
    assert np.isnan(raw["a"].numpy()).tolist() == [True] * 3


def test_unequal_numbers_of_rows_are_refused() -> None:
    tensors = {"B": tf.constant(["x", "y", "z"]), "a": tf.constant([1.0, 2.0]), "l": tf.constant([[5]], tf.int64)}
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"same number of rows, or one. Received, for B, a, l"):
        signatures.from_tensors(SPEC, tensors)


def test_no_rows_at_all() -> None:
    tensors = {"B": tf.constant([], tf.string), "a": tf.constant([np.nan]), "l": tf.constant([[-1]], tf.int64)}
    assert as_lists(signatures.from_tensors(SPEC, tensors)) == {"B": [], "a": [], "l": []}


def test_examples_round_trip(tiny_spec: FeatureSpec) -> None:
    raw = synthetic_rows(tiny_spec, rows=20)
    back = signatures.from_examples(tiny_spec, signatures.to_examples(raw))
    np.testing.assert_equal(as_lists(back), as_lists(raw))


def test_tensors_round_trip(tiny_spec: FeatureSpec) -> None:
    raw = synthetic_rows(tiny_spec, rows=20)
    back = signatures.from_tensors(tiny_spec, signatures.to_tensors(raw))
    np.testing.assert_equal(as_lists(back), as_lists(raw))


def test_an_absent_feature_an_empty_list_and_a_marker_are_the_same() -> None:
    feature = tf.train.Feature
    absent = tf.train.Example()
    empty = tf.train.Example(features=tf.train.Features(feature={"a": feature(float_list={}), "B": feature(bytes_list={}), "l": feature()}))
    marked = {
        "a": feature(float_list={"value": [np.nan]}),
        "B": feature(bytes_list={"value": [b""]}),
        "l": feature(int64_list={"value": [-1]}),
    }
    examples = [absent, empty, tf.train.Example(features=tf.train.Features(feature=marked))]
    raw = signatures.from_examples(SPEC, tf.constant([example.SerializeToString() for example in examples]))
    np.testing.assert_equal(as_lists(raw), {"B": [b""] * 3, "a": [np.nan] * 3, "l": [[]] * 3})


def test_several_values_of_a_single_valued_feature_are_refused() -> None:
    example = tf.train.Example(features=tf.train.Features(feature={"a": tf.train.Feature(float_list={"value": [1.0, 2.0]})}))
    with pytest.raises(tf.errors.InvalidArgumentError, match="'a' should hold one value"):
        signatures.from_examples(SPEC, tf.constant([example.SerializeToString()]))


def test_a_batch_of_empty_lists_gets_a_column_of_padding() -> None:
    empty = tf.RaggedTensor.from_row_lengths(tf.zeros([0], tf.int64), [0, 0])
    dense = signatures.to_scorer_inputs(SPEC, {"B": tf.constant([1, 2]), "a": tf.constant([0.0, 0.0]), "l": empty})
    assert dense["l"].numpy().tolist() == [[0], [0]]
    assert list(dense) == ["B", "a", "l"]
