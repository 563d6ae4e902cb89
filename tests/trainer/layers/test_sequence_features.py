from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_reference import LISTS, SPEC, TABLE_ROWS, random_rows, tensors, vectors_of

from feature_specs import CategoricalFeature, ColonnadeError, FeatureSpec, Hash, Label, MultiValuedFeature, NumericFeature, Vocabulary
from feature_specs.features import AnyFeature
from trainer.layers import SequenceFeatures, StackedTable


def layer_of(dim: int = 4, spec: FeatureSpec = SPEC) -> SequenceFeatures:
    return SequenceFeatures(spec, table_rows=TABLE_ROWS, embedding_dim=dim, initializer=keras.initializers.RandomNormal(stddev=1.0))


def spec_of(*features: AnyFeature) -> FeatureSpec:
    return FeatureSpec(name="test", features=features, label=Label(column="label"))


def test_by_hand() -> None:
    spec = spec_of(
        CategoricalFeature(name="ad", encoding=Hash(num_buckets=2)),
        MultiValuedFeature(name="tags", encoding=Hash(num_buckets=2)),
        NumericFeature(name="age"),
    )
    layer = SequenceFeatures(spec, embedding_dim=2)
    # Rows 0 to 2 are the table of `ad`, rows 3 to 5 that of `tags`; the rows of id 0 hold 9s that must never be seen.
    layer.variables[0].assign([[9, 9], [1, 2], [3, 4], [9, 9], [5, 6], [7, 8]])
    layer.variables[1].assign([[10, 20]])
    features = {"ad": [2, 0, 1], "tags": [[1, 2, 0], [2, 0, 0], [0, 0, 0]], "age": [0.5, -1.0, 0.0]}
    embeddings, lengths = layer({name: np.array(values) for name, values in features.items()})
    assert list(embeddings) == list(lengths) == ["ad", "tags", "age"] == list(layer.names)
    np.testing.assert_array_equal(embeddings["ad"], [[[3, 4]], [[0, 0]], [[1, 2]]])
    np.testing.assert_array_equal(embeddings["tags"], [[[5, 6], [7, 8], [0, 0]], [[7, 8], [0, 0], [0, 0]], [[0, 0]] * 3])
    np.testing.assert_array_equal(embeddings["age"], [[[5, 10]], [[-10, -20]], [[0, 0]]])  # 0.5 * (10, 20), -1 * (10, 20), 0
    np.testing.assert_array_equal(lengths["ad"], [1, 0, 1])
    np.testing.assert_array_equal(lengths["tags"], [2, 1, 0])
    np.testing.assert_array_equal(lengths["age"], [1, 1, 1])


@pytest.mark.parametrize("kind", ["ragged", "dense", "sparse"])
@pytest.mark.parametrize("dtype", [tf.int32, tf.int64])
def test_against_a_double_loop(kind: str, dtype: tf.DType) -> None:
    rows, layer = random_rows(20), layer_of()
    embeddings, lengths = layer(tensors(rows, kind, dtype=dtype))
    assert list(embeddings) == list(lengths) == [feature.name for feature in SPEC.features]
    for name, found in embeddings.items():
        longest = max(len(row) for row in rows[name]) if name in LISTS else 1
        assert found.shape == (20, longest, 4)
        assert lengths[name].dtype == tf.int32
        for row in range(20):
            vectors = vectors_of(layer, SPEC, rows, row, name)
            assert lengths[name][row] == len(vectors)
            np.testing.assert_array_equal(found[row], vectors + [np.zeros(4)] * (longest - len(vectors)))


def test_padding_and_the_other_rows_of_the_batch_change_nothing() -> None:
    rows, layer = random_rows(6), layer_of()
    embeddings, lengths = layer(tensors(rows, "dense"))
    padded, padded_lengths = layer(tensors(rows, "dense", padding=7))
    for row in range(6):
        alone, alone_lengths = layer(tensors({name: values[row : row + 1] for name, values in rows.items()}))
        for name, found in embeddings.items():
            steps = found.shape[1]
            np.testing.assert_array_equal(padded[name][row, :steps], found[row])
            np.testing.assert_array_equal(padded[name][row, steps:], 0)
            count = int(lengths[name][row])
            np.testing.assert_array_equal(alone[name][0, :count], found[row, :count])
            assert count == padded_lengths[name][row] == alone_lengths[name][0]


@pytest.mark.parametrize("kind", ["ragged", "dense", "sparse"])
def test_lists_that_are_all_empty(kind: str) -> None:
    rows = random_rows(3) | {name: [[], [], []] for name in LISTS}
    embeddings, lengths = layer_of()(tensors(rows, kind))
    assert embeddings["history"].shape == (3, 0, 4)
    np.testing.assert_array_equal(lengths["history"], [0, 0, 0])


def test_widths_of_the_spec_come_before_the_default_and_share_no_variable() -> None:
    spec = spec_of(
        CategoricalFeature(name="wide", encoding=Hash(num_buckets=3), embedding_dim=8),
        CategoricalFeature(name="narrow", encoding=Hash(num_buckets=3)),
        NumericFeature(name="age", embedding_dim=8),
        CategoricalFeature(name="other", encoding=Hash(num_buckets=3), embedding_dim=8),
    )
    layer = SequenceFeatures(spec, embedding_dim=2, name="input")
    embeddings, _ = layer({name: tf.constant([value]) for name, value in {"wide": 1, "narrow": 2, "age": 1.0, "other": 3}.items()})
    assert {name: vectors.shape[-1] for name, vectors in embeddings.items()} == {"wide": 8, "narrow": 2, "age": 8, "other": 8}
    assert {v.path: v.shape for v in layer.variables} == {
        "input/tables_8/table": (8, 8),
        "input/numbers_8/vectors": (1, 8),
        "input/tables_2/table": (4, 2),
    }


def test_gradients_are_one_indexed_slices_a_width() -> None:
    rows, layer = random_rows(8), layer_of()
    stacks = [each for each in layer._flatten_layers() if isinstance(each, StackedTable)]
    assert len(stacks) == 1
    with tf.GradientTape() as tape:
        embeddings, _ = layer(tensors(rows, "dense", padding=3), training=True)
        loss = tf.add_n([tf.reduce_sum(vectors) for vectors in embeddings.values()])
    gradient, numbers = tape.gradient(loss, [v.value for v in layer.trainable_variables])
    assert isinstance(gradient, tf.IndexedSlices)
    padding_rows = np.isin(gradient.indices, list(stacks[0].offsets.values()))
    np.testing.assert_array_equal(gradient.values, np.where(padding_rows, 0.0, 1.0)[:, None] * np.ones(4))
    np.testing.assert_allclose(numbers, np.ones(4) * np.array([[sum(rows["age"])], [sum(rows["price"])]]), rtol=1e-5)


def test_one_trace_serves_every_batch_and_equals_eager() -> None:
    layer = layer_of()
    traces = []

    @tf.function(reduce_retracing=True)
    def call(features: dict[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        traces.append(1)
        return layer(features)

    first = tensors(random_rows(5))
    signature = tf.nest.map_structure(
        lambda x: tf.RaggedTensorSpec([None, None], x.dtype) if isinstance(x, tf.RaggedTensor) else tf.TensorSpec([None], x.dtype), first
    )
    concrete = call.get_concrete_function(signature)
    for seed, count in enumerate((5, 1, 9)):
        features = tensors(random_rows(count, seed))
        expected, _ = layer(features)
        for name, vectors in concrete(features)[0].items():
            np.testing.assert_array_equal(vectors, expected[name])
    assert len(traces) == 1
    assert call.get_concrete_function(signature).structured_outputs[0]["history"].shape.as_list() == [None, None, 4]


def test_mixed_precision_casts_vectors_and_not_numbers() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = SequenceFeatures(
            spec_of(NumericFeature(name="age"), CategoricalFeature(name="ad", encoding=Hash(num_buckets=2))), embedding_dim=1
        )
        layer.variables[1].assign([[1000.0]])
        embeddings, lengths = layer({"age": tf.constant([1.003]), "ad": tf.constant([1])})
    finally:
        keras.config.set_dtype_policy("float32")
    assert {vectors.dtype for vectors in embeddings.values()} == {tf.bfloat16}
    assert {length.dtype for length in lengths.values()} == {tf.int32}
    # 1.003 * 1000 = 1003, in bfloat16 1004; a number that is rounded before it is multiplied is 1.0 and gives 1000.
    assert float(embeddings["age"][0, 0, 0]) == 1004
    assert all(v.dtype == "float32" for v in layer.variables)


def test_stacks_are_found_in_a_model() -> None:
    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embed = layer_of()

    assert [type(each) for each in Model()._flatten_layers()].count(StackedTable) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"history": None}, r"Feature 'history' is missing\..*Received: .*item.*Add it"),
        ({"item": ["a", "b"]}, r"Feature 'item' should hold ids, int64\. Received: string\. Pass raw values through the transform graph"),
        ({"item": [0.5, 1.0]}, r"'item' should hold ids, int64\. Received: float32"),
        ({"item": [[1, 2], [3, 4]]}, r"'item' is single-valued: ids \[B\]\. Received: .*of shape \(2, 2\)"),
        ({"history": [1, 2]}, r"'history' is a list: ids \[B, T\]\. Received: .*of shape \(2,\)\. Pad rows with 0"),
    ],
)
def test_what_cannot_be_read_is_named(change: dict, message: str) -> None:
    features = tensors(random_rows(2)) | change
    features = {name: tf.constant(value) if isinstance(value, list) else value for name, value in features.items() if value is not None}
    with pytest.raises(ColonnadeError, match=message):
        layer_of()(features)


@pytest.mark.parametrize("wrap", [lambda f: f, tf.function], ids=["eager", "graph"])
@pytest.mark.parametrize("bad", [8, -1])
def test_an_id_outside_its_table_is_no_row_of_the_next(wrap: Callable, bad: int) -> None:
    features = tensors(random_rows(2)) | {"item": tf.constant([1, bad], tf.int64)}
    layer = layer_of()
    # An id beyond the whole stack is found by the gather as well, and in a graph either may speak first.
    message = r"Ids should be in \[0, rows\) of their tables\. Rows: item 8, tags 7" + r"|indices\[1\] = -1 is not in \[0, 25\)"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        wrap(lambda values: layer(values))(features)


def test_what_cannot_be_built_is_named() -> None:
    with pytest.raises(ColonnadeError, match=r"rows of table 'item' is not known: it has a vocabulary\. Received table_rows: None\. Pass"):
        SequenceFeatures(SPEC, embedding_dim=4)
    with pytest.raises(ColonnadeError, match=r"without a width: ad\. Pass embedding_dim"):
        SequenceFeatures(spec_of(CategoricalFeature(name="ad", encoding=Vocabulary())), table_rows={"ad": 3})
