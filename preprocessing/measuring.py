"""Collects the summaries of all features while rows pass.

Tokens are known by their ids where a vocabulary or a range has them, and by a hash of themselves elsewhere; so most columns are summarised
without touching a string.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_specs import FeatureSpec
from feature_specs.features import (
    AnyFeature,
    BucketizedFeature,
    CrossedFeature,
    Extract,
    Hour,
    Identity,
    MultiValuedFeature,
    NumericFeature,
    NumericSequenceFeature,
    Prefix,
    SequenceFeature,
    TokenFeature,
    Vocabulary,
    Weekday,
)
from preprocessing.extraction import extracted
from preprocessing.hashing import hash_rows, mixed
from preprocessing.packing import pack, unpack
from preprocessing.sketches import CAPACITY, Numbers, summed
from preprocessing.sources.casting import is_missing
from preprocessing.summaries import Summary, cells_of, empty, has_own_cells, is_by_token

LABEL = "label"
# Bytes of a token by which frequent ones are told apart.
LONGEST_TOKEN = 256
_OF_IDS = np.uint64(0x5851F42D4C957F2D)
_SECONDS_A_DAY = 24 * 60 * 60


class SplitSummary:
    """Every feature, and the label, in one split.

    Args:
        spec: The data set.
        table_rows: Rows of each embedding table.
        keep_outside: Whether to count the values outside of vocabularies too.
    """

    def __init__(self, spec: FeatureSpec, table_rows: Mapping[str, int], keep_outside: bool = False) -> None:
        self._spec = spec
        # Asked for once: the spec works them out from all features.
        self._tables = spec.tables
        self._by_token = {feature.name for feature in spec.features if is_by_token(self._tables, feature)}
        self._keep_outside = keep_outside
        self._rows = table_rows
        self.features = {feature.name: empty(feature) for feature in spec.features}
        self.label = Numbers()

    def add(self, raw: pa.RecordBatch, transformed: pa.RecordBatch, features: Iterable[AnyFeature] | None = None) -> None:
        """Adds rows, raw and transformed; of all features, or of some."""
        for feature in self._spec.features if features is None else features:
            into = self.features[feature.name]
            into.rows += len(raw)
            if isinstance(feature, NumericFeature):
                _add_numbers(into, feature, raw.column(feature.name))
            elif isinstance(feature, NumericSequenceFeature):
                _add_lists(into, feature, raw, transformed)
                given, kept = raw.column(feature.name), transformed.column(feature.name)
                _add_present(into, _origins(feature, given, kept, np.arange(len(kept.flatten()))))
            else:
                self._add_ids(into, feature, raw, transformed)
        if LABEL in raw.schema.names:
            self.label.add(_present(raw.column(LABEL)))

    def _add_ids(self, into: Summary, feature: Any, raw: pa.RecordBatch, transformed: pa.RecordBatch) -> None:  # noqa: ANN401 (any kind)
        single = None if feature.is_list or isinstance(feature, CrossedFeature) else raw.column(feature.name)
        missing = None if single is None else is_missing(single)
        if isinstance(feature, BucketizedFeature):
            _add_present(into, raw.column(feature.name))
        if feature.only_crossed:
            values = raw.column(feature.name)
            into.missing += int(np.count_nonzero(np.diff(values.offsets) == 0 if missing is None else missing))
            if isinstance(feature, TokenFeature):
                tokens = values.flatten() if missing is None else values.filter(pa.array(~missing))
                into.values += len(tokens)
                _add_tokens(into, feature, tokens)
            return
        column = transformed.column(feature.name)
        ids = (column.flatten() if feature.is_list else column).to_numpy(zero_copy_only=False)
        if feature.is_list:
            _add_lists(into, feature, raw, transformed)
        else:
            into.missing += int(np.count_nonzero(ids == 0 if missing is None else missing))
        encoding = self._tables.get(feature.table_name)
        rows = self._rows.get(feature.table_name, 0)
        # Rows for what is outside of the vocabulary or range are the last ones.
        beyond = encoding.num_oov_buckets if isinstance(encoding, Vocabulary) else int(isinstance(encoding, Identity))
        outside = np.flatnonzero(ids >= rows - beyond) if beyond else np.zeros(0, np.int64)
        inside = ids if not len(outside) else ids[ids < rows - beyond]
        inside = inside[inside > 0] if (inside == 0).any() else inside
        unknown = 0
        if isinstance(encoding, Vocabulary) and encoding.num_oov_buckets == 0 and missing is not None:
            # Without a row of their own they are as good as missing, but they were there.
            unknown = int(np.count_nonzero((ids == 0) & ~missing))
        into.values += len(inside) + len(outside) + unknown
        into.oov += len(outside) + unknown
        into.cells += np.bincount(cells_of(inside, encoding), minlength=CAPACITY)
        if feature.name in self._by_token:
            _add_tokens(into, feature, _origins(feature, raw.column(feature.name), column, np.flatnonzero(ids)))
            return
        if isinstance(feature, BucketizedFeature):
            return
        into.distinct.add(mixed(inside.view(np.uint64) ^ _OF_IDS))
        if len(outside) and isinstance(feature, TokenFeature):
            values, counts = _counted(feature, _origins(feature, raw.column(feature.name), column, outside))
            into.distinct.add(hashes_of(values), counts)
            if self._keep_outside:
                into.outside.add(*_shortened(values, counts))
        if not has_own_cells(encoding, rows):
            counted = pc.value_counts(pa.array(inside))
            into.frequent.add(counted.field("values"), counted.field("counts").to_numpy())

    def merge(self, other: SplitSummary) -> None:
        """Adds everything that `other` holds."""
        for name, summary in self.features.items():
            summary.merge(other.features[name])
        self.label.merge(other.label)

    def to_table(self) -> pa.Table:
        """Returns everything as a table, which `take` reads."""
        return pack({LABEL: self.label, "features": self.features})

    def take(self, table: pa.Table) -> None:
        """Replaces everything by what `to_table` returned."""
        unpack(table, {LABEL: self.label, "features": self.features})


def _present(values: pa.Array) -> np.ndarray:
    numbers = values.to_numpy(zero_copy_only=False)
    finite = np.isfinite(numbers)
    return numbers if finite.all() else numbers[finite]


def _add_present(into: Summary, values: pa.Array) -> None:
    numbers = _present(values)
    into.numbers[0].add(numbers)
    into.distinct.add(mixed((numbers + np.float32(0)).view(np.uint32).astype(np.uint64)))


def _add_numbers(into: Summary, feature: NumericFeature, column: pa.Array) -> None:
    numbers = (column if feature.size == 1 else column.flatten()).to_numpy(zero_copy_only=False).reshape(-1, feature.size)
    finite = np.isfinite(numbers)
    into.missing += int(np.count_nonzero(~finite.all(axis=1)))
    if feature.size == 1:
        _add_present(into, column)
        return
    for place, element in enumerate(into.numbers):
        element.add(numbers[finite[:, place], place])


def _add_lists(into: Summary, feature: Any, raw: pa.RecordBatch, transformed: pa.RecordBatch) -> None:  # noqa: ANN401 (any kind of list)
    stepped = isinstance(feature, SequenceFeature) and feature.value_delimiter is not None
    name = feature.steps_name if stepped else feature.name
    lengths = _lengths(transformed.column(name), stepped)
    into.missing += int(np.count_nonzero(lengths == 0))
    into.lengths.add(lengths.astype(np.float32))
    if not isinstance(feature, CrossedFeature):
        into.cut += int(np.count_nonzero(_lengths(raw.column(name), stepped) > lengths))
    if isinstance(feature, MultiValuedFeature) and feature.weights:
        into.weights.add(_present(transformed.column(feature.weights_name).flatten()))


def _lengths(column: pa.ListArray, stepped: bool) -> np.ndarray:
    offsets = column.offsets.to_numpy()
    if not stepped:
        return np.diff(offsets)
    # The number of the last step, plus one.
    steps = np.append(column.flatten().to_numpy(), -1)
    return np.where(np.diff(offsets) > 0, steps[offsets[1:] - offsets[0] - 1] + 1, 0)


def _origins(feature: Any, raw: pa.Array, transformed: pa.Array, places: np.ndarray) -> pa.Array:  # noqa: ANN401 (any kind of list)
    """Returns the raw values behind transformed ones, given by their places among all values of a batch.

    Lists may have been cut, on either side, or filled with a default; what has no raw value is left out.
    """
    if not feature.is_list:
        values = raw.take(pa.array(places))
        return values.filter(pa.array(~is_missing(values)))
    theirs, mine = (column.offsets.to_numpy().astype(np.int64) for column in (raw, transformed))
    theirs, mine = theirs - theirs[0], mine - mine[0]
    row = np.searchsorted(mine, places, side="right") - 1
    if getattr(feature, "keep", "first") == "first":
        origin = theirs[row] + places - mine[row]
    else:
        origin = theirs[row + 1] + places - mine[row + 1]
    return raw.flatten().take(pa.array(origin[(origin >= theirs[row]) & (origin < theirs[row + 1])]))


def _add_tokens(into: Summary, feature: TokenFeature, tokens: pa.Array) -> None:
    values, counts = _counted(feature, tokens)
    hashes = hashes_of(values)
    into.distinct.add(hashes, counts)
    into.frequent.add(*_shortened(values, counts))
    if feature.only_crossed:
        # It has no ids.
        cells = 1 + (hashes % np.uint64(CAPACITY - 1)).astype(np.int64)
        into.cells += np.bincount(cells, weights=counts, minlength=CAPACITY).astype(np.int64)


def _counted(feature: TokenFeature, tokens: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Returns the different values that the table sees, and how often."""
    counted = pc.value_counts(tokens)
    values, counts = counted.field("values"), counted.field("counts").to_numpy()
    if feature.derive is None:
        return values, counts
    if isinstance(feature.derive, Prefix):
        values = pc.binary_slice(values, 0, feature.derive.length)
    elif isinstance(feature.derive, Extract):
        values = extracted(feature.derive, values)
    else:
        seconds = values.to_numpy()
        hours, days = seconds % _SECONDS_A_DAY // 3600, (seconds // _SECONDS_A_DAY + 3) % 7
        values = pa.array({Hour: hours, Weekday: days}[type(feature.derive)])
    return summed(values, counts)


def _shortened(values: pa.Array, counts: np.ndarray) -> tuple[pa.Array, np.ndarray]:
    """Cuts giant tokens, of which thousands would not fit in memory."""
    if pa.types.is_integer(values.type) or (pc.max(pc.binary_length(values)).as_py() or 0) <= LONGEST_TOKEN:
        return values, counts
    return summed(pc.binary_slice(values, 0, LONGEST_TOKEN), counts)


def hashes_of(values: pa.Array) -> np.ndarray:
    """Returns the hashes, uint64 [N], by which different values are told apart."""
    return mixed(values.to_numpy().view(np.uint64)) if pa.types.is_integer(values.type) else hash_rows([values])

