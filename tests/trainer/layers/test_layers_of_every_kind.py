"""Every kind of field against loops in NumPy, and what holds for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds_reference import BY_NAME, COLUMNS, DIM, SPEC, Reference, random_rows, tensors

from feature_specs import ColonnadeError, FeatureSpec
from trainer.config import TrainingConfig
from trainer.data import element_spec
from trainer.layers import Flat, Inputs, SequenceFeatures, StackedTable
from trainer.loop import Loop
from trainer.models.ranking.nfm import NFM
from trainer.tasks import task_of

INPUTS = Inputs(SPEC)
NORMAL = keras.initializers.RandomNormal(stddev=1.0)
# Of one width: what a model on `[B, F, D]` takes.
EQUAL = SPEC.model_copy(
    update={"features": tuple(f for f in SPEC.features if f.representation == "embedding" and f.name not in ("narrow", "wide"))}
)


@pytest.mark.parametrize("kind", ["dense", "ragged", "sparse"])
def test_sequences_against_loops(kind: str) -> None:
    rows, layer = random_rows(15), SequenceFeatures(SPEC, embedding_dim=DIM, initializer=NORMAL)
    embeddings, lengths = layer(tensors(rows, kind))
    reference = Reference(layer, rows)
    assert tuple(embeddings) == tuple(lengths) == SPEC.fields == layer.names
    for name, found in embeddings.items():
        assert lengths[name].dtype == tf.int32
        for row in range(15):
            np.testing.assert_allclose(found[row], reference.embedded(name, row, *found.shape[1:]), rtol=1e-4, atol=1e-5, err_msg=name)
            assert lengths[name][row] == len(reference.values(name, row)[0]), name


@pytest.mark.parametrize("kind", ["dense", "ragged", "sparse"])
def test_flat_against_loops(kind: str) -> None:
    rows, layer = random_rows(15, seed=1), Flat(SPEC, embedding_dim=DIM, initializer=NORMAL)
    flat = layer(tensors(rows, kind))
    assert flat.shape == (15, layer.width)
    assert set(layer.slices) == set(SPEC.fields)
    reference = Reference(layer, rows)
    for name, columns in layer.slices.items():
        for row in range(15):
            expected = reference.pooled(name, row, columns.stop - columns.start)
            np.testing.assert_allclose(flat[row, columns], expected, rtol=1e-4, atol=1e-5, err_msg=name)


def test_widths() -> None:
    widths = {name: part.stop - part.start for name, part in INPUTS.flat(DIM).slices.items()}
    declared = {"price": 1, "price_missing": 1, "place": 2, "color": 3, "flags": 5, "amounts": 5, "clicks": 3}
    declared |= {"plain": 1, "chosen": 1, "narrow": 2, "wide": 6}
    assert widths == {name: declared.get(name, DIM) for name in SPEC.fields}


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), longest=st.integers(0, 5), padding=st.integers(1, 4), row=st.integers(0, 3))
def test_rows_depend_on_no_padding_and_on_no_other_row(seed: int, longest: int, padding: int, row: int) -> None:
    rows = random_rows(4, seed, longest)
    flat, sequences = _layers()
    together, padded = flat(tensors(rows)), flat(tensors(rows, padding=padding))
    alone = flat(tensors({name: values[row : row + 1] for name, values in rows.items()}))
    np.testing.assert_allclose(padded, together, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(alone[0], together[row], rtol=1e-5, atol=1e-6)
    embeddings, lengths = sequences(tensors(rows, padding=padding))
    for name, found in embeddings.items():
        length, steps = int(lengths[name][row]), found.shape[1]
        is_left = getattr(BY_NAME[name], "padding", "right") == "left"
        np.testing.assert_array_equal(found[row, : steps - length] if is_left else found[row, length:], 0)


_MADE: list[Any] = []


def _layers() -> list[Any]:
    if not _MADE:
        _MADE.extend([Flat(SPEC, embedding_dim=DIM, initializer=NORMAL), SequenceFeatures(SPEC, embedding_dim=DIM, initializer=NORMAL)])
    return _MADE


@pytest.mark.parametrize("make", ["flat", "fields_and_first_order", "sequences", "first_order"])
def test_gradients_reach_every_parameter(make: str) -> None:
    inputs = Inputs(EQUAL if make == "fields_and_first_order" else SPEC)
    layer = inputs.first_order() if make == "first_order" else getattr(inputs, make)(DIM)
    features = tensors(random_rows(30))

    @tf.function
    def gradients() -> list[Any]:
        with tf.GradientTape() as tape:
            found = layer(features, training=True)
            loss = tf.add_n([tf.reduce_sum(tf.square(1 + x)) for x in tf.nest.flatten(found) if x.dtype == tf.float32])
        return tape.gradient(loss, [v.value for v in layer.trainable_variables])

    found = gradients()
    assert found
    for variable, gradient in zip(layer.trainable_variables, found, strict=True):
        assert np.isfinite(tf.convert_to_tensor(gradient)).all(), variable.path
        assert tf.convert_to_tensor(gradient).numpy().any(), variable.path
    for stack in (each for each in layer._flatten_layers() if isinstance(each, StackedTable) and each.table.trainable):
        index = [id(v) for v in layer.trainable_variables].index(id(stack.table))
        assert isinstance(found[index], tf.IndexedSlices)
        dense = tf.convert_to_tensor(found[index]).numpy()
        np.testing.assert_array_equal(dense[list(stack.offsets.values())], 0)  # of padding


def test_one_gather_a_width_and_kind_of_table() -> None:
    layer = INPUTS.flat(DIM)
    stacks = {each.name: set(each.rows) for each in layer._flatten_layers() if isinstance(each, StackedTable)}
    frozen, narrow = {"baskets"}, {"narrow"}
    no_table = {"color", "flags", "amounts", "clicks"}
    assert stacks == {f"tables_{DIM}": set(SPEC.tables) - frozen - narrow - no_table, "tables_2": narrow, f"frozen_tables_{DIM}": frozen}
    assert [v.path for v in layer.non_trainable_variables] == [f"flat/frozen_tables_{DIM}/table"]


def test_fields_and_first_order_are_the_two_layers_in_one() -> None:
    inputs = Inputs(EQUAL)
    both, fields, first_order = inputs.fields_and_first_order(DIM), inputs.fields(DIM), inputs.first_order()
    assert both.field_names == fields.field_names == inputs.field_names
    assert set(both.field_names) == set(EQUAL.fields)
    rng = np.random.default_rng(0)
    for variable in both.variables:
        variable.assign(rng.normal(size=variable.shape))
    variables = {v.path.split("/", 1)[1]: v for v in both.variables}
    joint, numbers = variables[f"tables_{DIM + 1}/table"].numpy(), variables[f"numbers_{DIM + 1}/vectors"].numpy()
    targets = {v.path.split("/", 1)[1]: v for v in fields.variables}
    for name, variable in targets.items():
        source = {f"tables_{DIM}/table": joint[:, :-1], f"numbers_{DIM}/vectors": numbers[:, :-1]}.get(name)
        variable.assign(variables[name] if source is None else source)
    (weights,) = (each for each in first_order._flatten_layers() if isinstance(each, StackedTable))
    stack = next(each for each in both._flatten_layers() if isinstance(each, StackedTable) and each.dim == DIM + 1)
    rows = {t: joint[stack.offsets[t] : stack.offsets[t] + n, -1:] for t, n in stack.rows.items()}
    rows["baskets"] = variables["weights_apart/tables_1/table"].numpy()
    weights.table.assign(np.concatenate([rows[table] for table in weights.rows]))
    by_name = {v.path.split("/")[1]: v for v in first_order.variables}
    sizes = {name: COLUMNS[name].size for name in _offsets(both)}
    by_name["numbers_1"].assign(np.concatenate([numbers[_offsets(both)[name] :][: sizes[name], -1:] for name in _offsets(first_order)]))
    features = tensors(random_rows(20))
    vectors, linear = both(features)
    np.testing.assert_allclose(vectors, fields(features), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(linear, first_order(features), rtol=1e-4, atol=1e-4)


def _offsets(layer: keras.layers.Layer) -> dict[str, int]:
    return next(each for each in layer._flatten_layers() if each.name.startswith("numbers_")).offsets


def test_first_order_of_numbers_as_they_are_and_of_indicators() -> None:
    spec = SPEC.model_copy(update={"features": tuple(f for f in SPEC.features if f.name in ("place", "flags"))})
    layer = Inputs(spec).first_order()
    weights = {v.path.split("/")[1]: v for v in layer.variables}
    weights["tables_1"].assign([[9], [1], [2], [3], [4], [5]])
    weights["numbers_1"].assign([[10], [100]])
    features = {"place": tf.constant([[1.0, 2.0], [0.0, -1.0]]), "flags": tf.constant([[1, 1, 5, 0], [0, 0, 0, 0]], tf.int64)}
    # 1 * 10 + 2 * 100 and the mean of 1, 1 and 5; -100 and no flags.
    np.testing.assert_allclose(layer(features), [210 + 7 / 3, -100], rtol=1e-6)


def test_frozen_tables_stay_and_their_first_order_weights_are_trained() -> None:
    loop = Loop(
        NFM(Inputs(EQUAL), embedding_dim=DIM, pooled_dropout=0.0, dropout=0.0),
        task_of(EQUAL),
        TrainingConfig(learning_rate=0.1),
        element_spec(EQUAL),
    )
    by_path = {v.path.split("/", 1)[1]: v for v in loop.model.fields.variables}
    frozen, weights = by_path[f"frozen_tables_{DIM}/table"], by_path["weights_apart/tables_1/table"]
    before = frozen.numpy()
    features = {name: tensor for name, tensor in tensors(random_rows(8)).items() if name in element_spec(EQUAL)[0]}
    batches = tf.data.Dataset.from_tensors((features, tf.constant([0.0, 1] * 4))).repeat()
    loop.train(iter(batches), 3)
    np.testing.assert_array_equal(frozen, before)
    assert weights.numpy()[1:].any()


def test_a_saved_layer_gives_the_same_and_has_all_variables(tmp_path: Path) -> None:
    model, other = (Flat(SPEC, embedding_dim=DIM, initializer=NORMAL, name=name) for name in ("first", "second"))
    features = tensors(random_rows(6))
    expected = model(features)
    function = tf.function(lambda features: {"flat": model(features)}, input_signature=[element_spec(SPEC)[0]])
    module = tf.Module()
    module.held, module.serve = [v.value for v in model.variables], function
    tf.saved_model.save(module, str(tmp_path / "model"))
    restored = tf.saved_model.load(str(tmp_path / "model"))
    np.testing.assert_allclose(restored.serve(features)["flat"], expected, rtol=1e-5, atol=1e-6)
    variables, others = ([v.value for v in each.variables] for each in (model, other))
    path = tf.train.Checkpoint(state=variables).save(str(tmp_path / "checkpoint"))
    saved = {key for key, _ in tf.train.list_variables(path) if key.startswith("state/")}
    assert len(saved) == len(variables) == len({v.path for v in model.variables})
    tf.train.Checkpoint(state=others).restore(path).assert_consumed()
    np.testing.assert_array_equal(other(features), expected)


def test_one_trace_serves_every_batch() -> None:
    layer, traces = INPUTS.flat(DIM), []

    @tf.function(input_signature=[element_spec(SPEC)[0]])
    def call(features: dict[str, tf.Tensor]) -> tf.Tensor:
        traces.append(1)
        return layer(features)

    for seed, longest in enumerate((4, 0, 2)):
        features = tensors(random_rows(3 + seed, seed, longest))
        np.testing.assert_allclose(call(features), layer(features), rtol=1e-5, atol=1e-6)
    assert len(traces) == 1
    assert call.get_concrete_function().structured_outputs.shape.as_list() == [None, layer.width]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"place": tf.zeros([15, 3])}, r"'place' is a vector: numbers \[B, 2\]\. Received: shape \(15, 3\)"),
        ({"gaps": tf.zeros([15])}, r"'gaps' is a list: numbers \[B, T\]\. Received: .* of shape \(15,\)\. Pad rows with NaN"),
        ({"baskets_steps": tf.zeros([15], tf.int64)}, r"'baskets_steps' is a list.*Pad rows with -1"),
        ({"tags_weights": None}, r"Feature 'tags_weights' is missing\."),
    ],
)
def test_what_cannot_be_read_is_named(change: dict[str, Any], message: str) -> None:
    features = {name: value for name, value in (tensors(random_rows(15)) | change).items() if value is not None}
    with pytest.raises(ColonnadeError, match=message):
        INPUTS.flat(DIM)(features)


@pytest.mark.parametrize("name", ["color", "flags"])
def test_an_indicator_s_id_outside_its_table_fails(name: str) -> None:
    features = tensors(random_rows(3))
    features[name] = tf.fill([3, 2] if COLUMNS[name].layout == "list" else [3], tf.constant(9, tf.int64))
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"Ids should be in \[0, rows\) of their tables\. Rows: {name} "):
        INPUTS.flat(DIM)(features)


def test_unequal_widths_are_named_with_their_representation() -> None:
    message = r"Received: 4 \(genres, .*\); 1 \(price: value, .*\); 2 \(place: value, narrow\); 3 \(color: indicator, .*\); .*6 \(wide\)"
    with pytest.raises(ColonnadeError, match=message):
        INPUTS.fields(DIM)


def test_options_of_a_table_reach_it() -> None:
    spec = FeatureSpec.from_yaml("""
name: options
features:
- {kind: categorical, name: a, encoding: {type: hash, num_buckets: 3}, l2: 0.5, initializer: {type: constant, value: 2}}
- {kind: categorical, name: b, encoding: {type: hash, num_buckets: 3}, only_crossed: true}
- {kind: multi_valued, name: c, table: a}
- {kind: multi_valued, name: d, table: e, representation: indicator}
- {kind: categorical, name: e, encoding: {type: hash, num_buckets: 2}, l2: 0.25}
- {kind: crossed, name: a_by_b, inputs: [a, b], num_buckets: 5, l2: 0}
- {kind: numeric, name: x, initializer: {type: constant, value: 3}}
label: {column: y}
""")
    layer = Inputs(spec).flat(2)
    stacks = {each.name: each for each in layer._flatten_layers() if isinstance(each, StackedTable)}
    assert {name: (stack.rows, stack.l2) for name, stack in stacks.items()} == {
        "tables_2": ({"a": 4, "a_by_b": 6}, {"a": 0.5, "a_by_b": 0.0}),
        "shared_tables_2": ({"e": 3}, {"e": 0.25}),  # an indicator has the table too
    }
    np.testing.assert_array_equal(stacks["tables_2"].table.numpy()[:4], 2)
    assert np.abs(stacks["tables_2"].table.numpy()[4:]).max() < 0.1
    assert layer.field_names == ("a", "a_by_b", "c", "x", "e", "d")
    assert "b" not in spec.fields
    (numbers,) = (each for each in layer._flatten_layers() if each.name == "numbers_2")
    np.testing.assert_array_equal(numbers.vectors, [[3, 3]])
    first_order = Inputs(spec).first_order()
    (weights,) = (each for each in first_order._flatten_layers() if isinstance(each, StackedTable))
    assert (weights.rows, weights.l2) == ({"a": 4, "e": 3, "a_by_b": 6}, {"a": 0.5, "e": 0.25, "a_by_b": 0.0})
    assert not weights.table.numpy().any()
