from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from feature_specs import FeatureSpec
from trainer.layers import Inputs
from trainer.layers.features import padded_left, sequence_lengths
from trainer.layers.pooling import AttentionPooling, by_step, pool

# Two values and padding; two values, one of weight 0, the other negative; nothing.
VECTORS = tf.constant([[[1.0, 2], [3, 4], [0, 0]], [[1, 2], [3, 4], [0, 0]], [[0, 0]] * 3])
PRESENT = tf.constant([[True, True, False], [True, True, False], [False] * 3])
WEIGHTS = tf.constant([[3.0, 1.0, float("nan")], [0.0, -2.0, float("nan")], [float("nan")] * 3])


@pytest.mark.parametrize(
    ("combiner", "expected", "weighted"),
    [
        # 3 (1, 2) + 1 (3, 4) = (6, 10); -2 (3, 4) = (-6, -8) is kept by the sum alone.
        ("sum", [[4, 6], [4, 6], [0, 0]], [[6, 10], [-6, -8], [0, 0]]),
        ("mean", [[2, 3], [2, 3], [0, 0]], [[1.5, 2.5], [0, 0], [0, 0]]),
        ("sqrtn", np.array([[4, 6], [4, 6], [0, 0]]) / np.sqrt(2), [[6 / np.sqrt(10), 10 / np.sqrt(10)], [0, 0], [0, 0]]),
    ],
)
def test_combiners_by_hand(combiner: str, expected: list, weighted: list) -> None:
    np.testing.assert_allclose(pool(VECTORS, PRESENT, combiner), expected, rtol=1e-6)
    np.testing.assert_allclose(pool(VECTORS, PRESENT, combiner, WEIGHTS), weighted, rtol=1e-6)


def test_attention_by_hand() -> None:
    layer = AttentionPooling(2)
    layer.kernel.assign([[1, 0], [0, 0]])
    layer.bias.assign([0.5, 0])
    layer.context.assign([[2], [0]])
    # The scores are 2 tanh(e_0 + 0.5) of e_0 = 1 and 3.
    scores = np.exp([2 * np.tanh(1.5), 2 * np.tanh(3.5)])
    first, second = scores / scores.sum()
    expected = [first * 1 + second * 3, first * 2 + second * 4]
    np.testing.assert_allclose(layer(VECTORS, PRESENT), [expected, expected, [0, 0]], rtol=1e-5)
    layer.context.assign([[0], [0]])
    np.testing.assert_allclose(layer(VECTORS, PRESENT), pool(VECTORS, PRESENT, "mean"), rtol=1e-6)
    assert layer(VECTORS[:, :0], PRESENT[:, :0]).numpy().tolist() == [[0, 0]] * 3


def test_attention_is_finite_for_large_scores_and_rows_without_values() -> None:
    layer = AttentionPooling(2)
    layer.kernel.assign(100 * np.eye(2))
    layer.context.assign([[1000], [1000]])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(layer(VECTORS, PRESENT)))
    gradients = tape.gradient(loss, [v.value for v in layer.trainable_variables])
    assert all(np.isfinite(gradient).all() for gradient in [loss, *gradients])


@pytest.mark.parametrize(("combiner", "first"), [("sum", [4, 6]), ("mean", [2, 3]), ("sqrtn", [4 / np.sqrt(2), 6 / np.sqrt(2)])])
def test_values_of_a_step_by_hand(combiner: str, first: list[float]) -> None:
    vectors = tf.constant([[[1.0, 2], [3, 4], [5, 6]], [[7, 8], [0, 0], [0, 0]]])
    present = tf.constant([[True, True, True], [True, False, False]])
    steps = tf.constant([[0, 0, 2], [1, -1, -1]], tf.int64)
    found, which = by_step(vectors, present, steps, tf.constant(3), combiner)
    np.testing.assert_allclose(found, [[first, [0, 0], [5, 6]], [[0, 0], [7, 8], [0, 0]]], rtol=1e-6)
    np.testing.assert_array_equal(which, [[True, False, True], [False, True, False]])


def test_padding_on_the_left() -> None:
    ids = tf.constant([[1, 2, 0], [0, 0, 0], [1, 0, 3]])
    lengths = sequence_lengths(ids > 0)
    np.testing.assert_array_equal(lengths, [2, 0, 3])
    np.testing.assert_array_equal(padded_left(ids, lengths), [[0, 1, 2], [0, 0, 0], [1, 0, 3]])
    assert padded_left(ids[:, :0], tf.zeros([3], tf.int32)).shape == (3, 0)


def test_max_norm_clips_what_is_looked_up_and_not_the_table() -> None:
    spec = FeatureSpec.from_yaml("""
name: norms
features:
- {kind: categorical, name: a, encoding: {type: hash, num_buckets: 2}, max_norm: 1}
- {kind: categorical, name: b, table: a}
- {kind: multi_valued, name: c, table: a, max_norm: 10, combiner: sum}
label: {column: y}
""")
    layer = Inputs(spec).fields_and_first_order(2)
    table = [[9, 9, 9], [3, 4, 100], [6, 8, 200]]
    layer.variables[0].assign(table)
    features = {"a": tf.constant([1, 0]), "b": tf.constant([1, 0]), "c": tf.constant([[2, 1], [0, 0]])}
    vectors, first_order = layer(features)
    # (3, 4) has the norm 5, (6, 8) the norm 10; first-order weights are not clipped.
    np.testing.assert_allclose(vectors, [[[0.6, 0.8], [3, 4], [9, 12]], [[0, 0]] * 3], rtol=1e-6)
    np.testing.assert_allclose(first_order, [100 + 100 + 300, 0])
    np.testing.assert_array_equal(layer.variables[0], table)
    embeddings, _ = Inputs(spec).sequences(2)(features)
    assert embeddings["c"].shape == (2, 2, 2)


def test_weights_sequences_and_indicators_by_hand() -> None:
    spec = FeatureSpec.from_yaml("""
name: by_hand
features:
- {kind: multi_valued, name: tags, encoding: {type: hash, num_buckets: 2}, weights: w}
- {kind: sequence, name: items, encoding: {type: hash, num_buckets: 2}, value_delimiter: ',', padding: left}
- {kind: multi_valued, name: flags, encoding: {type: hash, num_buckets: 3}, representation: indicator}
- {kind: numeric_sequence, name: gaps, padding: left, combiner: sum}
- {kind: numeric, name: place, size: 2}
label: {column: y}
""")
    features = {
        "tags": tf.constant([[1, 2], [0, 0]], tf.int64),
        "tags_weights": tf.constant([[3.0, 1.0], [np.nan, np.nan]]),
        "items": tf.constant([[1, 2, 2], [2, 0, 0]], tf.int64),
        "items_steps": tf.constant([[0, 0, 1], [0, -1, -1]], tf.int64),
        "flags": tf.constant([[3, 1, 3], [0, 0, 0]], tf.int64),
        "gaps": tf.constant([[0.5, 2.0], [4.0, np.nan]]),
        "place": tf.constant([[1.0, -1.0], [0.0, 2.0]]),
    }
    tables = [[9, 9], [1, 2], [3, 4], [9, 9], [5, 6], [7, 8]]  # tags, then items
    numbers = [[1, 10], [2, 3], [4, 5]]  # gaps, then place

    layer = Inputs(spec).sequences(2)
    layer.variables[0].assign(tables)
    layer.variables[1].assign(numbers)
    embeddings, lengths = layer(features)
    np.testing.assert_array_equal(embeddings["tags"], [[[3, 6], [3, 4]], [[0, 0], [0, 0]]])  # each times its weight
    np.testing.assert_array_equal(embeddings["items"], [[[6, 7], [7, 8]], [[0, 0], [7, 8]]])  # the mean of (5, 6) and (7, 8); (7, 8)
    np.testing.assert_array_equal(embeddings["flags"], [[[0, 0, 1], [1, 0, 0], [0, 0, 1]], [[0] * 3] * 3])
    np.testing.assert_array_equal(embeddings["gaps"], [[[0.5, 5], [2, 20]], [[0, 0], [4, 40]]])
    np.testing.assert_array_equal(embeddings["place"], [[[-2, -2]], [[8, 10]]])  # (2, 3) - (4, 5); 2 (4, 5)
    assert {name: length.numpy().tolist() for name, length in lengths.items()} == {
        "tags": [2, 0], "items": [2, 1], "flags": [3, 0], "gaps": [2, 1], "place": [1, 1],
    }  # fmt: skip

    flat = Inputs(spec).flat(2)
    flat.variables[0].assign(tables)
    flat.variables[1].assign(numbers)
    expected = {
        "tags": [[1.5, 2.5], [0, 0]],  # (3 (1, 2) + (3, 4)) / 4
        "items": [[6.5, 7.5], [7, 8]],
        "flags": [[1, 0, 2], [0, 0, 0]],
        "gaps": [[2.5, 25], [4, 40]],
        "place": [[-2, -2], [8, 10]],
    }
    found = flat(features)
    assert flat.slices == {"tags": slice(0, 2), "items": slice(2, 4), "gaps": slice(4, 6), "place": slice(6, 8), "flags": slice(8, 11)}
    for name, columns in flat.slices.items():
        np.testing.assert_allclose(found[:, columns], expected[name], rtol=1e-6, err_msg=name)
