"""What every model has to get right, as checks that run on made-up data: `check_model("my_model")`.

The checks here are of ranking models; those of matching models are in `trainer.testing_matching`.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs.errors import ColonnadeError
from serving.export import export_saved_model
from trainer import testing_matching
from trainer.config import TrainingConfig
from trainer.data import element_spec
from trainer.layers import Inputs, StackedTable
from trainer.loop import Loop
from trainer.models.base import MatchingModel
from trainer.models.registry import get_model, make_model
from trainer.precision import precision_policy
from trainer.tasks import task_of
from trainer.testing_data import LARGEST_ID, PADDING, SPEC, Batch, close, expect, hashable, padded, random_batch, save_transform

_ROWS, _LOSS_BOUND = 64, 0.35  # a coin gives 0.69
_STEPS = 80

Check = Callable[[str, Mapping[str, Any]], None]


def check_model(name: str, **hyper_parameters: Any) -> None:  # noqa: ANN401 (whatever the model takes)
    """Raises an AssertionError naming the property that a model does not have; one of your own is named as "my_package.my_module"."""
    for check in testing_matching.CHECKS if issubclass(get_model(name), MatchingModel) else CHECKS:
        check(name, hyper_parameters)


def check_logits(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """Logits are `[B]`, float32, finite, and the sum of the parts; with mixed precision too they have float32's digits."""
    for precision in ("float32", "bfloat16"):
        model = _loop(name, hyper_parameters, mixed_precision=precision).model
        features = {key: tf.constant(values) for key, values in random_batch(5)[0].items()}
        logits, parts = model(features, training=False), model.scored_parts(features)
        for what, x in {"logits": logits, **parts}.items():
            expect(x.dtype == tf.float32 and x.shape == [5] and np.isfinite(x).all(), f"{what} should be finite float32 [5], are {x}")
        for what, x in parts.items():
            is_rounded = np.any(x) and np.array_equal(x, tf.cast(tf.cast(x, tf.bfloat16), tf.float32))
            expect(not is_rounded, f"{what} should be computed in float32 in the end, as by trainer.layers.output_layer. Received: {x}")
        expect(np.allclose(sum(parts.values()), logits, atol=1e-5), "the sum of the parts should be the logits")


def check_rows_are_independent(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """A row's score depends neither on the other rows, nor on how far lists are padded; evaluated twice it is the same."""
    features, _ = random_batch(16)
    with _trained(name, hyper_parameters) as loop:
        together = _score(loop, features)
        expect(np.array_equal(together, _score(loop, features)), "two evaluations of the same rows should be equal, bit for bit")
        alone = np.concatenate([_score(loop, {key: values[[row]] for key, values in features.items()}) for row in range(6)])
        expect(close(alone, together[:6]), f"a row should score alone as in its batch: {alone} != {together[:6]}")
        further = _score(loop, {key: padded(key, values, 3) if key in PADDING else values for key, values in features.items()})
        expect(close(further, together), f"padding lists further should not change a score: {further} != {together}")


def check_gradients(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """Every trainable variable gets a gradient: no matrix only zeros, and no table row that the batch looks up, padding aside."""
    loop = _loop(name, hyper_parameters)
    _leave_zero(loop)
    with tf.GradientTape() as tape:
        loss = _loss(loop, random_batch(_ROWS), training=True)
    gradients = tape.gradient(loss, [variable.value for variable in loop.model.trainable_variables])
    padding = {id(layer.table): layer.offsets.values() for layer in loop.model._flatten_layers() if isinstance(layer, StackedTable)}
    for variable, gradient in zip(loop.model.trainable_variables, gradients, strict=True):
        dense = np.zeros((1, 1)) if gradient is None else tf.convert_to_tensor(gradient).numpy()
        expect(dense.ndim < 2 or bool(dense.any()), f"{variable.path} should get a gradient")
        if id(variable) in padding:
            rows = set(gradient.indices.numpy().tolist()) - set(padding[id(variable)])
            without = [row for row in sorted(rows) if not dense[row].any()]
            expect(not without, f"rows {without[:5]} of {variable.path} are looked up and should get a gradient")


def check_learns(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """Trained on 64 rows the loss falls below a bound, and then every feature counts."""
    features, labels = random_batch(_ROWS)
    with _trained(name, hyper_parameters) as loop:
        loss, logits = _loss(loop, (features, labels)), _score(loop, features)
        expect(loss < _LOSS_BOUND, f"the loss on {_ROWS} rows should fall below {_LOSS_BOUND}, is {loss:.3f}")
        for feature in features:
            changed = _score(loop, {**features, feature: np.roll(features[feature], 1, axis=0)})
            expect(not np.allclose(changed, logits, atol=1e-6), f"feature {feature!r} should change scores")


def check_traced_once(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """The training step is traced once, whatever the batches' sizes and the lengths of their lists."""
    with _trained(name, hyper_parameters) as loop:
        loop.train(_iterator([random_batch(rows, longest) for rows, longest in ((16, 5), (16, 1), (16, 9), (3, 2))]), 4)
        traces = loop._train.experimental_get_tracing_count()
        expect(traces == 1, f"the training step should be traced once, not {traces} times")


def check_checkpoint(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """A checkpoint holds all state: restored into another model it gives equal scores and equal training, bit for bit."""
    other = _loop(name, hyper_parameters, seed=1)
    with _trained(name, hyper_parameters) as loop:
        with tempfile.TemporaryDirectory() as folder:
            loop.save(Path(folder))
            latest = tf.train.latest_checkpoint(folder)
            saved = {key for key, _ in tf.train.list_variables(latest) if key.startswith("state/")}
            held = {f"state/{number}/.ATTRIBUTES/VARIABLE_VALUE": variable for number, variable in enumerate(loop.state)}
            expect(saved == set(held), f"the checkpoint should hold {len(held)} variables, holds {len(saved)}")
            for key, variable in held.items():
                expect(np.array_equal(tf.train.load_variable(latest, key), variable.numpy()), f"{variable.name} should be saved as it is")
            other.restore(Path(folder))
        for each in (loop, other):
            each.train(_iterator([random_batch(16, seed=seed) for seed in range(3)]), 3)
        expect(_equal(loop, other), "a restored model should go on training the same, bit for bit")


def check_mixed_precision(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """In bfloat16 and float16, 20 steps stay finite and lower the loss."""
    for precision in ("bfloat16", "float16"):
        loop, batch = _loop(name, hyper_parameters, mixed_precision=precision), random_batch(_ROWS)
        before = _loss(loop, batch)
        _train(loop, 20)
        after = _loss(loop, batch)
        expect(after < before, f"the loss should fall in {precision}, goes from {before:.3f} to {after:.3f}")


def check_seed(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """A seed repeats a run bit for bit, dropout included; with another, whatever is drawn at random is drawn anew."""
    first, other = (_loop(name, hyper_parameters, seed=seed) for seed in (0, 1))
    for ours, theirs in zip(first.model.variables, other.model.variables, strict=True):
        values = ours.numpy()
        # One or two numbers all over (zeros, ones, a unit matrix) are no matter of chance, nor is what is not trained. States of dropout,
        # unsigned integers, are.
        is_drawn = values.size > 1 and ((ours.trainable and len(np.unique(values)) > 2) or values.dtype.kind == "u")
        expect(not (is_drawn and np.array_equal(values, theirs.numpy())), f"another seed should give {ours.path} other numbers")
    _train(first, _STEPS)
    with _trained(name, hyper_parameters) as loop:
        expect(_equal(first, loop), "equal seeds should give equal variables, bit for bit")


def check_missing_values(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """Missing values, empty lists (also of no width at all) and out-of-vocabulary ids score and train without NaN."""
    features, labels = random_batch(8)
    lists = {key: np.full_like(features[key], padding) for key, padding in PADDING.items()}
    for what, changed in {
        "missing values": {key: np.zeros_like(features[key]) for key in LARGEST_ID} | lists,
        "lists without width": {key: values[:, :0] for key, values in lists.items()},
        "out-of-vocabulary ids": {key: np.full_like(features[key], largest) for key, largest in LARGEST_ID.items()},
    }.items():
        with _trained(name, hyper_parameters) as loop:
            loop.train(_iterator([({**features, **changed}, labels)]), 1)
            expect(np.isfinite(_score(loop, {**features, **changed})).all(), f"{what} should give finite scores")


def check_export(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """Exported behind a transform graph, it scores raw rows as the trainer scores the transformed ones."""
    with _trained(name, hyper_parameters) as loop, tempfile.TemporaryDirectory() as folder:
        save_transform(Path(folder) / "transform_fn")
        try:
            export_saved_model(loop.model, SPEC, Path(folder) / "transform_fn", Path(folder) / "export")
        except (ColonnadeError, ValueError, TypeError, tf.errors.OpError) as error:
            raise AssertionError(f"the export should score raw rows as the trainer does: {' '.join(str(error).split())}") from error


# Those in the middle share a trained model: making another one in between has TensorFlow forget the training step that it has ready.
_AS_IT_BEGINS: tuple[Check, ...] = (check_logits, check_gradients)
_TRAINED: tuple[Check, ...] = (check_rows_are_independent, check_missing_values, check_traced_once, check_learns, check_checkpoint)
CHECKS: tuple[Check, ...] = (*_AS_IT_BEGINS, *_TRAINED, check_seed, check_mixed_precision, check_export)


def _loop(name: str, hyper_parameters: Mapping[str, Any], **training: Any) -> Loop:  # noqa: ANN401 (of TrainingConfig)
    """Returns the model in its loop, as it begins."""
    config = TrainingConfig.model_validate({"learning_rate": 0.02, **training})
    keras.utils.set_random_seed(config.seed)
    with precision_policy(config.mixed_precision):
        return Loop(make_model(name, Inputs(SPEC), hyper_parameters), task_of(SPEC), config, element_spec(SPEC))


def _leave_zero(loop: Loop) -> None:
    """Gives matrices that begin as zeros, tables aside, other numbers: behind such a one no gradient goes any further."""
    tables = {id(layer.table) for layer in loop.model._flatten_layers() if isinstance(layer, StackedTable)}
    rng = np.random.default_rng(0)
    for variable in loop.model.trainable_variables:
        if len(variable.shape) > 1 and id(variable) not in tables and not variable.numpy().any():
            variable.assign(rng.normal(scale=0.1, size=variable.shape))


def _train(loop: Loop, steps: int) -> None:
    """Trains on the same 64 rows in every step."""
    loop.train(_iterator([random_batch(_ROWS)] * steps), steps)
    loop.finish_rows()


@contextmanager
def _trained(name: str, hyper_parameters: Mapping[str, Any]) -> Iterator[Loop]:
    """Gives the model trained for 80 steps: one for all checks, as tracing its step takes longest; it is put back afterwards."""
    loop, state = _kept(name, hashable(hyper_parameters))
    try:
        yield loop
    finally:
        for variable, value in zip(loop.state, state, strict=True):
            variable.assign(value)


@functools.lru_cache(maxsize=1)
def _kept(name: str, hyper_parameters: tuple[tuple[str, Any], ...]) -> tuple[Loop, list[Any]]:
    loop = _loop(name, dict(hyper_parameters))
    _train(loop, _STEPS)
    return loop, [variable.numpy() for variable in loop.state]


def _iterator(batches: Sequence[Batch]) -> Iterator[Any]:
    return iter(tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=element_spec(SPEC)))


def _score(loop: Loop, features: Mapping[str, NDArray], training: bool = False) -> tf.Tensor:
    return loop.model({key: tf.constant(values) for key, values in features.items()}, training=training)


def _loss(loop: Loop, batch: Batch, training: bool = False) -> tf.Tensor:
    return tf.reduce_mean(task_of(SPEC).losses(tf.constant(batch[1]), _score(loop, batch[0], training)))


def _equal(loop: Loop, other: Loop) -> bool:
    return all(np.array_equal(ours.numpy(), theirs.numpy()) for ours, theirs in zip(loop.state, other.state, strict=True))
