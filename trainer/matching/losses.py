"""Losses of matching: from scores to the loss of each positive. Scores of any type are taken as float32, and larger is better.

Shapes: positives `[B, P]`, their negatives `[B, P, n]`. `present`, bool `[B, P]`, says which positives are no padding: padding has loss 0,
and its scores get no gradient. `mean_loss` makes one number of the losses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

SHARED_NEGATIVES = 512  # of a batch, where no number is asked for


@dataclass(frozen=True)
class LossKind:
    """A loss, and what is drawn and scored for it.

    Attributes:
        name: By which it is asked for.
        function: Gives the loss of each positive.
        own_negatives: Each positive has negatives of its own.
        shared_negatives: All positives of a batch have the same ones; logQ is for them, and accidental hits are removed. How many do not
            go by the model's paper, which counts those of one positive: `SHARED_NEGATIVES`.
        in_batch: The other positives of the batch are the negatives; logQ is for them, and accidental hits are removed.
        full: All items are candidates.
        has_margin: Takes a margin.
    """

    name: str
    function: Callable[..., tf.Tensor]
    own_negatives: bool = False
    shared_negatives: bool = False
    in_batch: bool = False
    full: bool = False
    has_margin: bool = False


def bce(positives: tf.Tensor, negatives: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Log loss of the positive as a 1, plus that of each of its n negatives as a 0: -log s(p) - sum log(1 - s(n)).

    The sum is that of He et al., "Neural Collaborative Filtering", WWW 2017, equation 7, and of Kang and McAuley, "Self-Attentive
    Sequential Recommendation", ICDM 2018 (n = 1). Code that averages over all 1 + n scores has this loss divided by 1 + n.
    """
    positives, negatives = _floats(positives), _floats(negatives)
    return _where(present, tf.nn.softplus(-positives) + tf.reduce_sum(tf.nn.softplus(negatives), -1))


def bpr(positives: tf.Tensor, negatives: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Minus the log of the probability that the positive comes first, summed over its negatives: -sum log s(p - n).

    Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009, section 4.1: a term for each triple.
    """
    positives, negatives = _floats(positives), _floats(negatives)
    return _where(present, tf.reduce_sum(tf.nn.softplus(negatives - positives[..., None]), -1))


def hinge(positives: tf.Tensor, negatives: tf.Tensor, present: tf.Tensor, *, margin: float) -> tf.Tensor:
    """How much each negative lacks to be `margin` below the positive, summed over negatives: sum max(0, margin - p + n).

    With a score that is minus a distance this is max(0, margin + d(p) - d(n)): Zhang et al., "Next Item Recommendation with
    Self-Attention", 2018 (AttRec).
    """
    positives, negatives = _floats(positives), _floats(negatives)
    return _where(present, tf.reduce_sum(tf.nn.relu(margin - positives[..., None] + negatives), -1))


def sampled_softmax(
    positives: tf.Tensor,
    negatives: tf.Tensor,
    present: tf.Tensor,
    *,
    positive_log_q: tf.Tensor | None = None,
    negative_log_q: tf.Tensor | None = None,
    hits: tf.Tensor | None = None,
) -> tf.Tensor:
    """Cross-entropy of the positive among itself and sampled candidates, each with the score s - log Q.

    A candidate is the positive with probability in proportion to p(i) / Q(i), given all candidates; so the loss is least where s is log p,
    whatever Q is (Bengio and Senecal, "Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic Language Model", 2008;
    the same correction as in `tf.nn.sampled_softmax_loss`). A constant added to all log Q, such as the log of the number of draws, changes
    nothing, and with uniform draws log Q may be left out.

    Args:
        positives: Scores, `[B, P]`.
        negatives: Scores of candidates, `[B, P, K]`: a positive's own, shared ones, or both joined.
        present: `[B, P]`.
        positive_log_q: Log probability that a draw is the positive's item, `[B, P]`.
        negative_log_q: The same of the candidates' items, of a shape that broadcasts to `[B, P, K]`.
        hits: Candidates that are the positive's own item (`accidental_hits`), of a shape that broadcasts to `[B, P, K]`: left out.
    """
    positives, negatives = _floats(positives), _floats(negatives)
    if positive_log_q is not None and negative_log_q is not None:
        positives, negatives = positives - _floats(positive_log_q), negatives - _floats(negative_log_q)
    return _where(present, _cross_entropy(positives, negatives, hits))


def in_batch_softmax(
    scores: tf.Tensor,
    present: tf.Tensor,
    *,
    log_q: tf.Tensor | None = None,
    removed: tf.Tensor | None = None,
) -> tf.Tensor:
    """Cross-entropy of each row's positive among the positives of all rows, each with the score s - log Q.

    Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019.

    Args:
        scores: Of row i's query and row j's positive, `[R, R]`.
        present: `[R]`; rows that are padding are no candidates either.
        log_q: Log of the share of training interactions that are with each row's positive, `[R]`: how often it comes into a batch.
        removed: Which columns are no candidates for a row, bool `[R, R]`: `same_items`, and where wanted what the row's user has. A row's
            own positive always stays.

    Returns:
        `[R]`.
    """
    scores = _floats(scores)
    if log_q is not None:
        scores -= _floats(log_q)
    own = tf.eye(tf.shape(scores)[0], dtype=tf.bool)
    out = tf.logical_or(own, ~present)
    return _where(present, _cross_entropy(tf.linalg.diag_part(scores), scores, out if removed is None else tf.logical_or(out, removed)))


def full_softmax(scores: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of the positives among all items.

    Args:
        scores: Of all items, `[B, P, C]`.
        items: Numbers of the positives, `[B, P]`; -1 is padding.
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.maximum(items, 0), logits=_floats(scores))
    return _where(items >= 0, losses)


def accidental_hits(items: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    """Returns which candidates are the positive itself, bool `[B, P, K]`; items are `[B, P]`, candidates `[K]` or `[B, P, K]`."""
    return tf.equal(items[..., None], candidates)


def same_items(items: tf.Tensor) -> tf.Tensor:
    """Returns which other rows have the same positive, bool `[R, R]`; items are `[R]`."""
    return tf.logical_and(tf.equal(items[:, None], items[None, :]), ~tf.eye(tf.size(items), dtype=tf.bool))


def mean_loss(losses: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Returns the mean over positives that are no padding; 0 where there are none."""
    return tf.math.divide_no_nan(tf.reduce_sum(losses), tf.reduce_sum(tf.cast(present, losses.dtype)))


def _cross_entropy(positives: tf.Tensor, others: tf.Tensor, out: tf.Tensor | None) -> tf.Tensor:
    """Returns log(e^p + sum of e^o) - p over the last axis, leaving out what is `out`: its weight is 0, not merely small."""
    own = positives[..., None]
    if out is not None:
        others = tf.where(out, own, others)
    largest = tf.stop_gradient(tf.maximum(positives, tf.reduce_max(others, -1)))
    weights = tf.exp(others - largest[..., None])
    if out is not None:
        weights = tf.where(out, tf.zeros_like(weights), weights)
    return tf.math.log(tf.exp(positives - largest) + tf.reduce_sum(weights, -1)) + largest - positives


def _floats(scores: tf.Tensor) -> tf.Tensor:
    return tf.cast(scores, tf.float32)


def _where(present: tf.Tensor, losses: tf.Tensor) -> tf.Tensor:
    return tf.where(present, losses, tf.zeros_like(losses))


_KINDS = (
    LossKind("bce", bce, own_negatives=True),
    LossKind("bpr", bpr, own_negatives=True),
    LossKind("hinge", hinge, own_negatives=True, has_margin=True),
    LossKind("sampled_softmax", sampled_softmax, shared_negatives=True),
    LossKind("in_batch_softmax", in_batch_softmax, in_batch=True),
    LossKind("full_softmax", full_softmax, full=True),
)
LOSSES: dict[str, LossKind] = {kind.name: kind for kind in _KINDS}
