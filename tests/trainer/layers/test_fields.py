from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_reference import LISTS, SPEC, TABLE_ROWS, pooled, random_rows, tensors, vectors_of

from feature_specs import CategoricalFeature, ColonnadeError, FeatureSpec, Hash, Label, MultiValuedFeature, NumericFeature
from trainer.layers import FieldEmbeddings, FirstOrder, Inputs, StackedTable

INPUTS = Inputs(SPEC, TABLE_ROWS)
NORMAL = keras.initializers.RandomNormal(stddev=1.0)


def small_spec(combiner: str = "mean", **widths: int) -> FeatureSpec:
    return FeatureSpec(
        name="small",
        features=(
            NumericFeature(name="age", embedding_dim=widths.get("age")),
            MultiValuedFeature(name="tags", encoding=Hash(num_buckets=2), combiner=combiner, embedding_dim=widths.get("tags")),
            CategoricalFeature(name="ad", encoding=Hash(num_buckets=2), embedding_dim=widths.get("ad")),
        ),
        label=Label(column="label"),
    )


def small_features() -> dict[str, tf.Tensor]:
    return {
        "ad": tf.constant([2, 0]),
        "tags": tf.RaggedTensor.from_row_lengths(tf.constant([1, 2, 2, 1], tf.int64), [4, 0]),
        "age": tf.constant([0.5, 2.0]),
    }


@pytest.mark.parametrize(
    ("combiner", "tags"),
    # Ids 1, 2, 2, 1 are the rows (5, 6), (7, 8), (7, 8), (5, 6): their sum is (24, 28), their mean (6, 7), and sum / sqrt(4) (12, 14).
    [("sum", [24, 28]), ("mean", [6, 7]), ("sqrtn", [12, 14])],
)
def test_fields_by_hand(combiner: str, tags: list[int]) -> None:
    layer = FieldEmbeddings(small_spec(combiner), embedding_dim=2)
    layer.variables[0].assign([[9, 9], [5, 6], [7, 8], [9, 9], [1, 2], [3, 4]])  # tags, then ad; the rows of id 0 are never seen
    layer.variables[1].assign([[10, 20]])
    assert layer.field_names == ("ad", "tags", "age")
    np.testing.assert_array_equal(layer(small_features()), [[[3, 4], tags, [5, 10]], [[0, 0], [0, 0], [20, 40]]])


def test_first_order_by_hand() -> None:
    layer = FirstOrder(small_spec("sum", ad=4, tags=4, age=4), use_bias=True)
    np.testing.assert_array_equal(layer(small_features()), [0, 0])
    layer.bias.assign(100)
    weights, numbers = (v for v in layer.variables if v is not layer.bias)
    weights.assign([[9], [1], [2], [9], [3], [4]])
    numbers.assign([[10]])
    # First row: bias 100, ad 4, tags 1 + 2 + 2 + 1, age 0.5 * 10. Second: no ad, no tags, age 2 * 10.
    np.testing.assert_array_equal(layer(small_features()), [100 + 4 + 6 + 5, 100 + 20])


@pytest.mark.parametrize("kind", ["ragged", "dense", "sparse"])
def test_fields_against_a_double_loop(kind: str) -> None:
    rows = random_rows(20)
    layer = FieldEmbeddings(SPEC, table_rows=TABLE_ROWS, embedding_dim=3, initializer=NORMAL)
    fields = layer(tensors(rows, kind, padding=2)).numpy()
    assert fields.shape == (20, 7, 3)
    combiners = {feature.name: getattr(feature, "combiner", "sum") for feature in SPEC.features}
    for number, name in enumerate(layer.field_names):
        for row in range(20):
            expected = pooled(vectors_of(layer, SPEC, rows, row, name), combiners[name], 3)
            np.testing.assert_allclose(fields[row, number], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["ragged", "dense", "sparse"])
def test_lists_that_are_empty_are_zero(kind: str) -> None:
    rows = random_rows(3) | {name: [[], [], []] for name in LISTS}
    layer = INPUTS.fields(4)
    fields = layer(tensors(rows, kind))
    for name in LISTS:
        np.testing.assert_array_equal(fields[:, layer.field_names.index(name)], 0)


def test_a_row_depends_on_no_other_row_and_on_no_padding() -> None:
    rows = random_rows(12, seed=3)
    layer = FieldEmbeddings(SPEC, table_rows=TABLE_ROWS, embedding_dim=5, initializer=NORMAL)
    together = layer(tensors(rows))
    np.testing.assert_allclose(layer(tensors(rows, "dense", padding=30)), together, rtol=1e-6, atol=1e-6)
    for row in range(12):
        alone = layer(tensors({name: values[row : row + 1] for name, values in rows.items()}))
        np.testing.assert_array_equal(alone[0], together[row])


@pytest.mark.parametrize("make", [lambda: INPUTS.fields(4), lambda: INPUTS.first_order()], ids=["fields", "first_order"])
def test_gradients(make: Callable[[], keras.layers.Layer]) -> None:
    layer, rows = make(), random_rows(9)

    @tf.function
    def gradients(features: dict[str, tf.Tensor]) -> list:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(features, training=True))
        return tape.gradient(loss, [v.value for v in layer.trainable_variables])

    table, numbers = gradients(tensors(rows))
    assert isinstance(table, tf.IndexedSlices)
    assert isinstance(numbers, tf.Tensor)
    dense = tf.convert_to_tensor(table).numpy()
    (stack,) = (each for each in layer._flatten_layers() if isinstance(each, StackedTable))
    for offset in stack.offsets.values():
        np.testing.assert_array_equal(dense[offset], 0)  # the row of id 0
    # `tags` are summed: a row's gradient is how often its id occurs.
    counts = np.bincount(sum(rows["tags"], []), minlength=TABLE_ROWS["tags"])
    np.testing.assert_allclose(dense[stack.offsets["tags"] :][: TABLE_ROWS["tags"], 0], counts, rtol=1e-6)


def test_an_optimizer_is_asked_for_every_row_that_is_looked_up() -> None:
    layer, seen = INPUTS.fields(4), []
    (stack,) = (each for each in layer._flatten_layers() if isinstance(each, StackedTable))

    def answer(rows: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        seen.append(rows)
        np.testing.assert_array_equal(present, ~np.isin(rows, list(stack.offsets.values())))  # all but the rows of id 0
        return tf.gather(stack.table.value, rows)

    stack.answer = answer
    layer(tensors(random_rows(9)), training=True)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tensors(random_rows(9))))
    np.testing.assert_array_equal(seen[0], tape.gradient(loss, stack.table.value).indices)


def test_mixed_precision() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        fields, first_order = INPUTS.fields(4), INPUTS.first_order()
    finally:
        keras.config.set_dtype_policy("float32")
    features = tensors(random_rows(5))
    assert fields(features).dtype == tf.bfloat16
    assert first_order(features).dtype == tf.float32  # a part of the logits
    assert all(v.dtype == "float32" for layer in (fields, first_order) for v in layer.variables)


def test_layers_share_no_weights_and_are_named() -> None:
    layers = [INPUTS.fields(4), INPUTS.fields(4, name="other"), INPUTS.first_order(), INPUTS.sequences(4)]
    paths = [v.path for layer in layers for v in layer.variables]
    assert paths == [f"{name}/{v}" for name, dim in (("fields", 4), ("other", 4), ("first_order", 1), ("sequences", 4))
                     for v in (f"tables_{dim}/table", f"numbers_{dim}/vectors")]  # fmt: skip
    tables = [layer.variables[0].numpy() for layer in (layers[0], layers[1], layers[3])]
    assert not any(np.array_equal(tables[a], tables[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_field_names_and_number() -> None:
    assert INPUTS.field_names == INPUTS.fields(2).field_names == ("item", "hour", "tags", "history", "pages", "age", "price")
    assert len(INPUTS.field_names) == 7


def test_unequal_widths_are_named() -> None:
    with pytest.raises(ColonnadeError, match=r"needs equal widths\. Received: 2 \(age, ad\); 8 \(tags\)\. Leave `embedding_dim` \(and"):
        Inputs(small_spec(tags=8)).fields(2)


@pytest.mark.parametrize("single", ["age", "ad", "tags"])
def test_one_feature_is_enough(single: str) -> None:
    spec = small_spec()
    spec = spec.model_copy(update={"features": tuple(f for f in spec.features if f.name == single)})
    assert Inputs(spec).fields(3)(small_features()).shape == (2, 1, 3)
    assert Inputs(spec).sequences(3)(small_features())[0][single].shape[0] == 2
    assert Inputs(spec).first_order()(small_features()).shape == (2,)


def test_fields_and_first_order_are_the_two_layers_in_one() -> None:
    both, fields, first_order = INPUTS.fields_and_first_order(4), INPUTS.fields(4), INPUTS.first_order()
    features = tensors(random_rows(9))
    np.testing.assert_array_equal(both(features)[1], np.zeros(9))  # weights start at zero
    assert np.std(both.variables[0].numpy()[:, :-1]) == pytest.approx(0.01, rel=0.3)
    rng = np.random.default_rng(0)
    for joint, vectors, weights in zip(both.variables, fields.variables, first_order.variables, strict=True):
        joint.assign(rng.normal(size=joint.shape))
        vectors.assign(joint.numpy()[:, :-1])
        weights.assign(joint.numpy()[:, -1:])
    np.testing.assert_allclose(both(features)[0], fields(features), rtol=1e-6)
    np.testing.assert_allclose(both(features)[1], first_order(features), rtol=1e-4)
