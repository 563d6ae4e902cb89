"""What every ranking model has to get right, as checks that run on made-up data: `check_model("my_model")`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs.spec import FeatureSpec
from trainer.config import TrainingConfig
from trainer.data import element_spec
from trainer.layers import Inputs, StackedTable
from trainer.loop import Loop
from trainer.models.registry import make_model
from trainer.precision import precision_policy
from trainer.tasks import task_of

SPEC = FeatureSpec.from_yaml("""
name: conformance
features:
- {kind: categorical, name: user, dtype: int64, encoding: {type: identity, num_buckets: 64}}
- {kind: categorical, name: item, dtype: int64, encoding: {type: identity, num_buckets: 20}}
- {kind: categorical, name: city, encoding: {type: hash, num_buckets: 7}}
- {kind: numeric, name: age, missing_indicator: true}
- {kind: numeric, name: profile, size: 3}
- {kind: bucketized, name: income, boundaries: [1, 2, 3]}
- {kind: multi_valued, name: tags, dtype: int64, encoding: {type: identity, num_buckets: 9}}
- {kind: multi_valued, name: words, encoding: {type: hash, num_buckets: 8}, weights: counts}
- {kind: sequence, name: history, dtype: int64, table: item, combiner: attention}
- {kind: sequence, name: baskets, encoding: {type: hash, num_buckets: 6}, value_delimiter: ",", padding: left, combiner: sqrtn}
- {kind: numeric_sequence, name: gaps, padding: left}
- {kind: crossed, name: city_by_tags, inputs: [city, tags], num_buckets: 11}
label: {column: clicked}
""")
_PADDING = SPEC.paddings
# Out of vocabulary, where there is such a thing.
_LARGEST_ID = {feature.name: SPEC.tables[feature.table_name].num_rows(0) - 1 for feature in SPEC.table_features}
_ROWS, _LOSS_BOUND = 64, 0.35  # a coin gives 0.69

Batch = tuple[dict[str, NDArray], NDArray]
Check = Callable[[str, Mapping[str, Any]], None]


def check_model(name: str, **hyper_parameters: Any) -> None:  # noqa: ANN401 (whatever the model takes)
    """Raises an AssertionError naming the property that a registered model does not have; import one of your own first."""
    for check in CHECKS:
        check(name, hyper_parameters)


def random_batch(rows: int, longest: int = 5, seed: int = 0) -> Batch:
    """Returns transformed features and labels `[B]`; lists are `[B, longest]` with 0 to `longest` values, users are all different."""
    rng = np.random.default_rng([seed, rows])
    features: dict[str, NDArray] = {}
    for feature in SPEC.features:
        # The columns of one feature have their values at the same places.
        present = np.arange(longest) < rng.permutation(np.arange(rows) % (longest + 1))[:, None]
        for column in feature.outputs:
            shape = {"single": (rows,), "vector": (rows, column.size), "list": (rows, longest)}[column.layout]
            if column.name in _LARGEST_ID:
                values: NDArray = rng.integers(1, _LARGEST_ID[column.name] + 1, shape)
            elif column.dtype == "int64":  # steps
                values = np.cumsum(rng.integers(0, 2, shape), axis=1)
            elif column.name.endswith(("_missing", "_weights")):
                values = rng.integers(0, 3, shape) / 2
            else:
                values = rng.normal(size=shape)
            padded = np.where(present, values, _PADDING[column.name]) if column.layout == "list" else values
            features[column.name] = padded.astype(column.dtype)
    features["user"] = rng.permutation(np.arange(1, rows + 1))
    return features, rng.permutation(np.arange(rows) % 2).astype(np.float32)


def check_logits(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """Logits are `[B]`, float32, finite, and the sum of the parts."""
    for precision in ("float32", "bfloat16"):
        model = _loop(name, hyper_parameters, mixed_precision=precision).model
        features = {key: tf.constant(values) for key, values in random_batch(5)[0].items()}
        logits, parts = model(features, training=False), model.scored_parts(features)
        for what, x in {"logits": logits, **parts}.items():
            _expect(x.dtype == tf.float32 and x.shape == [5] and np.isfinite(x).all(), f"{what} should be finite float32 [5], are {x}")
        _expect(np.allclose(sum(parts.values()), logits, atol=1e-5), "the sum of the parts should be the logits")


def check_rows_are_independent(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """A row's score depends neither on the other rows, nor on how far lists are padded; evaluated twice it is the same."""
    loop = _loop(name, hyper_parameters, steps=5)
    features, _ = random_batch(16)
    together = _score(loop, features)
    _expect(np.array_equal(together, _score(loop, features)), "two evaluations of the same rows should be equal, bit for bit")
    alone = np.concatenate([_score(loop, {key: values[[row]] for key, values in features.items()}) for row in range(16)])
    _expect(np.allclose(alone, together, atol=1e-5), f"a row should score alone as in its batch: {alone} != {together}")
    padded = _score(loop, {key: _padded(key, values, 3) if key in _PADDING else values for key, values in features.items()})
    _expect(np.allclose(padded, together, atol=1e-5), f"padding lists further should not change a score: {padded} != {together}")


def check_gradients(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """Every trainable variable gets a gradient: no matrix only zeros, and no table row that the batch looks up, padding aside."""
    loop = _loop(name, hyper_parameters)
    with tf.GradientTape() as tape:
        loss = _loss(loop, random_batch(_ROWS), training=True)
    gradients = tape.gradient(loss, [variable.value for variable in loop.model.trainable_variables])
    padding = {id(layer.table): layer.offsets.values() for layer in loop.model._flatten_layers() if isinstance(layer, StackedTable)}
    for variable, gradient in zip(loop.model.trainable_variables, gradients, strict=True):
        dense = np.zeros((1, 1)) if gradient is None else tf.convert_to_tensor(gradient).numpy()
        _expect(dense.ndim < 2 or bool(dense.any()), f"{variable.path} should get a gradient")
        if id(variable) in padding:
            rows = set(gradient.indices.numpy().tolist()) - set(padding[id(variable)])
            without = [row for row in sorted(rows) if not dense[row].any()]
            _expect(not without, f"rows {without[:5]} of {variable.path} are looked up and should get a gradient")


def check_learns(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """Trained on 64 rows the loss falls below a bound, and then every feature counts."""
    loop = _loop(name, hyper_parameters, steps=80)
    features, labels = random_batch(_ROWS)
    loss, logits = _loss(loop, (features, labels)), _score(loop, features)
    _expect(loss < _LOSS_BOUND, f"the loss on {_ROWS} rows should fall below {_LOSS_BOUND}, is {loss:.3f}")
    for feature in features:
        changed = _score(loop, {**features, feature: np.roll(features[feature], 1, axis=0)})
        _expect(not np.allclose(changed, logits, atol=1e-6), f"feature {feature!r} should change scores")


def check_traced_once(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """The training step is traced once, whatever the batches' sizes and the lengths of their lists."""
    loop = _loop(name, hyper_parameters)
    for epoch in range(2):
        loop.train(_iterator([random_batch(rows, longest, epoch) for rows, longest in ((16, 5), (16, 1), (16, 9), (3, 2))]), 4 - epoch)
    _expect((traces := loop._train.experimental_get_tracing_count()) == 1, f"the training step should be traced once, not {traces} times")


def check_checkpoint(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """A checkpoint holds all state: restored into another model it gives equal scores and equal training, bit for bit."""
    loop, other = _loop(name, hyper_parameters, steps=3), _loop(name, hyper_parameters, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        loop.save(Path(folder))
        latest = tf.train.latest_checkpoint(folder)
        saved = {key for key, _ in tf.train.list_variables(latest) if key.startswith("state/")}
        held = {f"state/{number}/.ATTRIBUTES/VARIABLE_VALUE": variable for number, variable in enumerate(loop.state)}
        _expect(saved == set(held), f"the checkpoint should hold {len(held)} variables, holds {len(saved)}")
        for key, variable in held.items():
            _expect(np.array_equal(tf.train.load_variable(latest, key), variable.numpy()), f"{variable.name} should be saved as it is")
        other.restore(Path(folder))
    for each in (loop, other):
        each.train(_iterator([random_batch(16, seed=seed) for seed in range(3)]), 3)
    _expect(_equal(loop, other), "a restored model should go on training the same, bit for bit")


def check_mixed_precision(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """In bfloat16 and float16, 20 steps stay finite and lower the loss."""
    for precision in ("bfloat16", "float16"):
        loops = [_loop(name, hyper_parameters, steps, mixed_precision=precision) for steps in (0, 20)]
        losses = [_loss(loop, random_batch(_ROWS)) for loop in loops]
        _expect(losses[1] < losses[0], f"the loss should fall in {precision}, goes from {losses[0]:.3f} to {losses[1]:.3f}")


def check_seed(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """A seed repeats a run bit for bit, dropout included; another seed gives another run, unless the model begins without chance."""
    first, again, other = (_loop(name, hyper_parameters, steps=3, seed=seed) for seed in (5, 5, 6))
    _expect(_equal(first, again), "equal seeds should give equal variables, bit for bit")
    by_chance = not _equal(*(_loop(name, hyper_parameters, seed=seed) for seed in (5, 6)))
    _expect(not (by_chance and _equal(first, other)), "another seed should give other variables")


def check_missing_values(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """Missing values, empty lists (also of no width at all) and out-of-vocabulary ids score and train without NaN."""
    loop = _loop(name, hyper_parameters)
    features, labels = random_batch(8)
    lists = {key: np.full_like(features[key], padding) for key, padding in _PADDING.items()}
    for what, changed in {
        "missing values": {key: np.zeros_like(features[key]) for key in _LARGEST_ID} | lists,
        "lists without width": {key: values[:, :0] for key, values in lists.items()},
        "out-of-vocabulary ids": {key: np.full_like(features[key], largest) for key, largest in _LARGEST_ID.items()},
    }.items():
        loop.train(_iterator([({**features, **changed}, labels)]), 1)
        _expect(np.isfinite(_score(loop, {**features, **changed})).all(), f"{what} should give finite scores")


_FORM: tuple[Check, ...] = (check_logits, check_rows_are_independent, check_missing_values, check_mixed_precision)
_TRAINING: tuple[Check, ...] = (check_gradients, check_learns, check_traced_once, check_checkpoint, check_seed)
CHECKS = _FORM + _TRAINING


def _loop(name: str, hyper_parameters: Mapping[str, Any], steps: int = 0, **training: Any) -> Loop:  # noqa: ANN401 (of TrainingConfig)
    """Returns the model in its loop, after `steps` steps on the same 64 rows."""
    config = TrainingConfig.model_validate({"learning_rate": 0.02, **training})
    keras.utils.set_random_seed(config.seed)
    with precision_policy(config.mixed_precision):
        loop = Loop(make_model(name, Inputs(SPEC), hyper_parameters), task_of(SPEC), config, element_spec(SPEC))
    if steps:
        loop.train(_iterator([random_batch(_ROWS)] * steps), steps)
        loop.finish_rows()
    return loop


def _iterator(batches: Sequence[Batch]) -> Iterator[Any]:
    return iter(tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=element_spec(SPEC)))


def _padded(column: str, values: NDArray, more: int) -> NDArray:
    return np.pad(values, [(0, 0), (0, more)], constant_values=_PADDING[column])


def _score(loop: Loop, features: Mapping[str, NDArray], training: bool = False) -> tf.Tensor:
    return loop.model({key: tf.constant(values) for key, values in features.items()}, training=training)


def _loss(loop: Loop, batch: Batch, training: bool = False) -> tf.Tensor:
    return tf.reduce_mean(loop.task.losses(tf.constant(batch[1]), _score(loop, batch[0], training)))


def _equal(loop: Loop, other: Loop) -> bool:
    return all(np.array_equal(ours.numpy(), theirs.numpy()) for ours, theirs in zip(loop.state, other.state, strict=True))


def _expect(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)
