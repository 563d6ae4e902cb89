"""What is counted of the training rows, while they are at hand: tokens for the vocabularies, and sketches of the numbers.

A shard's counts are a small file; those of all shards are merged, a table at a time, into the vocabulary files. No TensorFlow here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.io.filesystems import FileSystems

from feature_specs import FeatureSpec, Vocabulary
from feature_specs.features import AnyFeature, BucketizedFeature, NumericFeature, NumericSequenceFeature, SequenceFeature, TokenFeature
from preprocessing.packing import pack, unpack
from preprocessing.sketches import Histogram, Numbers
from preprocessing.staging import opened, read_batches, write_batches, write_table

# Finer than statistics need: ranks and buckets are computed from it.
QUANTILE_CELLS = 1 << 16
_COMPACT_ROWS = 1 << 20


def counted_features(spec: FeatureSpec) -> list[TokenFeature]:
    """Returns the features whose tokens make a vocabulary: not the histories, which only repeat those of their target."""
    histories = {feature.name for feature in spec.histories}

    def is_counted(feature: TokenFeature) -> bool:
        encoding = spec.tables.get(feature.table_name)  # one that is only crossed may have none
        return isinstance(encoding, Vocabulary) and not encoding.is_given and feature.name not in histories

    return [feature for feature in spec.token_features if is_counted(feature)]


def summarised_features(spec: FeatureSpec) -> list[NumericFeature | NumericSequenceFeature | BucketizedFeature]:
    """Returns the features of which the transform graph needs moments, extremes or quantiles."""
    return [f for f in spec.features if isinstance(f, NumericFeature | NumericSequenceFeature | BucketizedFeature)]


class Counter:
    """Counts the training rows of a shard."""

    def __init__(self, spec: FeatureSpec) -> None:
        self._features = counted_features(spec)
        self._parts: dict[str, list[pa.Table]] = {feature.name: [] for feature in self._features}
        # How often a feature has no value at all, for its default.
        self._empty = dict.fromkeys(self._parts, 0)
        self._summarised = summarised_features(spec)
        # For matching, how often each item comes.
        self._items: list[pa.Table] | None = [] if spec.is_matching else None
        self.numbers = {feature.name: empty_numbers(feature) for feature in self._summarised}

    def add(self, rows: pa.Table) -> None:
        """Adds raw examples with `_split`; those of the training split count."""
        train = rows["_split"].to_numpy() == 0
        if not train.any():
            return
        if not train.all():
            rows = rows.filter(pa.array(train))
        for feature in self._features:
            values, empty = cut_values(feature, rows)
            self._empty[feature.name] += empty
            add_counts(self._parts[feature.name], values)
        if self._items is not None:
            add_counts(self._items, rows["_item"].combine_chunks())
        for number in self._summarised:
            add_numbers(self.numbers[number.name], number, rows[number.name].combine_chunks())

    def write(self, folder: str, index: int) -> None:
        """Writes `counts/<index>.arrow`, one row with a list a feature, `numbers/<index>.arrow` and `items/counts-<index>.arrow`."""
        columns: dict[str, pa.Array] = {}
        for feature in self._features:
            counts = merged(self._parts[feature.name], pa.binary() if feature.dtype == "string" else pa.int64())
            for name in counts.column_names:
                values = counts[name].combine_chunks() if len(counts) else pa.array([], counts.schema.field(name).type)
                columns[f"{feature.name}.{name}"] = pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), values)
            columns[f"{feature.name}.empty"] = pa.array([self._empty[feature.name]], pa.int64())
        if columns:
            batch = pa.RecordBatch.from_pydict(columns)
            write_batches(f"{folder}/counts/{index:05d}.arrow", batch.schema, [batch])
        if self._items is not None:
            write_table(f"{folder}/items/counts-{index:05d}.arrow", merged(self._items))
        if self.numbers:
            write_table(f"{folder}/numbers/{index:05d}.arrow", pack(self.numbers))


def empty_numbers(feature: AnyFeature) -> list[Numbers]:
    """Returns a sketch for each number of a feature; a fine one where its quantiles are wanted."""
    wanted = getattr(feature, "scaling", None) == "quantile_normal" or getattr(feature, "quantiles", None)
    size = getattr(feature, "size", 1)
    return [Numbers(Histogram(limit=max(QUANTILE_CELLS // size, 4096)) if wanted else _NoHistogram()) for _ in range(size)]


class _NoHistogram(Histogram):
    """Takes the place of a histogram that nobody asks for."""

    def add(self, numbers: np.ndarray) -> None:
        """Does nothing."""

    def merge(self, other: Histogram) -> None:
        """Does nothing."""


def add_numbers(numbers: list[Numbers], feature: AnyFeature, column: pa.Array) -> None:
    """Adds a raw column: numbers, vectors, or lists of numbers, cut as the model sees them."""
    if isinstance(feature, NumericSequenceFeature):
        column = _cut_lists(column, feature.max_length, feature.keep)
    elif pa.types.is_fixed_size_list(column.type):
        column = column.flatten()
    values = column.to_numpy(zero_copy_only=False)
    for place, sketch in enumerate(numbers):
        own = values[place :: len(numbers)]
        # An infinity would make every mean infinite; it counts as missing, in the transform graph too.
        sketch.add(own[np.isfinite(own)])


def cut_values(feature: TokenFeature, rows: pa.Table) -> tuple[pa.Array, int]:
    """Returns the values [M] that a model sees of a raw column, those missing too, and in how many rows of lists there are none."""
    column = rows[feature.name].combine_chunks()
    if not feature.is_list:
        return column, 0
    empty = int(np.count_nonzero(np.diff(column.offsets.to_numpy()) == 0))
    keep = getattr(feature, "keep", "last")
    steps = rows[feature.steps_name].combine_chunks() if isinstance(feature, SequenceFeature) and feature.value_delimiter else None
    return _cut_lists(column, getattr(feature, "max_length", None), keep, steps), empty


def _cut_lists(lists: pa.ListArray, length: int | None, keep: str, steps: pa.ListArray | None = None) -> pa.Array:
    """Returns the values in the first or last `length` places, or steps, of each list."""
    flat, offsets = lists.flatten(), lists.offsets.to_numpy().astype(np.int64)
    offsets -= offsets[0]
    if length is None or not len(flat):
        return flat
    lengths = np.diff(offsets)
    place = np.arange(len(flat)) - np.repeat(offsets[:-1], lengths) if steps is None else steps.flatten().to_numpy()
    if keep == "first":
        return flat.filter(pa.array(place < length))
    last = np.zeros(len(lengths), np.int64)
    last[lengths > 0] = place[offsets[1:][lengths > 0] - 1]
    return flat.filter(pa.array(place > np.repeat(last, lengths) - length))


def add_counts(parts: list[pa.Table], values: pa.Array) -> None:
    """Adds the counts of `values` to partial counts; they are merged when they grow, so that memory follows the distinct values."""
    counted = pc.value_counts(values)
    parts.append(pa.table({"token": counted.field("values"), "count": counted.field("counts")}))
    # Merging only when the parts outgrow the total keeps the cost linear in the rows.
    if len(parts) > 1 and sum(map(len, parts[1:])) > max(_COMPACT_ROWS, len(parts[0])):
        parts[:] = [merged(parts)]


def merged(parts: Sequence[pa.Table], kind: pa.DataType | None = None) -> pa.Table:
    """Adds up partial counts: distinct tokens (of type `kind`; binary where there are no parts) and their `count`."""
    if not parts:
        return pa.table({"token": pa.array([], kind or pa.binary()), "count": pa.array([], pa.int64())})
    if len(parts) == 1:
        return parts[0]
    summed = pa.concat_tables(parts).group_by("token", use_threads=False).aggregate([("count", "sum")])
    return pa.table({"token": summed["token"].combine_chunks(), "count": summed["count_sum"].combine_chunks()})


def read_counts(paths: Iterable[str], feature: TokenFeature) -> tuple[pa.Table, int]:
    """Adds up the counts of one feature over all shards; also in how many rows of lists there is no value."""
    parts: list[pa.Table] = []
    empty = 0
    for path in paths:
        with opened(path, [f"{feature.name}.{name}" for name in ("token", "count", "empty")]) as reader:
            batch = reader.get_batch(0)
        empty += batch.column(f"{feature.name}.empty")[0].as_py()
        parts.append(pa.table({name: batch.column(f"{feature.name}.{name}").flatten() for name in ("token", "count")}))
        if len(parts) > 1 and sum(map(len, parts[1:])) > max(_COMPACT_ROWS, len(parts[0])):
            parts = [merged(parts)]
    return merged(parts, pa.binary() if feature.dtype == "string" else pa.int64()), empty


def read_numbers(spec: FeatureSpec, paths: Iterable[str]) -> dict[str, list[Numbers]]:
    """Merges the sketches of the numbers of all shards, by feature."""
    features = summarised_features(spec)
    total = {feature.name: empty_numbers(feature) for feature in features}
    for path in paths if features else ():
        part = {feature.name: empty_numbers(feature) for feature in features}
        unpack(pa.Table.from_batches(read_batches(path)), part)
        for name, sketches in total.items():
            for mine, theirs in zip(sketches, part[name], strict=True):
                mine.merge(theirs)
    return total


def merged_counts(tables: Iterable[pa.Table]) -> pa.Table:
    """Adds up tables of `token` and `count`, so that memory follows the distinct tokens."""
    parts: list[pa.Table] = []
    for table in tables:
        parts.append(table)
        if len(parts) > 1 and sum(map(len, parts[1:])) > max(_COMPACT_ROWS, len(parts[0])):
            parts = [merged(parts)]
    return merged(parts)


def ordered_vocabulary(counts: pa.Table, encoding: Vocabulary) -> pa.Array:
    """Returns the tokens of a vocabulary, binary, in the order of their ids: by count, then by bytes, both descending."""
    tokens = counts["token"].combine_chunks()
    # What one line of a text file cannot hold is out of the vocabulary, as in TF-Transform.
    writable = pc.and_not(pc.greater(pc.binary_length(tokens), 0), _has_line_end(tokens))
    kept = counts.filter(pc.and_(writable, pc.greater_equal(counts["count"].combine_chunks(), encoding.min_count)))
    order = pc.sort_indices(kept, sort_keys=[("count", "descending"), ("token", "descending")])
    return kept["token"].combine_chunks().take(order[: encoding.max_size])


def count_line_ends(counts: pa.Table) -> int:
    """Returns how many values have a line end, and so are out of the vocabulary however frequent they are."""
    return pc.sum(counts["count"].filter(_has_line_end(counts["token"])), min_count=0).as_py()


def _has_line_end(tokens: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return pc.or_(pc.match_substring(tokens, "\n"), pc.match_substring(tokens, "\r"))


def write_lines(path: str | Path, tokens: pa.Array) -> None:
    """Writes tokens, one a line."""
    lines = pc.binary_join_element_wise(tokens, pa.scalar(b"", pa.binary()), pa.scalar(b"\n", pa.binary()))
    data = lines.buffers()[2]
    offsets = np.frombuffer(lines.buffers()[1], np.int32)[lines.offset : lines.offset + len(lines) + 1] if len(lines) else [0, 0]
    with FileSystems.create(str(path), compression_type="uncompressed") as stream:
        stream.write(memoryview(data)[offsets[0] : offsets[-1]] if data is not None else b"")
