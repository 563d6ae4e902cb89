"""Numbers of `representation: value`: beside the vectors in the MLP and in the linear term, and in no product of vectors."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import known_models
import numpy as np
import pytest
import tensorflow as tf
from model_reference import dense, relu_mlp
from numpy.typing import NDArray

from feature_specs import ColonnadeError, FeatureSpec
from trainer.data import element_spec
from trainer.layers import Inputs, StackedTable, side_by_side
from trainer.layers.tables import NumericVectors
from trainer.models.base import RankingModel
from trainer.models.registry import list_models, make_model
from trainer.plot_model import architecture
from trainer.precision import precision_policy

SPEC = FeatureSpec.from_yaml("""
name: scalars
features:
- {kind: numeric, name: x, representation: value}
- {kind: categorical, name: a, dtype: int64, encoding: {type: identity, num_buckets: 4}}
- {kind: numeric, name: place, size: 2, representation: value, missing_indicator: true}
- {kind: categorical, name: b, dtype: int64, encoding: {type: identity, num_buckets: 3}}
- {kind: numeric_sequence, name: costs, representation: value, combiner: sum}
- {kind: numeric, name: age}
label: {column: y}
""")
NAN = float("nan")
FEATURES = {
    "x": tf.constant([0.5, -2.0, 1.5]),
    "a": tf.constant([1, 4, 0], tf.int64),
    "place": tf.constant([[1.0, -1.0], [0.0, 3.0], [2.0, 0.5]]),
    "place_missing": tf.constant([0.0, 1.0, 0.0]),
    "b": tf.constant([2, 2, 3], tf.int64),
    "costs": tf.constant([[1.0, 2.0], [NAN, NAN], [-4.0, NAN]]),
    "age": tf.constant([0.3, -1.0, 0.0]),
}
# x, place, place_missing and the sum of costs, row by row.
VALUES = np.array([[0.5, 1, -1, 0, 3], [-2, 0, 3, 1, 0], [1.5, 2, 0.5, 0, -4]])
DIM, WIDTH = 2, 5
TRAINED = {"dropout": 0.0, "hidden_units": (4, 3), "embedding_dim": DIM}
MODELS = [info.name for info in list_models() if info.task == "ranking"]
OF_VECTORS = {"fm", "ffm", "afm", "nfm", "deepfm", "ipnn", "opnn", "xdeepfm", "autoint", "dlrm"}


def made(name: str, spec: FeatureSpec = SPEC, **hyper_parameters: Any) -> RankingModel:
    """Returns a model with random numbers in its variables."""
    keras.utils.set_random_seed(0)
    model = make_model(name, Inputs(spec), hyper_parameters)
    model(FEATURES)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(scale=0.7, size=variable.shape))
    return model


def refusal(name: str) -> str:
    """Returns why a model refuses the spec; nothing where it takes it."""
    try:
        made(name)
    except ColonnadeError as error:
        return str(error)
    return ""


def vectors_and_linear(model: RankingModel) -> tuple[NDArray, NDArray]:
    """Returns the vectors of a, b and age, `[3, 3, D]`, and the linear term of all fields, `[3]`, looked up one by one."""
    layers = list(model.fields._flatten_layers())
    table = next(each for each in layers if isinstance(each, StackedTable))
    numbers = next(each for each in layers if isinstance(each, NumericVectors) and "age" in each.offsets)
    weights = next(each for each in layers if isinstance(each, NumericVectors) and "x" in each.offsets)
    assert set(weights.offsets) == {"x", "place", "place_missing", "costs"}
    both, linear = np.zeros((3, 3, DIM + 1)), np.zeros(3)
    for row in range(3):
        for field, name in enumerate("ab"):
            if number := int(FEATURES[name][row]):
                both[row, field] = table.table.numpy()[table.offsets[name] + number]
        both[row, 2] = float(FEATURES["age"][row]) * numbers.vectors.numpy()[0]
        for name, columns in {"x": [0], "place": [1, 2], "place_missing": [3], "costs": [4]}.items():
            for place, column in enumerate(columns):
                linear[row] += VALUES[row, column] * weights.vectors.numpy()[weights.offsets[name] + place, 0]
    return both[:, :, :-1], both[:, :, -1].sum(axis=1) + linear


def _pairs(vectors: NDArray) -> NDArray:
    return np.array([sum(row[i] * row[j] for i, j in itertools.combinations(range(3), 2)) for row in vectors])


def test_deepfm() -> None:
    model = made("deepfm", **TRAINED)
    vectors, linear = vectors_and_linear(model)
    deep = dense(model.projection, relu_mlp(model.hidden, np.concatenate([vectors.reshape(3, -1), VALUES], axis=1)))
    parts = {"first_order": linear, "second_order": _pairs(vectors).sum(axis=1), "deep": deep}
    for name, part in model.parts(FEATURES).items():
        np.testing.assert_allclose(part, parts[name], rtol=1e-4, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(model(FEATURES), sum(parts.values()), rtol=1e-4)


def test_nfm() -> None:
    model = made("nfm", **TRAINED, pooled_dropout=0.0, batch_norm=False)
    vectors, linear = vectors_and_linear(model)
    beside = np.concatenate([_pairs(vectors), VALUES], axis=1)
    np.testing.assert_allclose(model(FEATURES), linear + dense(model.projection, relu_mlp(model.hidden, beside)), rtol=1e-4)


def test_fm_has_first_order_weights_for_them() -> None:
    model = made("fm", embedding_dim=DIM)
    vectors, linear = vectors_and_linear(model)
    np.testing.assert_allclose(model(FEATURES), model.bias.bias.numpy() + linear + _pairs(vectors).sum(axis=1), rtol=1e-4)


def test_parameters_of_26_tables_and_13_numbers() -> None:
    """Twenty-six tables of 101 rows of 16, and 13 scalars: the MLP has 429 inputs."""
    tables = [f"- {{kind: categorical, name: c{i}, encoding: {{type: hash, num_buckets: 100}}}}" for i in range(26)]
    numbers = [f"- {{kind: numeric, name: n{i}, representation: value}}" for i in range(13)]
    spec = FeatureSpec.from_yaml("name: many\nlabel: {column: y}\nfeatures:\n" + "\n".join([*tables, *numbers]))
    model = make_model("deepfm", Inputs(spec), {"embedding_dim": 16, "hidden_units": (400, 400, 400)})
    model({name: tf.ones([2], each.dtype) for name, each in element_spec(spec)[0].items()})
    count = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert count == 26 * 101 * (16 + 1) + 13 + (429 * 400 + 400) + 2 * (400 * 400 + 400) + (400 + 1)
    assert [v.path for v in model.fields.variables] == ["fields/tables_17/table", "fields/weights_apart/numbers_1/vectors"]


# Of the layer that takes the numbers: inputs without them. Pairs of three vectors of DIM.
@pytest.mark.parametrize(
    ("name", "inputs"), [("deepfm", 3 * DIM), ("nfm", DIM), ("ipnn", 3 * DIM + 3), ("opnn", 3 * DIM + 3), ("xdeepfm", 3 * DIM)]
)
def test_inputs_of_the_mlp(name: str, inputs: int) -> None:
    assert made(name, embedding_dim=DIM, hidden_units=(4,)).hidden.weights[0].shape == (inputs + WIDTH, 4)


def test_others_that_take_them() -> None:
    assert made("autoint", embedding_dim=DIM, hidden_units=(4,)).deep.weights[0].shape == (3 * DIM + WIDTH, 4)
    factorized = made("ipnn", embedding_dim=DIM, hidden_units=(4,), factorized=True)
    assert (factorized.hidden.weights[0].shape, factorized.factorized.theta.shape) == ((3 * DIM + WIDTH, 4), (3, 4))
    assert made("dlrm", embedding_dim=DIM, bottom_units=(4,)).bottom.weights[0].shape == (WIDTH + 1, 4)  # age too
    assert made("ffm", embedding_dim=DIM).fields.width == 2 * DIM


@pytest.mark.parametrize("name", MODELS)
def test_every_model_takes_them_and_trains_all_of_its_variables(name: str) -> None:
    hyper_parameters = {"hidden_units": (4,)} if name == "autoint" else {}
    if name not in known_models.RANKING and "Numbers as they are" in refusal(name):
        return  # by name, as a new model may
    model = made(name, **hyper_parameters)
    with tf.GradientTape() as tape:
        logits = model(FEATURES, training=False)
    assert logits.shape == (3,)
    gradients = tape.gradient(logits, [v.value for v in model.trainable_variables])
    assert all(each is not None for each in gradients)
    moved = model(FEATURES | {"costs": FEATURES["costs"] + 1.0}, training=False)
    assert abs(moved - logits).numpy()[0] > 1e-6, "the numbers count"


def test_attention_over_numbers_is_trained() -> None:
    features = tuple(f.model_copy(update={"combiner": "attention"} if f.name == "costs" else {}) for f in SPEC.features)
    model = made("deepfm", SPEC.model_copy(update={"features": features}), **TRAINED)
    with tf.GradientTape() as tape:
        logits = model(FEATURES)
    own = model.values.trainable_variables
    assert [v.path.split("/")[:2] for v in own] == [["values", "attention_costs"]] * 3
    assert all(np.any(each) for each in tape.gradient(logits, [v.value for v in own[:1]]))


def test_under_mixed_precision() -> None:
    with precision_policy("bfloat16"):
        model = make_model("deepfm", Inputs(SPEC), TRAINED)
        (values,) = model.values(FEATURES)
        assert values.dtype == tf.bfloat16
        np.testing.assert_array_equal(tf.cast(values, tf.float32), VALUES)
        assert np.isfinite(model(FEATURES)).all()


def test_the_picture_shows_them() -> None:
    boxes = architecture(made("deepfm", **TRAINED), element_spec(SPEC)[0])
    arrows = {(boxes[source].title, box.title) for box in boxes for source in box.sources}
    assert {("features", "values"), ("values", "hidden"), ("fields", "hidden"), ("fields", "part: second_order")} <= arrows
    assert ("values", "part: second_order") not in arrows
    assert next(box for box in boxes if box.title == "values").lines == [f"Values  [B, {WIDTH}]"]


@pytest.mark.parametrize("name", sorted(OF_VECTORS - {"fm", "ffm", "afm", "dlrm"}))
def test_a_model_without_them_has_no_layer_for_them(name: str) -> None:
    spec = SPEC.model_copy(update={"features": tuple(f for f in SPEC.features if f.representation == "embedding")})
    model = made(name, spec)
    assert model.values(FEATURES) == []
    assert not [layer for layer in model._flatten_layers() if layer.name == "values"]


def test_autoint_without_an_mlp_names_them() -> None:
    message = r"Received: 1 \(x: value, place_missing: value, .*\); .*Numbers as they are .* MLP: deepfm has one, autoint with hidden_units"
    with pytest.raises(ColonnadeError, match=message):
        made("autoint")
    # Vectors as wide as a number do not make them vectors; nor are there any where there are only such numbers.
    scalars = SPEC.model_copy(update={"features": tuple(f for f in SPEC.features if f.name != "place")})
    with pytest.raises(ColonnadeError, match=r"Received: 1 \(x: value, a, b, costs: value, age\)\."):
        made("autoint", scalars, embedding_dim=1)
    alone = SPEC.model_copy(update={"features": tuple(f for f in SPEC.features if f.name in ("x", "costs"))})
    with pytest.raises(ColonnadeError, match=r"there are none\. Received numbers as they are: x, costs\."):
        made("autoint", alone)


@pytest.mark.parametrize("name", sorted(OF_VECTORS))
def test_numbers_alone_are_refused(name: str) -> None:
    spec = SPEC.model_copy(update={"features": tuple(f for f in SPEC.features if f.representation == "value")})
    hyper_parameters = {"hidden_units": (4,)} if name == "autoint" else {}
    message = {
        **dict.fromkeys(("afm", "ffm", "ipnn", "opnn"), r"needs two or more\. Received: none\. Declare another feature"),
        "dlrm": r"needs two or more\. Received: the numbers\.",
    }.get(name, r"there are none\. Received numbers as they are: x, place, place_missing, costs\. Leave `representation: value` out")
    with pytest.raises(ColonnadeError, match=message):
        made(name, spec, **hyper_parameters)


def test_a_model_that_does_not_say_so_names_them() -> None:
    with pytest.raises(ColonnadeError, match=r"needs equal widths\. Received: .*1 \(x: value.*place: value"):
        Inputs(SPEC).fields_and_first_order(DIM)


def test_names() -> None:
    inputs = Inputs(SPEC)
    assert inputs.vector_names == inputs.fields(DIM, values_apart=True).field_names == ("a", "b", "age")
    assert inputs.fields(DIM, only={"a", "x"}, values_apart=True).field_names == ("a",)
    assert set(inputs.number_names) == {"x", "place", "place_missing", "age", "costs"}


def test_side_by_side() -> None:
    vectors, values = tf.reshape(tf.range(8.0), [1, 4, 2]), tf.constant([[-1.0, -2.0]])
    assert side_by_side(vectors).numpy().tolist() == [[0, 1, 2, 3, 4, 5, 6, 7]]
    assert side_by_side(vectors, values, values).numpy().tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, -1, -2, -1, -2]]
    assert side_by_side(vectors[:, 0], values).numpy().tolist() == [[0, 1, -1, -2]]
