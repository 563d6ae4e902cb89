"""Training batches of matching models: windows of users' sequences with negatives, cut in the graph, from any position of an epoch.

An epoch shuffles the blocks of the shards (usually there is one), and the examples of each; its batches end where a block ends. Of a block
the graph gets flat arrays and cuts each batch by itself. Chance comes from (seed, epoch, block, batch), so a resumed epoch goes on exactly
as it would have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs.errors import ColonnadeError
from feature_specs.spec import FeatureSpec
from trainer.data import shape_of
from trainer.matching.blocks import Blocks
from trainer.matching.sampling import ItemDistribution, NegativeSampling, seen_in_batch
from trainer.pipelines import untuned

if TYPE_CHECKING:
    from trainer.matching.catalogue import Catalogue

_OWN, _SHARED = 0, 1


class _Windows(NamedTuple):
    """Of each example its user's row, and where in the items of all users its history and its positives begin, and how many; `[B]` each."""

    rows: tf.Tensor
    history: tf.Tensor
    history_lengths: tf.Tensor
    positives: tf.Tensor
    positive_lengths: tf.Tensor


class InteractionBatches:
    """Batches `(features, targets)` of the training split of a matching data directory.

    Features are the user-side columns, as `trainer.data` gives them, and the history: item ids `[B, T]`, right-padded with 0 to the longest
    of the batch, most recent last. Targets are item numbers, int32: `positives` `[B, P]` (-1 is padding), `negatives` `[B, P, n]` (drawn
    beside padding too), `shared` `[N]`, and where asked for `seen_in_batch`, bool `[B, B]`: whether row i's user has the positive of row j
    anywhere in training.

    "pairs": an example is a place in a user's sequence. The positives are the item there and the P - 1 after it, padded where the sequence
    ends; the history is the up to `max_length` items before it. Each place is an example, but where a history is read a user's first place
    has none and is left out. (With P > 1 Caser's published code takes windows of full length alone, and one padded window of a shorter
    sequence; here shorter windows at both ends of a sequence are examples too.)

    "sequences": an example is a user with two interactions or more. The history is all but the last item, the positives all but the first,
    both cut to the last `max_length`: P = T.

    Args:
        shards: `train-*.parquet`.
        spec: Of the data set.
        catalogue: Its items.
        batch_size: Examples of a batch; the last of a block may be smaller.
        examples: What an example is.
        max_length: Of a history; 0 reads none.
        num_targets: P of pairs.
        negatives: What is drawn; nothing where not given.
        seed: Of order and negatives.
        block_interactions: Held in memory, and twice as many where there is more than one block; at most 2^24.

    Attributes:
        num_batches: Of an epoch.
        num_rows: Examples of an epoch.
        num_examples: Positives and negatives of their own of an epoch, without padding.
        distribution: What negatives are drawn from; its `log_q` corrects sampled softmax.
        element_spec: Types of a batch.

    Raises:
        ColonnadeError: A shard cannot be read, lacks a column or does not fit the catalogue; there is no example at all; a history is to be
            read and the spec has none.
    """

    def __init__(
        self,
        shards: Sequence[Path],
        spec: FeatureSpec,
        catalogue: Catalogue,
        *,
        batch_size: int,
        examples: Literal["pairs", "sequences"] = "pairs",
        max_length: int = 0,
        num_targets: int = 1,
        negatives: NegativeSampling | None = None,
        seed: int = 0,
        block_interactions: int = 1 << 24,
    ) -> None:
        self.batch_size, self.max_length, self.num_targets, self.seed = batch_size, max_length, num_targets, seed
        self.negatives, self._sequences = negatives or NegativeSampling(), examples == "sequences"
        self._check(spec, block_interactions)
        self._history = spec.history.name if max_length and spec.history else None
        self._columns = [column for feature in spec.features if feature.name in spec.user_names for column in feature.outputs]
        self._paddings = spec.paddings
        self._blocks = Blocks(shards, self._columns, catalogue.num_items, block_interactions, self._count)
        self.distribution = ItemDistribution(catalogue.counts, self.negatives.alpha, self._blocks.max_users)
        self._batches = [-(-examples // batch_size) for examples in self._blocks.examples]
        self.num_rows, self.num_batches = sum(self._blocks.examples), sum(self._batches)
        self.num_examples = self._blocks.positives * (1 + self.negatives.per_positive)
        if self.num_rows == 0:
            names = ", ".join(path.name for path in shards) or "no shards"
            least = "two interactions" if max_length else "an interaction"
            raise ColonnadeError(f"There is nothing to train on in {names}: no user has {least}. Check the split and rejected-*.jsonl.")
        self.element_spec = self._element_spec()
        self._ids = tf.constant(catalogue.ids, tf.int64)
        self._cut_once_traced = tf.function(self._cut, autograph=False)
        self._only_block: dict[str, Any] | None = None

    def dataset(self, epoch: int = 0, start_batch: int = 0) -> tf.data.Dataset:
        """Returns the batches of one epoch from `start_batch` on."""
        if len(self._blocks) == 1 and start_batch < self.num_batches:
            # Without a dataset of blocks around it an epoch begins twice as fast, which shows where it has few batches.
            only = tf.nest.map_structure(tf.convert_to_tensor, next(self._shuffled(epoch, start_batch)))
            return untuned(self._batches_of(only).prefetch(4))
        blocks = tf.data.Dataset.from_generator(lambda: self._shuffled(epoch, start_batch), output_signature=self._block_spec())
        return untuned(blocks.prefetch(1).flat_map(self._batches_of).prefetch(4))

    @contextmanager
    def errors_of_reading(self) -> Iterator[None]:
        """Inside, an error of reading a shard comes as it was raised, not wrapped in one of TensorFlow's."""
        try:
            yield
        except tf.errors.OpError as error:
            if self._blocks.failure is None:
                raise
            raise self._blocks.failure from error

    def _check(self, spec: FeatureSpec, block_interactions: int) -> None:
        if self._sequences and (not self.max_length or self.num_targets != 1):
            raise ValueError(
                "Sequences should have a max_length of 1 or more, and num_targets 1: their positives are as many as the history."
            )
        if self.negatives.seen_in_batch and (self._sequences or self.num_targets > 1):
            raise ValueError("`seen_in_batch` is for pairs with one target.")
        if not 0 < block_interactions <= 1 << 24:
            raise ValueError(f"block_interactions should be between 1 and 2^24. Received: {block_interactions}.")
        if self.max_length and spec.history is None:
            raise ColonnadeError(
                f"The model reads the user's history, and the spec {spec.name!r} has none. "
                f"Add a sequence feature with `history_of: {spec.item_feature.name}` and the same table."
            )

    def _count(self, lengths: NDArray) -> tuple[int, int]:
        """Returns the number of examples in sequences of these lengths, and of their positives."""
        if self._sequences:
            return int((lengths > 1).sum()), int(np.clip(lengths - 1, 0, self.max_length).sum())
        places = np.maximum(lengths - (1 if self.max_length else 0), 0)
        # From the last place back, the examples have 1, 2, ..., P, P, ... positives.
        short = np.minimum(places, self.num_targets)
        return int(places.sum()), int((short * (short + 1) // 2 + (places - short) * self.num_targets).sum())

    def _shuffled(self, epoch: int, start_batch: int) -> Iterator[dict[str, Any]]:
        """Yields the epoch's blocks from the one with batch `start_batch` on, each with its order and the batches to cut."""
        before = 0
        for number in np.random.default_rng([self.seed, epoch]).permutation(len(self._blocks)).tolist():
            after = before + self._batches[number]
            if after > start_batch:
                block = self._read(number)
                dice = np.random.default_rng([self.seed, epoch, number])
                order = block["examples"][dice.permutation(len(block["examples"]))]
                range_of = np.array([max(start_batch - before, 0), self._batches[number]])
                rest = {name: part for name, part in block.items() if name != "examples"}
                yield {**rest, "order": order.astype(np.int32), "key": dice.integers(2**63 - 1), "batches": range_of}
            before = after

    def _read(self, number: int) -> dict[str, Any]:
        """Returns a block and what is made of it; where there is only one it stays in memory."""
        if self._only_block is not None:
            return self._only_block
        block = self._blocks.read(number)
        starts, items = block["starts"], block["items"]
        lengths = np.diff(starts)
        if self._sequences:
            block["examples"] = np.flatnonzero(lengths > 1)
        else:
            block["row_of"] = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
            is_first = np.arange(len(items)) == starts[block["row_of"]]
            block["examples"] = np.flatnonzero(~is_first) if self.max_length else np.arange(len(items))
        if self._excludes:
            block["seen"] = self.distribution.seen_items(starts, items)
        if len(self._blocks) == 1:
            self._only_block = block
        return block

    @property
    def _excludes(self) -> bool:
        return self.negatives.exclude_seen and self.negatives.per_positive > 0

    def _batches_of(self, block: dict[str, Any]) -> tf.data.Dataset:
        numbers = tf.data.Dataset.range(block["batches"][0], block["batches"][1])
        return numbers.map(lambda number: self._cut_once_traced(block, number), num_parallel_calls=tf.data.AUTOTUNE)

    def _cut(self, block: dict[str, Any], number: tf.Tensor) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Returns batch `number` of a block."""
        chosen = tf.cast(block["order"][number * self.batch_size : (number + 1) * self.batch_size], tf.int64)
        windows = self._windows_of_sequences(block, chosen) if self._sequences else self._windows_of_pairs(block, chosen)
        features = {}
        for column in self._columns:
            values = block["columns"][column.name]
            if column.layout == "list":
                starts = tf.gather(values["starts"], windows.rows)
                lengths = tf.gather(values["starts"], windows.rows + 1) - starts
                features[column.name] = _padded(values["values"], starts, lengths, self._paddings[column.name])
            else:
                features[column.name] = tf.gather(values, windows.rows)
        if self._history:
            numbers = _padded(block["items"], windows.history, windows.history_lengths, -1)
            features[self._history] = tf.where(numbers < 0, tf.zeros([], tf.int64), tf.gather(self._ids, tf.maximum(numbers, 0)))
        width = None if self._sequences else self.num_targets
        positives = _padded(block["items"], windows.positives, windows.positive_lengths, -1, width)
        return features, {"positives": positives, **self._drawn(block, number, windows.rows, positives)}

    def _windows_of_pairs(self, block: dict[str, Any], places: tf.Tensor) -> _Windows:
        rows = tf.cast(tf.gather(block["row_of"], places), tf.int64)
        lengths = tf.minimum(places - tf.gather(block["starts"], rows), self.max_length)
        left = tf.gather(block["starts"], rows + 1) - places
        return _Windows(rows, places - lengths, lengths, places, tf.minimum(left, self.num_targets))

    def _windows_of_sequences(self, block: dict[str, Any], rows: tf.Tensor) -> _Windows:
        ends = tf.gather(block["starts"], rows + 1)
        lengths = tf.minimum(ends - tf.gather(block["starts"], rows) - 1, self.max_length)
        return _Windows(rows, ends - 1 - lengths, lengths, ends - lengths, lengths)

    def _drawn(self, block: dict[str, Any], number: tf.Tensor, rows: tf.Tensor, positives: tf.Tensor) -> dict[str, tf.Tensor]:
        each, shape = self.negatives.per_positive, tf.shape(positives)
        drawn = {"negatives": tf.zeros([shape[0], shape[1], 0], tf.int32), "shared": tf.zeros([0], tf.int32)}
        if each:
            negatives = self.distribution.draw(rows, shape[1] * each, tf.stack([block["key"], 2 * number + _OWN]), block.get("seen"))
            drawn["negatives"] = tf.reshape(negatives, [shape[0], shape[1], each])
        if self.negatives.shared:
            drawn["shared"] = self.distribution.draw_shared(self.negatives.shared, tf.stack([block["key"], 2 * number + _SHARED]))
        if self.negatives.seen_in_batch:
            drawn["seen_in_batch"] = seen_in_batch(block["starts"], block["items"], rows, positives[:, 0], len(self._ids))
        return drawn

    def _block_spec(self) -> dict[str, Any]:
        small, large = tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.int64)
        columns: dict[str, Any] = {}
        for column in self._columns:
            dtype = tf.as_dtype(column.dtype)
            lists = {"values": tf.TensorSpec([None], dtype), "starts": large}
            columns[column.name] = lists if column.layout == "list" else tf.TensorSpec(shape_of(column), dtype)
        extra: dict[str, Any] = {} if self._sequences else {"row_of": small}
        if self._excludes:
            extra["seen"] = self.distribution.seen_spec
        scalars = {"key": tf.TensorSpec([], tf.int64), "batches": tf.TensorSpec([2], tf.int64)}
        return {"items": small, "starts": large, "order": small, "columns": columns, **extra, **scalars}

    def _element_spec(self) -> tuple[dict[str, tf.TensorSpec], dict[str, tf.TensorSpec]]:
        features = {column.name: tf.TensorSpec(shape_of(column), tf.as_dtype(column.dtype)) for column in self._columns}
        if self._history:
            features[self._history] = tf.TensorSpec([None, None], tf.int64)
        width = None if self._sequences else self.num_targets
        shapes = {"positives": [None, width], "negatives": [None, width, self.negatives.per_positive], "shared": [self.negatives.shared]}
        targets = {name: tf.TensorSpec(shape, tf.int32) for name, shape in shapes.items()}
        if self.negatives.seen_in_batch:
            targets["seen_in_batch"] = tf.TensorSpec([None, None], tf.bool)
        return features, targets


def _padded(values: tf.Tensor, starts: tf.Tensor, lengths: tf.Tensor, padding: float, width: int | None = None) -> tf.Tensor:
    """Returns `lengths` values from `starts` on, `[B, T]`, padded on the right to `width` or the longest."""
    steps = tf.range(tf.reduce_max(lengths) if width is None else tf.constant(width, tf.int64))
    there = steps < lengths[:, None]
    found = tf.gather(values, tf.where(there, starts[:, None] + steps, tf.zeros([], tf.int64)))
    return tf.where(there, found, tf.constant(padding, values.dtype))
