"""What a model is: a pure scorer, of pairs (ranking) or of a query against candidates (matching)."""

from __future__ import annotations

import abc
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs.errors import ColonnadeError

# As most models have it: these are of the hidden layers.
_NEEDS = dict.fromkeys(("dropout", "batch_norm", "activation"), ("hidden_units",))


class RankingModel(keras.Model, abc.ABC):
    """Scores one pair of user and item.

    A model says what it is made of in `parts`; the sum of the parts is the logits. It knows no feature by name, and has no sigmoid,
    loss, metric, optimizer or path inside.

    Attributes:
        needs: Hyper-parameters that do nothing unless one of others is given, as "name" (not empty, not 0) or "name=value"; then they are
            refused.
    """

    needs: ClassVar[Mapping[str, Sequence[str]]] = _NEEDS

    def __init__(self) -> None:
        # Keras would cast raw float32 features to bfloat16 before `call`; the input layers cast what they give instead.
        super().__init__(autocast=False)

    @property
    def wide_layers(self) -> tuple[keras.layers.Layer, ...]:
        """The layers that the run's `wide_optimizer` trains."""
        return ()

    @abc.abstractmethod
    def parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the named terms of the logits, each `[B]`."""

    def call(self, features: Mapping[str, tf.Tensor], training: bool | None = None) -> tf.Tensor:  # noqa: ARG002 (Keras hands it on)
        """Returns the logits, `[B]` float32."""
        return tf.add_n(list(self.scored_parts(features).values()))

    def output_bias(self, features: Mapping[str, tf.Tensor]) -> keras.Variable | None:
        """Returns the trained number, `[]` or `[1]`, that is added to all logits as it is; None where there is none.

        It is found by trying on some rows, so that no model has to name it: moved by 1, it moves the logits of all rows by 1.
        """
        before = self(features, training=False)
        for variable in self.trainable_variables:
            if np.prod(variable.shape) == 1:
                value = variable.numpy()
                variable.assign(value + 1)
                moved = self(features, training=False) - before
                variable.assign(value)
                if np.allclose(moved, 1, atol=0.01):
                    return variable
        return None

    def scored_parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns `parts` in float32, whatever the model computes in."""
        return {name: tf.cast(part, tf.float32) for name, part in self.parts(features).items()}


class MatchingModel(keras.Model, abc.ABC):
    """Scores a user against many items: `score(query(user), candidates(items))`.

    It knows no feature by name, and has no loss, sampling, metric, optimizer or path inside; what its paper trains it with are class
    attributes, which the run's settings override.

    Attributes:
        loss: Of its paper, by its name in `trainer.matching.losses`.
        num_negatives: Negatives a positive, of its paper.
        examples: What it is trained on: "pairs" of a user (with the history before) and what comes next, or whole "sequences", of which
            every position predicts the next.
        num_targets: How many of the items that follow are predicted at once (pairs).
        max_length: How much of the history it reads; none where 0.
        closed_form: Whether `fit_closed_form` takes the place of training by gradients.
        needs: Hyper-parameters that do nothing unless one of others is given; as in `RankingModel`.
    """

    needs: ClassVar[Mapping[str, Sequence[str]]] = _NEEDS
    loss: str = "bce"
    num_negatives: ClassVar[int] = 1
    examples: ClassVar[Literal["pairs", "sequences"]] = "pairs"
    closed_form: ClassVar[bool] = False
    num_targets: int = 1
    max_length: int = 0

    def __init__(self) -> None:
        super().__init__(autocast=False)
        self.loss = type(self).loss  # which Keras has set to None

    @property
    def wide_layers(self) -> tuple[keras.layers.Layer, ...]:
        """The layers that the run's `wide_optimizer` trains."""
        return ()

    @abc.abstractmethod
    def query(self, features: Mapping[str, tf.Tensor], all_positions: bool = False) -> tf.Tensor:
        """Returns what users are scored by, `[B, Q]`; with `all_positions` as they were after each item of their history, `[B, T, Q]`."""

    @abc.abstractmethod
    def candidates(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns what items are scored by, `[C, Q]`, of their item-side features, `[C]` or `[C, L]` each."""

    def score(self, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Returns the score of each query `[..., Q]` against candidates that all share, `[C, Q]`, or of its own, `[..., C, Q]`: `[..., C]`.

        The inner product, where the model does not say otherwise.
        """
        return inner_product(query, candidates)

    def call(
        self,
        features: Mapping[str, tf.Tensor],
        candidate_sets: Sequence[Mapping[str, tf.Tensor]],
        all_positions: bool = False,
        training: bool | None = None,  # noqa: ARG002 (Keras hands it on)
    ) -> list[tf.Tensor]:
        """Returns the scores of the queries against each set, float32.

        Args:
            features: Of the users, and their histories.
            candidate_sets: Item-side features of shape `[C, ...]`, shared by all queries, or `[B, P, ...]` (`[B, T, P, ...]` for all
                positions). All sets are embedded by one look-up.
            all_positions: See `query`.
            training: Whether dropout is on.

        Returns:
            For each set `[B, C]` or `[B, P]`; `[B, T, C]` or `[B, T, P]` for all positions.
        """
        query = self.query(features, all_positions)
        # A single-valued feature, which the item's id is, has the leading axes alone.
        leading = [min(values.shape.rank for values in each.values()) for each in candidate_sets]
        shapes = [tf.shape(min(each.values(), key=lambda v: v.shape.rank)) for each in candidate_sets]
        flat = {
            name: tf.concat([_flat(each[name], axes) for each, axes in zip(candidate_sets, leading, strict=True)], 0)
            for name in candidate_sets[0]
        }
        vectors = self.candidates(flat)
        parts = tf.split(vectors, [tf.reduce_prod(shape) for shape in shapes]) if len(shapes) > 1 else [vectors]
        scores = []
        for part, shape, axes in zip(parts, shapes, leading, strict=True):
            whole = tf.reshape(part, tf.concat([shape, [vectors.shape[-1]]], 0)) if axes > 1 else part
            scores.append(tf.cast(self.score(query, whole), tf.float32))
        return scores

    def take_weights(self, runs: Sequence[Mapping[str, NDArray]]) -> list[str]:
        """Begins with the weights of other runs on the same data: with one's, all of them, where the model does not say otherwise.

        Args:
            runs: The variables of each by their `path`.

        Returns:
            Names of the variables that were set.

        Raises:
            ColonnadeError: Something does not fit, which is named.
        """
        if len(runs) != 1:
            raise ColonnadeError(f"{type(self).__name__} begins with the weights of one run. Received: {len(runs)}.")
        values = {_without_model(path, self): value for path, value in runs[0].items()}
        theirs = {name: list(value.shape) for name, value in values.items()}
        # Seeds of dropout are a run's own; side features come with the data, not from training.
        ours = {_without_model(v.path, self): v for v in self.variables if v.trainable or "/moving_" in v.path}
        here = {_without_model(v.path, self): list(v.shape) for v in self.variables}
        wrong = [f"{name} is {theirs.get(name, 'missing')}, here {here[name]}" for name in ours if theirs.get(name) != here[name]]
        wrong += [f"{name} is {shape}, here missing" for name, shape in theirs.items() if name not in here and "seed" not in name]
        if wrong:
            raise ColonnadeError(
                f"The weights do not fit this {type(self).__name__}: {'; '.join(wrong)}. Take a run of the same data with hyper-parameters "
                "that go with these."
            )
        for name, variable in ours.items():
            variable.assign(values[name])
        return list(ours)

    def fit_closed_form(self, interactions: Any, catalogue: Any) -> None:  # noqa: ANN401 (trainer.matching's, which stands on this module)
        """Sets the weights from all training interactions at once, where `closed_form`.

        Args:
            interactions: Of training: `users` (rows) and `items` (numbers), int `[N]` each, and `num_users`.
            catalogue: The items; see `trainer.matching.catalogue.Catalogue`.
        """
        raise NotImplementedError(f"{type(self).__name__} is trained by gradients.")


def _without_model(path: str, model: keras.Model) -> str:
    """Returns a variable's path without the name of its model, which Keras numbers: layers that are built late have it."""
    first, _, rest = path.partition("/")
    return rest if rest and re.fullmatch(re.sub(r"_\d+$", "", model.name) + r"(_\d+)?", first) else path


def inner_product(query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    """Returns the inner products of queries `[..., Q]` with candidates `[C, Q]`, or with their own, `[..., C, Q]`: `[..., C]`."""
    if candidates.shape.rank == 2:
        return tf.tensordot(query, candidates, [[-1], [-1]])
    return tf.reduce_sum(candidates * query[..., tf.newaxis, :], axis=-1)


def _flat(values: tf.Tensor, axes: int) -> tf.Tensor:
    """Returns item-side features with the first `axes` axes made one."""
    return values if axes == 1 else tf.reshape(values, tf.concat([[-1], tf.shape(values)[axes:]], 0))
