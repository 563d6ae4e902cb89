"""What a matching model is trained for: its loss over positives and negatives, and its metrics by named protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from feature_specs.errors import ColonnadeError
from trainer.config import TrainingConfig
from trainer.matching.catalogue import Catalogue
from trainer.matching.losses import LOSSES, SHARED_NEGATIVES, LossKind, accidental_hits, same_items
from trainer.matching.sampling import ItemDistribution, NegativeSampling
from trainer.models.base import MatchingModel
from trainer.tasks import MATCHING_SETTINGS, Task, check_settings


class MatchingTask(Task):
    """Finding what a user takes next.

    Args:
        training: How to train and to evaluate.
        catalogue: All items.

    Raises:
        ColonnadeError: A setting belongs to another task, or is none that there is.
    """

    name = "matching"
    mode = "max"
    settings = MATCHING_SETTINGS

    def __init__(self, training: TrainingConfig, catalogue: Catalogue) -> None:
        check_settings(self.name, training)
        if training.refit and training.plateau_factor < 1:
            raise ColonnadeError("refit has no validation that could lower a learning rate. Leave out plateau_factor, or refit.")
        self.training, self.catalogue = training, catalogue
        self.monitor, self.shown = (f"{name}@{training.cutoffs[0]}" for name in ("ndcg", "hit_rate"))
        self._items = catalogue.tensors()
        self._log_q = tf.constant(ItemDistribution(catalogue.counts, training.negative_alpha).log_q)
        self._count_log_q = tf.constant(ItemDistribution(catalogue.counts, 1.0).log_q)

    def loss_of(self, model: MatchingModel) -> LossKind:
        """Returns the loss that is asked for, or else that of the model's paper."""
        return LOSSES[self.training.loss or model.loss]

    def sampling(self, model: MatchingModel) -> NegativeSampling:
        """Returns which negatives a model is trained with.

        Raises:
            ColonnadeError: The loss does not go with the model's examples, or takes no negatives and some were asked for.
        """
        kind, training = self.loss_of(model), self.training
        asked = training.num_negatives or (SHARED_NEGATIVES if kind.shared_negatives else model.num_negatives)
        draws, default = kind.own_negatives or kind.shared_negatives, TrainingConfig.model_fields["margin"].default
        idle = {
            "loss": training.loss is not None and model.closed_form,
            "num_negatives": training.num_negatives is not None and (model.closed_form or not draws),
            "negative_alpha": training.negative_alpha > 0 and (model.closed_form or not draws),
            "exclude_seen_negatives": training.exclude_seen_negatives is not None
            and (model.closed_form or not (kind.own_negatives or kind.in_batch)),
            "margin": training.margin != default and (model.closed_form or not kind.has_margin),
        }
        if any(idle.values()):
            names = " and ".join(name for name, is_idle in idle.items() if is_idle)
            what = "the model is not trained by gradients" if model.closed_form else f"the loss is {kind.name}"
            hint = "" if model.closed_form else f" Or name a loss that it is for, such as loss={'hinge' if idle['margin'] else 'bce'}."
            raise ColonnadeError(f"{names} would do nothing: {what}. Leave it out.{hint}")
        if kind.in_batch and (model.examples == "sequences" or model.num_targets > 1):
            raise ColonnadeError(
                f"The loss {kind.name} takes one positive an example, and this model has several. Use loss=sampled_softmax."
            )
        return NegativeSampling(
            per_positive=asked if kind.own_negatives else 0,
            shared=asked if kind.shared_negatives else 0,
            alpha=training.negative_alpha,
            exclude_seen=training.exclude_seen_negatives is not False,
            seen_in_batch=kind.in_batch and training.exclude_seen_negatives is True,
        )

    def build(self, model: MatchingModel, features: Mapping[str, tf.Tensor]) -> None:
        """See the base class."""
        self.sampling(model)  # settings that do not go together are noticed before there is a run directory
        # Id 0 would be no user.
        ones = {name: tf.ones_like(values) for name, values in features.items()}
        model(ones, [self.items(tf.constant([0]))], all_positions=False)
        if model.examples == "sequences":
            model(ones, [self.items(tf.constant([0]))], all_positions=True)

    def items(self, numbers: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the item-side features of item numbers of any shape."""
        return self.catalogue.take(numbers, self._items)

    def training_losses(
        self, model: MatchingModel, features: Mapping[str, tf.Tensor], labels: Mapping[str, tf.Tensor], weights: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """See the base class; every positive has a loss, those that are padding a weight of 0."""
        del weights  # interactions all count once
        kind, whole = self.loss_of(model), model.examples == "sequences"
        positives = labels["positives"]
        present = positives >= 0
        numbers = tf.maximum(positives, 0)
        own = tf.concat([numbers[..., tf.newaxis], labels["negatives"]], axis=2)  # [B, P, 1 + n]
        shape = tf.shape(own)
        sets = [] if kind.in_batch or kind.full else [self.items(own if whole else tf.reshape(own, [shape[0], -1]))]
        if kind.shared_negatives:
            sets.append(self.items(labels["shared"]))
        elif kind.in_batch:
            sets.append(self.items(numbers[:, 0]))
        elif kind.full:
            sets.append(self._items)
        scores = list(model(features, sets, all_positions=whole, training=True))
        if sets and not (kind.in_batch or kind.full):
            scores[0] = tf.reshape(scores[0], shape)
        losses = self._losses(kind, scores, labels)
        return tf.reshape(losses, [-1]), tf.reshape(tf.cast(present, tf.float32), [-1])

    def _losses(self, kind: LossKind, scores: Sequence[tf.Tensor], labels: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the loss of each positive, `[B, P]`."""
        positives = labels["positives"]
        present, numbers = positives >= 0, tf.maximum(positives, 0)
        if kind.full:
            # Pairs have one query for all of their positives.
            wide = scores[0] if scores[0].shape.rank == 3 else tf.repeat(scores[0][:, tf.newaxis], tf.shape(positives)[1], axis=1)
            return kind.function(wide, positives)
        if kind.in_batch:
            removed = same_items(positives[:, 0])
            if "seen_in_batch" in labels:
                removed |= labels["seen_in_batch"]
            return kind.function(scores[0], present[:, 0], log_q=tf.gather(self._count_log_q, numbers[:, 0]), removed=removed)
        if kind.shared_negatives:
            shared = scores[1] if scores[1].shape.rank == 3 else scores[1][:, tf.newaxis]
            return kind.function(
                scores[0][..., 0],
                shared,
                present,
                positive_log_q=tf.gather(self._log_q, numbers),
                negative_log_q=tf.gather(self._log_q, labels["shared"]),
                hits=accidental_hits(positives, labels["shared"]),
            )
        more = {"margin": self.training.margin} if kind.has_margin else {}
        return kind.function(scores[0][..., 0], scores[0][..., 1:], present, **more)
