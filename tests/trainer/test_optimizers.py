"""Row-wise optimizers against Keras' dense ones, on tables whose rows are looked up rarely, often and never."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from feature_specs import CategoricalFeature, ColonnadeError, FeatureSpec, Hash, Label
from trainer.config import TrainingConfig
from trainer.ftrl import Ftrl
from trainer.groups import optimizer_groups
from trainer.layers import Inputs, StackedTable
from trainer.models.base import RankingModel
from trainer.models.registry import get_model
from trainer.optimizers import SGD, Adagrad, LazyAdam, RowwiseOptimizer, Update

ROWS, DIM, STEPS = 12, 3, 60
FEATURES = tuple(CategoricalFeature(name=name, encoding=Hash(num_buckets=3)) for name in ("a", "b"))
TOKENS = FeatureSpec(name="tokens", features=FEATURES, label=Label(column="y"))


def _lookups(seed: int) -> list[np.ndarray]:
    """Rows of each step, with repetitions; row 0 often, row 10 twice, row 11 never."""
    rng = np.random.default_rng(seed)
    chances = np.array([6, 3, 3, 1, 1, 1, 1, 0.2, 0.2, 0.2, 0, 0])
    steps = [rng.choice(ROWS, 5, p=chances / chances.sum()) for _ in range(STEPS)]
    steps[3][0] = steps[50][0] = 10
    return steps


def _gradients(seed: int, rows: np.ndarray) -> np.ndarray:
    return np.random.default_rng([seed, *rows.tolist()]).normal(size=(len(rows), DIM)).astype(np.float32)


def _run_rowwise(
    kind: type[RowwiseOptimizer], seed: int, l2: float = 0.0, halves: bool = False, start: float = 1.0, **options: float
) -> tuple[np.ndarray, list[np.ndarray]]:
    table = StackedTable({"t": ROWS}, DIM, keras.initializers.RandomNormal(stddev=start, seed=1))
    step = tf.Variable(0, dtype=tf.int64)
    optimizer = kind([table], 0.05, l2, step, **options)
    seen = []

    @tf.function
    def train_step(rows: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        with optimizer.answering_lookups() as lookups, tf.GradientTape() as tape:
            parts = [rows[:2], rows[2:]] if halves else [rows]
            read = tf.concat([table(part, training=True) for part in parts], 0)
            loss = tf.reduce_sum(read * gradient)
        for update in optimizer.updates(lookups, tape.gradient(loss, [lookup.weights for lookup in lookups])):
            optimizer.apply(update)
        step.assign_add(1)
        return read

    for rows in _lookups(seed):
        seen.append(train_step(tf.constant(rows, tf.int64), tf.constant(_gradients(seed, rows))).numpy())
    optimizer.finish()
    return table.table.numpy(), seen


def _run_dense(optimizer: keras.optimizers.Optimizer, seed: int, start: float = 1.0) -> tuple[np.ndarray, list[np.ndarray]]:
    table = StackedTable({"t": ROWS}, DIM, keras.initializers.RandomNormal(stddev=start, seed=1))
    optimizer.build([table.table])
    seen = []
    for rows in _lookups(seed):
        seen.append(table.table.numpy()[rows])
        dense = np.zeros((ROWS, DIM), np.float32)
        np.add.at(dense, rows, _gradients(seed, rows))
        optimizer.apply([tf.constant(dense)], [table.table])
    return table.table.numpy(), seen


@pytest.mark.parametrize("seed", range(3))
def test_lazy_adam_is_dense_adam(seed: int) -> None:
    ours, seen = _run_rowwise(LazyAdam, seed)
    dense, dense_seen = _run_dense(keras.optimizers.Adam(0.05), seed)
    np.testing.assert_allclose(ours, dense, atol=2e-4)
    np.testing.assert_allclose(seen, dense_seen, atol=2e-4)  # what each forward pass read


def test_the_moves_made_up_for_are_far_larger_than_the_tolerance() -> None:
    """Between its two look-ups, in steps 3 and 50, row 10 moves by momentum alone."""
    _, seen = _run_dense(keras.optimizers.Adam(0.05), 0)
    after_first_step = seen[3][0] - 0.05 * np.sign(_gradients(0, _lookups(0)[3])[0])
    assert np.abs(seen[50][0] - after_first_step).min() > 0.05


@pytest.mark.parametrize("seed", range(3))
def test_adagrad_is_dense_adagrad(seed: int) -> None:
    ours, _ = _run_rowwise(Adagrad, seed)
    dense, _ = _run_dense(keras.optimizers.Adagrad(0.05, initial_accumulator_value=0.1), seed)
    np.testing.assert_allclose(ours, dense, atol=1e-5)


@pytest.mark.parametrize("kind", [LazyAdam, Adagrad])
def test_a_row_never_looked_up_stays_as_it_was(kind: type[RowwiseOptimizer]) -> None:
    start = StackedTable({"t": ROWS}, DIM, keras.initializers.RandomNormal(stddev=1.0, seed=1)).table.numpy()
    np.testing.assert_array_equal(_run_rowwise(kind, 0, l2=0.1)[0][11], start[11])


@pytest.mark.parametrize("kind", [LazyAdam, Adagrad])
def test_looking_a_table_up_twice_a_step_is_looking_it_up_once(kind: type[RowwiseOptimizer]) -> None:
    once, seen_once = _run_rowwise(kind, 0, l2=0.1)
    twice, seen_twice = _run_rowwise(kind, 0, l2=0.1, halves=True)
    np.testing.assert_allclose(twice, once, atol=1e-6)
    np.testing.assert_allclose(seen_twice, seen_once, atol=1e-6)


def _one_update(optimizer: RowwiseOptimizer, rows: list[int], gradient: list[list[float]]) -> Update:
    table = optimizer.tables[0]
    with optimizer.answering_lookups() as lookups, tf.GradientTape() as tape:
        loss = tf.reduce_sum(table(tf.constant(rows), training=True) * tf.constant(gradient))
    (update,) = optimizer.updates(lookups, tape.gradient(loss, [lookup.weights for lookup in lookups]))
    return update


def test_finishing_twice_changes_nothing_more() -> None:
    table = StackedTable({"t": ROWS}, DIM)
    step = tf.Variable(0, dtype=tf.int64)
    optimizer = LazyAdam([table], 0.05, 0.0, step)
    optimizer.apply(_one_update(optimizer, [4], [[1.0] * DIM]))
    before = table.table.numpy()
    step.assign(7)
    optimizer.finish()
    once = table.table.numpy()
    assert np.abs(once - before)[4].min() > 0.05
    optimizer.finish()
    np.testing.assert_array_equal(table.table.numpy(), once)


def test_equal_rows_are_summed_and_l2_is_added_once_a_row() -> None:
    optimizer = Adagrad([StackedTable({"t": 4}, 1, "ones")], 1.0, 0.5, tf.Variable(0, dtype=tf.int64))
    update = _one_update(optimizer, [3, 1, 3], [[1.0], [2.0], [4.0]])
    assert update.lookup.rows.numpy().tolist() == [3, 1]
    assert update.gradient.numpy().tolist() == [[1.0 + 4.0 + 0.5 * 1.0], [2.0 + 0.5 * 1.0]]


def test_tables_answer_for_themselves_after_the_step() -> None:
    table = StackedTable({"t": 4}, 1, "ones")
    optimizer = Adagrad([table], 1.0, 0.0, tf.Variable(0, dtype=tf.int64))
    with optimizer.answering_lookups() as lookups:
        pass
    table(tf.constant([1]), training=True)
    assert lookups == []


@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.0), (0.7, 0.0), (0.0, 0.5), (0.4, 0.2)])
def test_ftrl_is_dense_ftrl(l1: float, l2: float) -> None:
    """From weights of zero: Keras' would set others to zero in its first step, also in rows without gradient."""
    ours, seen = _run_rowwise(Ftrl, 0, start=0.0, proximal_l1=l1, proximal_l2=l2)
    dense = keras.optimizers.Ftrl(0.05, l1_regularization_strength=l1, l2_regularization_strength=l2)
    expected, dense_seen = _run_dense(dense, 0, start=0.0)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    np.testing.assert_allclose(seen, dense_seen, atol=1e-6)
    assert not ours[11].any()
    assert bool((ours[:10] == 0).any()) == (l1 > 0), "l1 makes weights exactly zero"


def test_one_step_of_ftrl_by_hand() -> None:
    optimizer = Ftrl([StackedTable({"t": 3}, 1, "zeros")], 0.5, 0.0, tf.Variable(0, dtype=tf.int64), proximal_l1=1.0, proximal_l2=0.25)
    optimizer.apply(_one_update(optimizer, [1, 2], [[3.0], [0.5]]))
    # n = .1 + 9, z = 3: w = (1 - 3) / (sqrt(9.1) / .5 + 2 * .25); |z| = .5 is below l1.
    np.testing.assert_allclose(optimizer.tables[0].table.numpy()[:, 0], [0.0, -2 / (np.sqrt(9.1) / 0.5 + 0.5), 0.0], rtol=1e-6)


def test_sgd_is_dense_sgd() -> None:
    ours, _ = _run_rowwise(SGD, 1)
    expected, _ = _run_dense(keras.optimizers.SGD(0.05), 1)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_a_table_s_own_l2_replaces_the_run_s() -> None:
    table = StackedTable({"a": 2, "b": 3, "c": 2}, 1, "ones")
    table.l2 = {"b": 0.25, "c": 0.0}
    optimizer = SGD([table], 1.0, 0.5, tf.Variable(0, dtype=tf.int64))
    update = _one_update(optimizer, [1, 2, 4, 5, 6], [[1.0]] * 5)
    assert update.gradient.numpy()[:, 0].tolist() == [1.5, 1.25, 1.25, 1.0, 1.0]


class _TwoSides(RankingModel):
    def __init__(self, wide: bool = True) -> None:
        super().__init__()
        self.linear = StackedTable({"a": 3}, 1, "zeros", name="linear")
        self.bias = keras.layers.Dense(1, name="bias")
        self.tables = StackedTable({"a": 3}, 2, name="deep")
        self.frozen = StackedTable({"a": 3}, 2, "ones", trainable=False, name="frozen")
        self.top = keras.layers.Dense(1, name="top")
        self.has_wide = wide

    @property
    def wide_layers(self) -> tuple[keras.layers.Layer, ...]:
        return (self.linear, self.bias) if self.has_wide else ()

    def parts(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        ids = features["a"]
        vectors = self.tables(ids, training=True) + self.frozen(ids, training=True)
        linear = self.linear(ids, training=True) + self.bias(tf.ones([1, 1]))
        return {"wide": linear[:, 0], "deep": self.top(vectors)[:, 0]}


def _groups(model: RankingModel, **settings: object) -> list:
    model(dict.fromkeys(("a", "b"), tf.constant([0, 1], tf.int64)))
    return optimizer_groups(model, TrainingConfig(**settings), tf.Variable(0, dtype=tf.int64))


def test_each_variable_is_in_one_group_and_frozen_tables_are_in_none() -> None:
    deep, wide = _groups(_TwoSides(), wide_l1=0.5, optimizer="adagrad", embedding_optimizer="adagrad")
    assert [table.name for table in deep.rowwise.tables] == ["deep"]
    assert [table.name for table in wide.rowwise.tables] == ["linear"]
    assert {v.path.split("/")[-2] for v in deep.dense} == {"top"}
    assert {v.path.split("/")[-2] for v in wide.dense} == {"bias"}
    assert (type(deep.rowwise), type(deep.optimizer)) == (Adagrad, keras.optimizers.Adagrad)
    assert (type(wide.rowwise), type(wide.optimizer), wide.rowwise.proximal_l1) == (Ftrl, keras.optimizers.Ftrl, 0.5)


def test_settings_of_a_wide_side_that_would_do_nothing_are_refused() -> None:
    with pytest.raises(ColonnadeError, match="wide_optimizer, wide_l1 would do nothing: _TwoSides has no wide side"):
        _groups(_TwoSides(wide=False), wide_optimizer="sgd", wide_l1=0.1)
    with pytest.raises(ColonnadeError, match="wide_l1 and wide_l2 are FTRL's. Received wide_optimizer 'adam'"):
        _groups(_TwoSides(), wide_optimizer="adam", wide_l1=0.1)
    assert len(_groups(_TwoSides(wide=False))) == 1


@pytest.mark.parametrize("settings", [{}, {"embedding_update": "dense"}])
def test_a_penalty_on_kernels_that_are_not_there_is_refused(settings: dict[str, str]) -> None:
    for name in ("lr", "fm", "ffm"):
        model = get_model(name)(Inputs(TOKENS))
        with pytest.raises(ColonnadeError, match=f"dense_l2 would do nothing: {name.upper()} has no kernels, only tables"):
            _groups(model, dense_l2=0.1, **settings)
        assert len(_groups(model, embedding_l2=0.1, **settings)) == 1


def test_dense_updates_penalise_every_row_of_every_table_in_every_step() -> None:
    model = _TwoSides()
    (group,) = _groups(model, embedding_update="dense", embedding_l2=0.5, dense_l2=0.25, optimizer="sgd", learning_rate=0.1)
    assert not group.rowwise.tables
    assert {v.path.split("/")[-2] for v in group.dense} == {"top", "bias", "deep", "linear"}  # the frozen table is not trained
    before = {v.path: v.numpy() for v in group.dense}
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model({"a": tf.constant([1, 1], tf.int64)}, training=True))
    gradients = tape.gradient(loss, [v.value for v in group.dense])
    table = next(i for i, v in enumerate(group.dense) if "deep" in v.path)
    assert isinstance(gradients[table], tf.IndexedSlices)
    group.apply_dense(group.penalised(gradients))
    for variable, gradient in zip(group.dense, gradients, strict=True):
        matrix = {"deep": 0.5, "linear": 0.5, "top": 0.25 * (len(variable.shape) > 1), "bias": 0.25 * (len(variable.shape) > 1)}
        old, l2 = before[variable.path], matrix[variable.path.split("/")[-2]]
        np.testing.assert_allclose(variable, old - 0.1 * (tf.convert_to_tensor(gradient) + l2 * old), rtol=1e-5, atol=1e-7)


def test_dense_updates_refuse_what_would_do_nothing() -> None:
    with pytest.raises(ColonnadeError, match="trains tables by `optimizer`: embedding_optimizer would do nothing"):
        _groups(_TwoSides(wide=False), embedding_update="dense", embedding_optimizer="adagrad")
    with pytest.raises(ColonnadeError, match="wide_l1 would do nothing: embedding_update 'dense' trains all as one"):
        _groups(_TwoSides(), embedding_update="dense", wide_l1=0.5)


@pytest.mark.parametrize("kind", [LazyAdam, Adagrad])
def test_learning_rates_fall_to_a_floor(kind: type[RowwiseOptimizer]) -> None:
    name = {LazyAdam: "lazy_adam", Adagrad: "adagrad"}[kind]
    (group,) = _groups(_TwoSides(wide=False), embedding_optimizer=name, learning_rate=0.05)
    rates = []
    for _ in range(3):
        group.lower_rate(0.1, 1e-3)
        rates.append((float(group.rate), float(group.optimizer.learning_rate.numpy())))
    np.testing.assert_allclose(rates, [(5e-3, 5e-3), (1e-3, 1e-3), (1e-3, 1e-3)], rtol=1e-5)
    assert group.rowwise.learning_rate is group.rate
    assert any(variable is group.rate for variable in group.dense_state)  # so that a resumed run has it
