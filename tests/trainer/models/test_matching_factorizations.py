"""BPR, GMF, the MLP and NeuMF against the papers' formulas as double loops, and pretraining."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from pair_reference import IDS_ONLY, INPUTS, ITEMS, SPEC, USERS, item_vectors, made, own_scores, scores, user_vectors

from feature_specs import ColonnadeError, FeatureSpec
from trainer.layers import Inputs, StackedTable
from trainer.models.base import MatchingModel
from trainer.models.registry import get_model

NEUMF = {"gmf_dim": 2, "mlp_dim": 3, "hidden_units": (4, 2)}


def _weights(model: MatchingModel) -> dict[str, NDArray]:
    return {variable.path: variable.numpy() for variable in model.variables}


def _mlp(model: MatchingModel, user: NDArray, item: NDArray) -> NDArray:
    """Returns the last hidden layer of [user, item], by one whole matrix in the first layer."""
    kernel = np.vstack([model.tower.user.kernel, model.tower.item.kernel])
    hidden = np.maximum(np.concatenate([user, item]) @ kernel + model.tower.user.bias, 0)
    others = model.tower.others.get_weights()
    for kernel, bias in zip(others[::2], others[1::2], strict=True):
        hidden = np.maximum(hidden @ kernel + bias, 0)
    return hidden


def _agree(model: MatchingModel, expected: list[list[float]]) -> None:
    np.testing.assert_allclose(scores(model), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(own_scores(model), expected, rtol=1e-4, atol=1e-5)


def test_bpr_is_the_inner_product() -> None:
    model = made("bpr", embedding_dim=3)
    _agree(model, [[sum(u * i) for i in item_vectors(model)] for u in user_vectors(model)])


def test_bpr_by_distance_between_clipped_vectors() -> None:
    model = made("bpr", embedding_dim=3, mode="distance")
    users, items = ([v / max(1, np.linalg.norm(v)) for v in side(model)] for side in (user_vectors, item_vectors))
    assert any(np.linalg.norm(v) > 1 for v in user_vectors(model))
    _agree(model, [[-sum((u - i) ** 2) for i in items] for u in users])


def test_gmf_weighs_the_product() -> None:
    model = made("gmf", embedding_dim=3)
    h, b = model.projection.kernel.numpy()[:, 0], float(model.projection.bias[0])
    assert b
    _agree(model, [[sum(h * u * i) + b for i in item_vectors(model)] for u in user_vectors(model)])


def test_gmf_with_an_output_layer_of_ones_is_matrix_factorization() -> None:
    gmf, bpr = made("gmf", embedding_dim=3), made("bpr", seed=1, embedding_dim=3)
    gmf.projection.set_weights([np.ones((3, 1)), np.zeros(1)])
    bpr.take_weights([{name: value for name, value in _weights(gmf).items() if "projection" not in name}])
    np.testing.assert_allclose(scores(gmf), scores(bpr), rtol=1e-6)


def test_mlp_of_both_vectors_side_by_side() -> None:
    model = made("mlp_ncf", embedding_dim=3, hidden_units=(4, 2))
    h, b = model.projection.kernel.numpy()[:, 0], float(model.projection.bias[0])
    _agree(model, [[h @ _mlp(model, u, i) + b for i in item_vectors(model)] for u in user_vectors(model)])


def test_mlp_of_one_hidden_layer() -> None:
    model = made("mlp_ncf", embedding_dim=3, hidden_units=(4,))
    h, b = model.projection.kernel.numpy()[:, 0], float(model.projection.bias[0])
    _agree(model, [[h @ _mlp(model, u, i) + b for i in item_vectors(model)] for u in user_vectors(model)])
    with pytest.raises(ColonnadeError, match="hidden_units should be one width or more"):
        get_model("mlp_ncf")(INPUTS, hidden_units=())


def test_neumf_is_both_under_one_output_layer() -> None:
    model = made("neumf", **NEUMF)
    h, b = model.projection.kernel.numpy()[:, 0], float(model.projection.bias[0])
    pairs = [[np.concatenate([u[:2] * i[:2], _mlp(model, u[2:], i[2:])]) for i in item_vectors(model)] for u in user_vectors(model)]
    _agree(model, [[h @ pair + b for pair in row] for row in pairs])


def test_neumf_without_weights_on_the_mlp_is_gmf() -> None:
    neumf, gmf = made("neumf", **NEUMF), made("gmf", embedding_dim=2)
    neumf.projection.kernel.assign(tf.concat([gmf.projection.kernel, tf.zeros([2, 1])], 0))
    neumf.projection.bias.assign(gmf.projection.bias)
    for ours, theirs in zip(neumf.users.weights + neumf.items.weights, gmf.users.weights + gmf.items.weights, strict=True):
        if ours.trainable:
            ours.assign(tf.concat([theirs, ours[:, 2:]], 1))
    np.testing.assert_allclose(scores(neumf), scores(gmf), rtol=1e-5)


def test_pretrained_neumf_begins_as_the_mean_of_its_runs() -> None:
    # Equation 13 with alpha = 0.5: half of either output.
    gmf, mlp = made("gmf", seed=1, embedding_dim=2), made("mlp_ncf", seed=2, embedding_dim=3, hidden_units=(4, 2))
    expected = (scores(gmf) + scores(mlp)) / 2
    for runs in ([gmf, mlp], [mlp, gmf]):
        neumf = made("neumf", **NEUMF)
        taken = neumf.take_weights([_weights(run) for run in runs])
        assert sorted(taken) == sorted(variable.path for variable in neumf.trainable_variables)
        np.testing.assert_allclose(scores(neumf), expected, rtol=1e-5, atol=1e-6)


def test_a_model_begins_with_the_weights_of_another_of_its_kind() -> None:
    ours, theirs = made("neumf", **NEUMF), made("neumf", seed=1, **NEUMF)
    ours.take_weights([_weights(theirs)])
    np.testing.assert_array_equal(scores(ours), scores(theirs))


NO_START = [[], ["gmf"], ["gmf", "gmf"], ["mlp_ncf", "mlp_ncf"], ["gmf", "mlp_ncf", "gmf"], ["bpr", "gmf"], ["bpr", "mlp_ncf"]]


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        *((runs, "NeuMF begins with a run of gmf and one of mlp_ncf, in any order, or with one of neumf") for runs in NO_START),
        (
            ["mlp_ncf"],
            r"do not fit this NeuMF: users/fields/tables_5/table is missing, here \[7, 5\]; .*/fields/tables_3/table is \[7, 3\], here",
        ),
        (["wide_gmf", "mlp_ncf"], r"users/fields/tables_5/table is \[7, 7\], here \[7, 5\].* Take a run of the same data"),
        (["gmf", "tall_mlp"], r"tower/others/dense_1/kernel is \[2, 1\], here missing"),
    ],
)
def test_runs_that_do_not_fit(runs: list[str], message: str) -> None:
    made_of = {
        "bpr": lambda: made("bpr", embedding_dim=2),
        "gmf": lambda: made("gmf", embedding_dim=2),
        "wide_gmf": lambda: made("gmf", embedding_dim=4),
        "mlp_ncf": lambda: made("mlp_ncf", embedding_dim=3, hidden_units=(4, 2)),
        "tall_mlp": lambda: made("mlp_ncf", embedding_dim=3, hidden_units=(4, 2, 1)),
    }
    neumf = made("neumf", **NEUMF)
    before = scores(neumf)
    with pytest.raises(ColonnadeError, match=message):
        neumf.take_weights([_weights(made_of[run]()) for run in runs])
    np.testing.assert_array_equal(scores(neumf), before)


@pytest.mark.parametrize(
    ("name", "given", "rest"),
    [
        ("bpr", {"embedding_dim": 8}, 0),
        ("gmf", {"embedding_dim": 8}, 8 + 1),
        # Layers 64 -> 32 -> 16 -> 8 -> 1, as the authors' program has them for 8 factors.
        ("mlp_ncf", {}, (64 * 32 + 32) + (32 * 16 + 16) + (16 * 8 + 8) + (8 + 1)),
        ("neumf", {}, (64 * 32 + 32) + (32 * 16 + 16) + (16 * 8 + 8) + (8 + 8 + 1)),
    ],
)
def test_parameters_of_ids_alone(name: str, given: dict, rest: int) -> None:
    model = get_model(name)(Inputs(IDS_ONLY), **given)
    width = {"bpr": 8, "gmf": 8, "mlp_ncf": 32, "neumf": 40}[name]
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == (7 + 8) * width + rest
    # A user and an item are looked up once each, whatever they are used for.
    assert sum(isinstance(layer, StackedTable) for layer in model._flatten_layers()) == 2


def test_how_it_begins() -> None:
    keras.utils.set_random_seed(0)
    model = get_model("neumf")(INPUTS, gmf_dim=64, mlp_dim=192, hidden_units=(128,))
    for table in (layer.table for layer in model._flatten_layers() if isinstance(layer, StackedTable)):
        np.testing.assert_allclose(np.std(table), 0.01, rtol=0.1)
    for kernel in (model.tower.user.kernel, model.tower.item.kernel):
        # Glorot, uniform, of one matrix [384, 128]: |w| < sqrt(6 / 512).
        np.testing.assert_allclose(np.abs(kernel).max(), (6 / 512) ** 0.5, rtol=0.01)
    # LeCun, uniform: |w| < sqrt(3 / 192).
    np.testing.assert_allclose(np.abs(model.projection.kernel).max(), (3 / 192) ** 0.5, rtol=0.05)


@pytest.mark.parametrize("name", ["mlp_ncf", "neumf"])
def test_no_product_of_three_axes(name: str) -> None:
    model = get_model(name)(INPUTS)
    own = {key: tf.stack([values] * 3) for key, values in ITEMS.items()}

    @tf.function
    def gradients() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(USERS, [own], training=True)[0])
        return tape.gradient(loss, [variable.value for variable in model.trainable_variables])

    operations = {operation.type for operation in gradients.get_concrete_function().graph.get_operations()}
    assert "MatMul" in operations
    assert not {"BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum"} & operations


@pytest.mark.parametrize("name", ["bpr", "gmf", "mlp_ncf", "neumf"])
def test_a_width_in_the_spec_has_to_be_the_model_s(name: str) -> None:
    features = (*IDS_ONLY.features[:1], IDS_ONLY.features[1].model_copy(update={"embedding_dim": 6}), *IDS_ONLY.features[2:])
    with pytest.raises(ColonnadeError, match="users and items should be .* wide. Received: .* and 6, as the spec"):
        get_model(name)(Inputs(IDS_ONLY.model_copy(update={"features": features})))


@pytest.mark.parametrize("name", ["bpr", "gmf", "mlp_ncf", "neumf"])
def test_users_whom_training_has_not_seen(name: str) -> None:
    user = SPEC.features[0].model_dump() | {"encoding": {"type": "vocabulary"}}
    ids = FeatureSpec.model_validate(IDS_ONLY.model_dump() | {"features": [user, *IDS_ONLY.model_dump()["features"][1:]]})
    model = get_model(name)(Inputs(ids, {"user": 7}))
    model({"user": tf.constant([1, 5], tf.int64)}, [ITEMS])
    with pytest.raises(tf.errors.InvalidArgumentError, match="knows a user by the vector that training gave them"):
        model({"user": tf.constant([1, 6], tf.int64)}, [ITEMS])
    # With an age there is something to go by: that alone.
    sides = FeatureSpec.model_validate(SPEC.model_dump() | {"features": [user, *SPEC.model_dump()["features"][1:]]})
    model = made(name, inputs=Inputs(sides, {"user": 7}, {}, {"genre": np.zeros(8, np.int64)}))
    unseen = {**USERS, "user": tf.constant([6, 6, 6], tf.int64)}
    found = model(unseen, [ITEMS])[0].numpy()
    np.testing.assert_allclose(found, model({**unseen, "user": tf.zeros([3], tf.int64)}, [ITEMS])[0], rtol=1e-6)
    assert np.ptp(found, axis=0).max() > 0
