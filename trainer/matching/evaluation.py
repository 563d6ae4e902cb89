"""Evaluation of matching models by stated protocols; see `trainer.matching.protocols` and `trainer.matching.ranks`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs.errors import ColonnadeError
from trainer.data import Lists
from trainer.matching import negatives
from trainer.matching.catalogue import Catalogue
from trainer.matching.protocols import Protocol, check_cutoffs, parse_protocol
from trainer.matching.ranks import list_metrics, merged_lists, ranks, user_metrics
from trainer.matching.scoring import BLOCK_FLOATS, Scorer
from trainer.models.base import MatchingModel

BATCH = 512


@dataclass(frozen=True)
class EvaluationRows:
    """The users of a split.

    Attributes:
        features: Gives the user features of the rows [begin, end), history included, as `MatchingModel.query` takes them.
        seen: Numbers of the items that each user has seen before, N lists.
        targets: Numbers of the items that are to be found; users without any are left out.
        candidates: Numbers of each user's listed candidates, where the data set has such a list.
    """

    features: Callable[[int, int], Mapping[str, NDArray | tf.Tensor]]
    seen: Lists
    targets: Lists
    candidates: Lists | None = None

    @property
    def num_users(self) -> int:
        """N."""
        return len(self.targets.lengths)


class Evaluator:
    """Evaluates a model, any number of times; its graphs are traced once.

    Args:
        model: Its weights at the time of the evaluation count.
        catalogue: All items.
        batch_size: Users whose queries are computed at once.
        block_floats: See `Scorer`.
    """

    def __init__(self, model: MatchingModel, catalogue: Catalogue, *, batch_size: int = BATCH, block_floats: int = BLOCK_FLOATS) -> None:
        self.catalogue, self.batch_size = catalogue, batch_size
        self._scorer = Scorer(model, block_floats)

    def evaluate(
        self, rows: EvaluationRows, protocols: Sequence[str], cutoffs: Sequence[int], seed: int = 0
    ) -> dict[str, dict[str, float]]:
        """Returns for each protocol the means of all metrics over users, by names such as `ndcg@10`.

        Args:
            rows: Of one split.
            protocols: By name, see `parse_protocol`. `full` has coverage and popularity beside.
            cutoffs: All K.
            seed: Of sampled negatives, which are the same each time.

        Raises:
            ColonnadeError: No user has a target, items are not the catalogue's, a protocol is unknown, or the data set lists no candidates.
        """
        check_cutoffs(cutoffs)
        split = _Split(rows, self.catalogue.num_items, {name: parse_protocol(name) for name in protocols}, seed)
        candidates = self._scorer.candidates(self.catalogue.features, self.catalogue.num_items)
        metrics: dict[str, list[dict[str, NDArray]]] = {name: [] for name in split.protocols}
        lists: list[NDArray] = []
        deepest = min(max(cutoffs), self.catalogue.num_items)
        for begin in range(0, rows.num_users, self.batch_size):
            end = min(begin + self.batch_size, rows.num_users)
            kept = begin + np.flatnonzero(split.targets.lengths[begin:end])
            if not len(kept):
                continue
            queries = self._scorer.queries({name: tf.convert_to_tensor(v) for name, v in rows.features(begin, end).items()})
            queries = queries if len(kept) == end - begin else tf.gather(queries, kept - begin)
            targets = split.targets.take(kept)
            for name, protocol in split.protocols.items():
                if protocol.kind == "full":
                    found, recommended = self._full(queries, candidates, rows.seen.take(kept), targets.padded(-1), deepest)
                    lists.append(recommended)
                else:
                    found = self._listed(queries, candidates, targets.padded(-1), split.negatives(protocol, kept))
                metrics[name].append(user_metrics(found, targets.lengths, cutoffs))
        means = {name: {key: float(np.concatenate([m[key] for m in parts]).mean()) for key in parts[0]} for name, parts in metrics.items()}
        if lists:
            means["full"] |= list_metrics(np.concatenate(lists), self.catalogue.counts, cutoffs)
        return means

    def check_users(self, rows: EvaluationRows) -> None:
        """Makes all queries, so that users whom the model does not know are noticed before it is trained."""
        for begin in range(0, rows.num_users, self.batch_size):
            features = rows.features(begin, min(begin + self.batch_size, rows.num_users))
            self._scorer.queries({name: tf.convert_to_tensor(v) for name, v in features.items()})

    def _full(self, queries: tf.Tensor, candidates: tf.Tensor, seen: Lists, targets: NDArray, k: int) -> tuple[NDArray, NDArray]:
        """Returns the targets' ranks among all items, those beyond `k` being no more than beyond it, and the first k items."""
        best = self._scorer.best(queries, candidates, seen, targets, k)
        is_target, is_negative = best.targets > -np.inf, best.negatives > -np.inf
        found = ranks(best.targets, best.negatives, is_target, is_negative)
        scores, items = np.hstack([best.negatives, best.targets]), np.hstack([best.items, targets])
        return found, merged_lists(scores, items, np.hstack([is_negative, is_target]), k)

    def _listed(self, queries: tf.Tensor, candidates: tf.Tensor, targets: NDArray, others: NDArray) -> NDArray:
        """Returns the ranks of targets `[B, T]` among other items `[B, N]`."""
        scores = self._scorer.listed(queries, candidates, np.hstack([targets, others]))
        width = targets.shape[1]
        return ranks(scores[:, :width], scores[:, width:], targets >= 0, others >= 0)


def evaluate(
    model: MatchingModel, catalogue: Catalogue, rows: EvaluationRows, protocols: Sequence[str], cutoffs: Sequence[int], seed: int = 0
) -> dict[str, dict[str, float]]:
    """Evaluates once; see `Evaluator`, which is to be kept where there are several evaluations."""
    return Evaluator(model, catalogue).evaluate(rows, protocols, cutoffs, seed)


def short_users(rows: EvaluationRows, protocol: str, num_items: int) -> int:
    """Returns how many users with targets have fewer items to be drawn than a protocol draws."""
    parsed = parse_protocol(protocol)
    if parsed.kind != "sampled":
        return 0
    split = _Split(rows, num_items, {protocol: parsed}, seed=0)
    return int(np.sum((split.num_free(parsed) < parsed.negatives) & (split.targets.lengths > 0)))


class _Split:
    """Rows as sets: nobody's targets or candidates hold an item twice, and no target is a negative."""

    def __init__(self, rows: EvaluationRows, num_items: int, protocols: Mapping[str, Protocol], seed: int) -> None:
        self.num_items, self.protocols, self.seed = num_items, protocols, seed
        for name, lists in {"targets": rows.targets, "seen items": rows.seen, "candidates": rows.candidates}.items():
            self._check(lists, name)
        targets = self._keys(rows.targets)
        if not len(targets):
            raise ColonnadeError(f"None of the {rows.num_users:,} users of this split has an item to be found. Check the spec's split.")
        self._num_users = rows.num_users
        self.targets = self._lists(targets)
        self._excluded: dict[Protocol, Lists] = {}
        for protocol in protocols.values():
            if protocol.kind == "sampled":
                others = [] if protocol.may_be_seen else [self._keys(rows.seen)]
                self._excluded[protocol] = self._lists(_distinct(np.concatenate([targets, *others])))
            elif protocol.kind == "file":
                self._candidates = self._listed_candidates(rows, targets)

    def negatives(self, protocol: Protocol, rows: NDArray) -> NDArray:
        """Returns the numbers of what the targets of `rows` are ranked against, `[B, N]`, -1 at the end of shorter rows."""
        if protocol.kind == "file":
            return self._candidates.take(rows).padded(-1)
        return negatives.draw(self._excluded[protocol].take(rows), rows, self.num_items, protocol.negatives, self.seed)

    def num_free(self, protocol: Protocol) -> NDArray[np.int64]:
        """Returns how many items could be drawn for each user."""
        return self.num_items - self._excluded[protocol].lengths

    def _listed_candidates(self, rows: EvaluationRows, targets: NDArray) -> Lists:
        if rows.candidates is None:
            raise ColonnadeError(
                "Protocol 'file' ranks candidates that the data set lists, and this split has none. Name their file in the spec's split "
                "(candidates), or take another protocol: full, or sampled:100."
            )
        lists = self._lists(np.setdiff1d(self._keys(rows.candidates), targets, assume_unique=True))
        without = int(np.sum((self.targets.lengths > 0) & (lists.lengths == 0)))
        if without:
            raise ColonnadeError(f"{without:,} users have no candidate beside their targets. Complete the split's file of candidates.")
        return lists

    def _check(self, lists: Lists | None, what: str) -> None:
        if lists is not None and len(lists.values) and not 0 <= lists.values.min() <= lists.values.max() < self.num_items:
            raise ColonnadeError(
                f"The {what} of this split have item numbers from {lists.values.min()} to {lists.values.max()}; the catalogue has "
                f"{self.num_items:,} items, from 0 on. They are of different data: preprocess again."
            )

    def _keys(self, lists: Lists) -> NDArray[np.int64]:
        """Returns one number a pair of row and item, ascending, each once."""
        rows = np.arange(len(lists.lengths))
        return _distinct(np.repeat(rows, lists.lengths) * self.num_items + lists.take(rows).values)

    def _lists(self, keys: NDArray[np.int64]) -> Lists:
        rows, items = np.divmod(keys, self.num_items)
        lengths = np.bincount(rows, minlength=self._num_users)
        return Lists(items, np.cumsum(lengths) - lengths, lengths)


def _distinct(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the numbers in ascending order, each once; `np.unique` of NumPy 2.4 hashes them, and takes twenty times as long."""
    ordered = np.sort(numbers)
    return ordered[np.diff(ordered, prepend=-1) > 0]
