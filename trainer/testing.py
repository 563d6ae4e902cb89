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
from trainer.models.registry import get_model
from trainer.precision import precision_policy
from trainer.tasks import task_of

SPEC = FeatureSpec.from_yaml("""
name: conformance
features:
- {kind: categorical, name: user, dtype: int64, encoding: {type: identity, num_buckets: 64}}
- {kind: categorical, name: item, dtype: int64, encoding: {type: identity, num_buckets: 20}}
- {kind: categorical, name: city, encoding: {type: hash, num_buckets: 7}}
- {kind: numeric, name: age}
- {kind: numeric, name: price}
- {kind: multi_valued, name: tags, dtype: int64, encoding: {type: identity, num_buckets: 9}}
- {kind: sequence, name: history, dtype: int64, table: item}
label: {column: clicked}
""")
_LARGEST_ID = {"user": 65, "item": 21, "city": 7, "tags": 10, "history": 21}  # out of vocabulary, where there is such a thing
_ROWS = 64
_LOSS_BOUND = 0.35  # a coin gives 0.69

Batch = tuple[dict[str, NDArray], NDArray]
Check = Callable[[str, Mapping[str, Any]], None]


def check_model(name: str, **hyper_parameters: Any) -> None:  # noqa: ANN401 (whatever the model takes)
    """Puts the registered model `name` through all of `CHECKS`.

    Args:
        name: As given to `@register`; a model of your own has to be imported first.
        hyper_parameters: Of the model; its defaults where not given.

    Raises:
        AssertionError: A check failed; the message says which property does not hold.
    """
    for check in CHECKS:
        check(name, hyper_parameters)


def random_batch(rows: int, longest: int = 5, seed: int = 0) -> Batch:
    """Returns transformed features and labels `[B]`; lists are `[B, longest]` with 0 to `longest` ids, users are all different."""
    rng = np.random.default_rng([seed, rows])
    features: dict[str, NDArray] = {f.name: rng.normal(size=rows).astype(np.float32) for f in SPEC.numeric_features}
    for feature in SPEC.token_features:
        ids = rng.integers(1, _LARGEST_ID[feature.name] + 1, (rows, longest))
        present = np.arange(longest) < rng.permutation(np.arange(rows) % (longest + 1))[:, None]
        features[feature.name] = np.where(present, ids, 0) if feature.is_list else ids[:, 0]
    features["user"] = rng.permutation(np.arange(1, rows + 1))
    return {f.name: features[f.name] for f in SPEC.features}, rng.permutation(np.arange(rows) % 2).astype(np.float32)


def check_logits(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """Logits are `[B]`, float32, finite, and the sum of the parts."""
    for precision in ("float32", "bfloat16"):
        model = _loop(name, hyper_parameters, mixed_precision=precision).model
        features = {key: tf.constant(values) for key, values in random_batch(5)[0].items()}
        logits, parts = model(features, training=False), model.scored_parts(features)
        _expect(logits.dtype == tf.float32 and logits.shape == [5], f"logits should be float32 [5], are {logits.dtype.name} {logits.shape}")
        _expect(all(part.shape == [5] for part in parts.values()), f"parts should be [5], are {[part.shape for part in parts.values()]}")
        _expect(np.isfinite(logits).all(), f"logits should be finite, are {logits}")
        _expect(np.allclose(sum(parts.values()), logits, atol=1e-5), "the sum of the parts should be the logits")


def check_rows_are_independent(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """A row's score depends neither on the other rows, nor on how far lists are padded; evaluated twice it is the same."""
    loop = _loop(name, hyper_parameters, steps=5)
    features, _ = random_batch(16)
    together = _score(loop, features)
    _expect(np.array_equal(together, _score(loop, features)), "two evaluations of the same rows should be equal, bit for bit")
    alone = np.concatenate([_score(loop, {key: values[[row]] for key, values in features.items()}) for row in range(16)])
    _expect(np.allclose(alone, together, atol=1e-5), f"a row alone should score as in its batch, differs by {abs(alone - together).max()}")
    padded = _score(loop, {key: np.pad(ids, [(0, 0), (0, 3)]) if ids.ndim == 2 else ids for key, ids in features.items()})
    _expect(np.allclose(padded, together, atol=1e-5), f"padding should not change a score, does by {abs(padded - together).max()}")


def check_gradients(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """Every trainable variable gets a gradient: no matrix only zeros, and no table row that the batch looks up, padding aside."""
    loop = _loop(name, hyper_parameters)
    with tf.GradientTape() as tape:
        loss = _loss(loop, random_batch(_ROWS), training=True)
    gradients = tape.gradient(loss, [variable.value for variable in loop.model.trainable_variables])
    padding = {id(layer.table): layer.offsets.values() for layer in loop.model._flatten_layers() if isinstance(layer, StackedTable)}
    for variable, gradient in zip(loop.model.trainable_variables, gradients, strict=True):
        _expect(gradient is not None, f"{variable.path} should get a gradient")
        dense = tf.convert_to_tensor(gradient).numpy()
        _expect(dense.ndim < 2 or dense.any(), f"{variable.path} should get a gradient that is not zero")
        if id(variable) in padding:
            rows = set(gradient.indices.numpy().tolist()) - set(padding[id(variable)])
            without = [row for row in sorted(rows) if not dense[row].any()]
            _expect(not without, f"rows {without[:5]} of {variable.path} are looked up and should get a gradient")


def check_learns(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """Trained on 64 rows the loss falls below a bound, and then every feature counts."""
    loop = _loop(name, hyper_parameters, steps=80)
    features, labels = random_batch(_ROWS)
    loss, logits = float(_loss(loop, (features, labels))), _score(loop, features)
    _expect(loss < _LOSS_BOUND, f"the loss on {_ROWS} rows should fall below {_LOSS_BOUND}, is {loss:.3f}")
    for feature in features:
        changed = _score(loop, {**features, feature: np.roll(features[feature], 1, axis=0)})
        _expect(not np.allclose(changed, logits, atol=1e-6), f"feature {feature!r} should change scores")


def check_traced_once(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """The training step is traced once, whatever the batches' sizes and the lengths of their lists."""
    loop = _loop(name, hyper_parameters)
    for epoch in range(2):
        loop.train(_iterator([random_batch(rows, longest, epoch) for rows, longest in ((16, 5), (16, 1), (16, 9), (3, 2))]), 4)
    traces = loop._train.experimental_get_tracing_count()
    _expect(traces == 1, f"the training step should be traced once, was traced {traces} times")


def check_checkpoint(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """A checkpoint holds all state: restored into another model it gives equal scores and equal training, bit for bit."""
    loop, other = _loop(name, hyper_parameters, steps=3), _loop(name, hyper_parameters, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        loop.save(Path(folder))
        latest = tf.train.latest_checkpoint(folder)
        saved = {key for key, _ in tf.train.list_variables(latest) if key.startswith("state/")}
        keys = [f"state/{number}/.ATTRIBUTES/VARIABLE_VALUE" for number in range(len(loop.state))]
        _expect(saved == set(keys), f"the checkpoint should hold {len(keys)} variables, holds {len(saved)}")
        for key, variable in zip(keys, loop.state, strict=True):
            same = np.array_equal(tf.train.load_variable(latest, key), variable.numpy())
            _expect(same, f"{variable.name} should be saved as it is")
        other.restore(Path(folder))
    state = {id(variable) for variable in loop.state}
    without = [variable.path for variable in loop.model.variables if id(variable.value) not in state]
    _expect(not without, f"the checkpoint should hold {without}")
    for each in (loop, other):
        each.train(_iterator([random_batch(16, seed=seed) for seed in range(3)]), 3)
    _expect(_equal(loop, other), "a restored model should go on training the same, bit for bit")


def check_mixed_precision(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """In bfloat16 and float16, 20 steps stay finite, lower the loss, and leave float32 variables."""
    for precision in ("bfloat16", "float16"):
        before, after = (_loop(name, hyper_parameters, steps=steps, mixed_precision=precision) for steps in (0, 20))
        losses = [float(_loss(loop, random_batch(_ROWS))) for loop in (before, after)]
        _expect(losses[1] < losses[0], f"the loss should fall in {precision}, goes from {losses[0]:.3f} to {losses[1]:.3f}")
        wrong = [variable.path for variable in after.model.trainable_variables if variable.dtype != "float32"]
        _expect(not wrong, f"variables should be float32 under {precision}: {wrong}")


def check_seed(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """A seed repeats a run bit for bit, dropout included; another seed gives another run."""
    first, again, other = (_loop(name, hyper_parameters, steps=3, seed=seed) for seed in (5, 5, 6))
    _expect(_equal(first, again), "equal seeds should give equal variables, bit for bit")
    _expect(not _equal(first, other), "another seed should give other variables")


def check_missing_values(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """Missing values, empty lists (also of no width at all) and out-of-vocabulary ids score and train without NaN."""
    loop = _loop(name, hyper_parameters)
    features, labels = random_batch(8)
    ids = {f.name: features[f.name] for f in SPEC.token_features}
    for what, changed in {
        "missing values": {key: np.zeros_like(values) for key, values in ids.items()},
        "lists without width": {key: np.zeros((8, 0), np.int64) for key, values in ids.items() if values.ndim == 2},
        "out-of-vocabulary ids": {key: np.full_like(values, _LARGEST_ID[key]) for key, values in ids.items()},
    }.items():
        loop.train(_iterator([({**features, **changed}, labels)]), 1)
        _expect(np.isfinite(_score(loop, {**features, **changed})).all(), f"{what} should give finite scores")


CHECKS: tuple[Check, ...] = (
    check_logits,
    check_rows_are_independent,
    check_gradients,
    check_learns,
    check_traced_once,
    check_checkpoint,
    check_mixed_precision,
    check_seed,
    check_missing_values,
)


def _loop(name: str, hyper_parameters: Mapping[str, Any], steps: int = 0, **training: Any) -> Loop:  # noqa: ANN401 (of TrainingConfig)
    """Returns the model in its loop, after `steps` steps on the same 64 rows."""
    config = TrainingConfig.model_validate({"learning_rate": 0.02, **training})
    keras.utils.set_random_seed(config.seed)
    with precision_policy(config.mixed_precision):
        loop = Loop(get_model(name)(Inputs(SPEC), **hyper_parameters), task_of(SPEC), config, element_spec(SPEC))
    if steps:
        loop.train(_iterator([random_batch(_ROWS)] * steps), steps)
        loop.finish_rows()
    return loop


def _iterator(batches: Sequence[Batch]) -> Iterator[Any]:
    return iter(tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=element_spec(SPEC)))


def _score(loop: Loop, features: Mapping[str, NDArray], training: bool = False) -> tf.Tensor:
    return loop.model({key: tf.constant(values) for key, values in features.items()}, training=training)


def _loss(loop: Loop, batch: Batch, training: bool = False) -> tf.Tensor:
    return tf.reduce_mean(loop.task.losses(tf.constant(batch[1]), _score(loop, batch[0], training)))


def _equal(loop: Loop, other: Loop) -> bool:
    return all(np.array_equal(ours.numpy(), theirs.numpy()) for ours, theirs in zip(loop.state, other.state, strict=True))


def _expect(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)
