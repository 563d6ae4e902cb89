"""What every matching model has to get right, as checks that run on made-up data; see `trainer.testing.check_model`."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from trainer import testing_matching_data as data
from trainer.layers import StackedTable
from trainer.models.base import MatchingModel
from trainer.models.registry import make_model
from trainer.precision import precision_policy
from trainer.testing_data import close, expect, hashable
from trainer.testing_matching_export import check_retrieval

_STEPS, _AMONG, _SHARE = 100, 3, 0.8  # of 22 items; chance gives a share of 0.14
_CATALOGUE = data.catalogue()
_ALL = np.arange(_CATALOGUE.num_items)

Check = Callable[[str, Mapping[str, Any]], None]


def check_scores(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """Scores are float32 and finite: `[B, C]` of items that users share, `[B, P]` of their own; `[B, T, ...]` for all positions."""
    for precision in ("float32", "bfloat16"):
        trainer = Trainer(name, hyper_parameters, precision)
        features, positives = data.users(5, next_items=0 if trainer.whole else 2)
        own = np.stack([_known(positives)] * 3, -1) if trainer.whole else _known(positives)
        sets = [data.items(_CATALOGUE, numbers) for numbers in (_ALL[:7], own, _ALL[:1])]
        scores = trainer.model(data.tensors(features), sets, all_positions=trainer.whole, training=False)
        leading = own.shape[:-1]
        for what, found, width in zip(("shared", "own", "one"), scores, (7, own.shape[-1], 1), strict=True):
            good = found.dtype == tf.float32 and found.shape == [*leading, width] and np.isfinite(found).all()
            expect(good, f"scores of {what} candidates should be finite float32 {[*leading, width]}, are {found}")


def check_pairs_are_independent(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """A pair's score depends on no other user and no other candidate, whether shared or not; evaluated twice it is the same."""
    trainer = _trained(name, hyper_parameters)
    features, together = trainer.features, trainer.scores(trainer.features, _ALL)
    expect(np.array_equal(together, trainer.scores(features, _ALL)), "two evaluations should be equal, bit for bit")
    for user in range(6):
        alone = trainer.scores(data.rows_of(features, [user]), _ALL[[3]])
        expect(close(alone, together[[user]][:, [3]]), f"a pair should score alone as among others: {alone} != {together[user, 3]}")
    reverse = trainer.scores(features, _ALL[::-1])
    expect(close(reverse[:, ::-1], together), "a score should not depend on the order of candidates")
    own = (np.arange(len(together))[:, np.newaxis] * 3 + np.arange(4)) % len(_ALL)
    expect(
        close(trainer.scores(features, own), np.take_along_axis(together, own, 1)),
        "candidates of a user's own should score as those that all share",
    )


def check_padding(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """Padding lists and histories further changes no score."""
    paddings = data.SPEC.paddings
    trainer = _trained(name, hyper_parameters)
    users = {key: data.padded(values, paddings[key]) if key in paddings else values for key, values in trainer.features.items()}
    items = {key: data.padded(v, paddings[key]) if key in paddings else v for key, v in data.items(_CATALOGUE, _ALL).items()}
    expected, found = trainer.scores(trainer.features, _ALL), trainer.model(users, [items], training=False)[0]
    expect(close(found, expected), f"padding further should not change a score: {found} != {expected}")


def check_all_positions(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """The query after each item knows none of the items that follow, and that after the last is the query of the whole history.

    How many follow it may know: positions may be counted from the end, as sasrec's are.
    """
    trainer = _trained(name, hyper_parameters)
    if not trainer.whole:
        return
    history = trainer.features["history"].numpy()
    whole = trainer.model.query(trainer.features, all_positions=True).numpy()
    for position in range(history.shape[1] - 1):
        follows = (np.arange(history.shape[1]) > position) & (history > 0)
        changed = np.where(follows, history % data.NUM_KNOWN + 1, history)
        found = trainer.model.query({**trainer.features, "history": tf.constant(changed)}, all_positions=True).numpy()
        rows = np.flatnonzero(history[:, position])
        ours, theirs = whole[rows, position], found[rows, position]
        expect(close(ours, theirs), f"the query at position {position} of all should not depend on what follows: {ours} != {theirs}")
    rows = np.flatnonzero(history[:, 0])
    last, found = whole[rows, np.count_nonzero(history, axis=1)[rows] - 1], trainer.model.query(trainer.features).numpy()[rows]
    expect(close(last, found), f"the query at the last position should be that of the history: {last} != {found}")


def check_gradients(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """Every trainable variable gets a gradient: no matrix only zeros, and no table row that the batch looks up, padding aside."""
    trainer = Trainer(name, hyper_parameters)
    variables = trainer.model.trainable_variables
    with tf.GradientTape() as tape:
        loss = trainer.losses(training=True)
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    padding = {id(layer.table): layer.offsets.values() for layer in trainer.model._flatten_layers() if isinstance(layer, StackedTable)}
    for variable, gradient in zip(variables, gradients, strict=True):
        dense = np.zeros((1, 1)) if gradient is None else tf.convert_to_tensor(gradient).numpy()
        expect(dense.ndim < 2 or bool(dense.any()), f"{variable.path} should get a gradient")
        if id(variable) in padding:
            rows = set(gradient.indices.numpy().tolist()) - set(padding[id(variable)])
            without = [row for row in sorted(rows) if not dense[row].any()]
            expect(not without, f"rows {without[:5]} of {variable.path} are looked up and should get a gradient")


def check_learns(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """Trained on 32 users it finds what they took next, and then every feature of an item counts; one in closed form scores otherwise."""
    trainer = _trained(name, hyper_parameters)
    items = data.items(_CATALOGUE, _ALL)
    scores = trainer.scores(trainer.features, _ALL)
    if trainer.model.closed_form:
        expect(not np.allclose(scores, Trainer(name, hyper_parameters).scores(trainer.features, _ALL)), "fitting should change scores")
        return
    share = trainer.share_found()
    expect(share > _SHARE, f"what {data.NUM_USERS} users took next should be among the first {_AMONG} for {_SHARE:.0%}, is for {share:.0%}")
    for feature, values in items.items():
        changed = trainer.model(trainer.features, [{**items, feature: tf.roll(values, 1, axis=0)}], training=False)[0]
        expect(not np.allclose(changed, scores, atol=1e-6), f"feature {feature!r} of items should change scores")


def check_checkpoint(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """A checkpoint of the variables holds all state: restored into another model it gives equal scores, bit for bit; names are distinct."""
    other = Trainer(name, hyper_parameters, seed=1)
    trainer = _trained(name, hyper_parameters)
    with tempfile.TemporaryDirectory() as folder:
        paths = [variable.path for variable in trainer.model.variables]
        twice = sorted({path for path in paths if paths.count(path) > 1})
        expect(not twice, f"each variable should have a name of its own; several have {', '.join(twice)}")
        path = tf.train.Checkpoint(state=trainer.state).write(str(Path(folder) / "weights"))
        tf.train.Checkpoint(state=other.state).read(path).assert_consumed()
        expected, found = (each.scores(trainer.features, _ALL) for each in (trainer, other))
        expect(np.array_equal(expected, found), "a restored model should give the same scores, bit for bit")


def check_warm_start(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """A model begins with the weights of another of its kind, and then scores the same."""
    trainer = _trained(name, hyper_parameters)
    other = Trainer(name, hyper_parameters, seed=1)
    taken = other.model.take_weights([{variable.path: variable.numpy() for variable in trainer.model.variables}])
    expect(len(taken) >= len(trainer.model.trainable_variables), f"all trained variables should be taken, were {taken}")
    if not trainer.model.closed_form:
        expected, found = (each.scores(trainer.features, _ALL) for each in (trainer, other))
        expect(np.array_equal(expected, found), "a model should score as the one whose weights it took, bit for bit")


def check_mixed_precision(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """In bfloat16 and float16, 20 steps stay finite and lower the loss."""
    for precision in ("bfloat16", "float16"):
        trainer = Trainer(name, hyper_parameters, precision)
        before = trainer.loss()
        after = trainer.train(20).loss()
        better = np.isfinite(after) if trainer.model.closed_form else after < before
        expect(better, f"the loss should fall in {precision}, goes from {before:.3f} to {after:.3f}")


def check_seed(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """A seed repeats a run bit for bit, dropout included; with another, whatever is drawn at random is drawn anew."""
    first, other = (Trainer(name, hyper_parameters, seed=seed) for seed in (0, 1))
    for ours, theirs in zip(first.model.trainable_variables, other.model.trainable_variables, strict=True):
        values = ours.numpy()
        # One or two numbers all over (zeros, ones, a unit matrix) are no matter of chance.
        is_drawn = values.size > 1 and len(np.unique(values)) > 2
        expect(not (is_drawn and np.array_equal(values, theirs.numpy())), f"another seed should give {ours.path} other numbers")
    first.train(_STEPS)
    trainer = _trained(name, hyper_parameters)
    equal = all(np.array_equal(ours.numpy(), theirs.numpy()) for ours, theirs in zip(first.state, trainer.state, strict=True))
    expect(equal, "equal seeds should give equal variables, bit for bit")


def check_missing_values(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """Empty lists and histories (also of no width at all), users, items and histories that training has not seen give finite scores."""
    trainer = _trained(name, hyper_parameters)
    features = trainer.features
    empty = {key: tf.fill(features[key].shape, tf.cast(data.SPEC.paddings[key], features[key].dtype)) for key in data.USER_LISTS}
    for what, changed in {
        "empty lists": empty,
        "lists without width": {key: values[:, :0] for key, values in empty.items()},
        "unseen users": {"user": tf.fill(features["user"].shape, np.int64(data.UNSEEN_USER))},
        "histories of unseen items": {"history": tf.where(features["history"] > 0, np.int64(data.UNSEEN_ITEM), 0)},
    }.items():
        expect(np.isfinite(trainer.scores({**features, **changed}, _ALL)).all(), f"{what} should give finite scores")


def check_export(name: str, hyper_parameters: Mapping[str, Any]) -> None:
    """Exported, its `retrieve` gives from raw values the ranking that is evaluated, whatever the length of a user's history."""
    check_retrieval(_trained(name, hyper_parameters).model)


_FORM: tuple[Check, ...] = (check_scores, check_pairs_are_independent, check_padding, check_all_positions, check_missing_values)
_TRAINING: tuple[Check, ...] = (check_gradients, check_learns, check_checkpoint, check_warm_start, check_mixed_precision, check_seed)
CHECKS = (*_FORM, *_TRAINING, check_export)


class Trainer:
    """A model, trained on what the made-up users took next: by the softmax over all items, and pointwise against one other item each.

    Together these reach biases and what is the same for all items, and both ways of giving candidates. A model in closed form is fitted.

    Args:
        name: Registered name.
        hyper_parameters: Of the model.
        mixed_precision: Type of the arithmetic.
        seed: Of whatever is drawn.

    Attributes:
        model: The model.
        whole: Whether it is trained on whole sequences.
        features: Of all users.
    """

    def __init__(self, name: str, hyper_parameters: Mapping[str, Any], mixed_precision: str = "float32", seed: int = 0) -> None:
        keras.utils.set_random_seed(seed)
        with precision_policy(mixed_precision):
            self.model: MatchingModel = make_model(name, data.inputs(), hyper_parameters)
            self.whole = self.model.examples == "sequences"
            features, self._positives = data.users(next_items=0 if self.whole else self.model.num_targets)
            self.features = data.tensors(features)
            self.losses(training=False)  # which makes what weights are not there
            self._optimizer = keras.optimizers.Adam(0.02)
            self._optimizer.build(self.model.trainable_variables)
        self._step = tf.function(self._train_step)

    @property
    def state(self) -> list[tf.Variable]:
        """The model's variables."""
        return [variable.value for variable in self.model.variables]

    def train(self, steps: int) -> Trainer:
        """Trains on all users in every step, or fits."""
        if self.model.closed_form:
            self.model.fit_closed_form(data.interactions(), _CATALOGUE)
        else:
            for _ in range(steps):
                self._step()
        return self

    def scores(self, features: Mapping[str, tf.Tensor], numbers: NDArray) -> NDArray:
        """Returns the scores of items, `[C]` that all share or `[B, P]`, with dropout off."""
        return self.model(features, [data.items(_CATALOGUE, numbers)], training=False)[0].numpy()

    def loss(self) -> float:
        """Returns the softmax loss with dropout off."""
        return float(
            self._softmax_loss(self.model(self.features, [data.items(_CATALOGUE, _ALL)], all_positions=self.whole, training=False)[0])
        )

    def share_found(self) -> float:
        """Returns the share of positives that few items score as high as."""
        scores = self.model(self.features, [data.items(_CATALOGUE, _ALL)], all_positions=self.whole, training=False)[0].numpy()
        scores = scores if self.whole else np.repeat(scores[:, np.newaxis], self._positives.shape[1], axis=1)
        of_positives = np.take_along_axis(scores, _known(self._positives)[..., np.newaxis], axis=-1)
        # Those of one user do not stand in each other's way.
        ranks = np.sum(scores >= of_positives, axis=-1) - (0 if self.whole else self._positives.shape[1] - 1)
        return float(np.mean(ranks[self._positives >= 0] <= _AMONG))

    def losses(self, training: bool) -> tf.Tensor:
        """Returns the sum of both losses."""
        pairs = np.stack([_known(self._positives), (self._positives + 5) % data.NUM_KNOWN], -1)
        own = pairs if self.whole else pairs.reshape(len(pairs), -1)
        sets = [data.items(_CATALOGUE, numbers) for numbers in (own, _ALL)]
        ours, of_all = self.model(self.features, sets, all_positions=self.whole, training=training)
        labels = np.broadcast_to(np.array([1, 0], np.float32), pairs.shape).reshape(own.shape)
        return self._softmax_loss(of_all) + tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, ours))

    def _softmax_loss(self, scores: tf.Tensor) -> tf.Tensor:
        """Returns the mean over all positives; scores are `[B, C]`, or `[B, T, C]` where each position has one."""
        there, numbers = self._positives >= 0, _known(self._positives)
        log_shares = tf.nn.log_softmax(scores)
        of_positives = tf.gather(log_shares, numbers, batch_dims=2 if self.whole else 1, axis=-1)
        return -tf.reduce_sum(tf.where(there, of_positives, 0.0)) / np.float32(there.sum())

    def _train_step(self) -> None:
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            loss = self.losses(training=True)
        self._optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)


def _trained(name: str, hyper_parameters: Mapping[str, Any]) -> Trainer:
    """Returns the model trained: one for all checks, none of which changes it."""
    return _kept(name, hashable(hyper_parameters))


@functools.lru_cache(maxsize=1)
def _kept(name: str, hyper_parameters: tuple[tuple[str, Any], ...]) -> Trainer:
    return Trainer(name, dict(hyper_parameters)).train(_STEPS)


def _known(numbers: NDArray) -> NDArray:
    return np.maximum(numbers, 0)
