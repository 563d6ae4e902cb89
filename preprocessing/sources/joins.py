"""Side tables: read whole, checked, kept as Arrow files, and looked up by key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from feature_specs import ColonnadeError, FeatureSpec, Join
from feature_specs.errors import did_you_mean
from preprocessing.negatives import resampled
from preprocessing.sources.casting import cast
from preprocessing.sources.ranges import Range
from preprocessing.sources.tables import read
from preprocessing.splits import hashes_whole_rows
from preprocessing.staging import read_batches, write_table


@dataclass(frozen=True)
class SideTable:
    """A side table in the staging folder; every column is binary and keys are unique."""

    path: str
    key: str


def wanted_columns(spec: FeatureSpec, available: Sequence[Sequence[str]]) -> list[list[str]]:
    """Returns which columns to read from the rows and from each side table; the first table that has a column gives it.

    Args:
        spec: The data set.
        available: Columns of the rows, then of each side table.

    Raises:
        ColonnadeError: No table has a column that the spec names.
    """
    rows = list(dict.fromkeys(available[0])) if hashes_whole_rows(spec.split) else []
    wanted: list[list[str]] = [rows, *([join.key] for join in spec.source.joins)]
    for column in resampled(spec):
        _require(column, available[0], "negatives (in the rows, not in a side table)")
    for place, join in enumerate(spec.source.joins, start=1):
        _require(join.key, [*available[place]], f"the key of the side table {join.table.files!r}")
        _require(join.key, [c for columns in available[:place] for c in columns], f"the join with {join.table.files!r}")
    everything = [column for columns in available for column in columns]
    for column in (*spec.column_types, *(join.key for join in spec.source.joins)):
        _require(column, everything, _reader(spec, column))
        owner = next(columns for columns, has in zip(wanted, available, strict=True) if column in has)
        if column not in owner:
            owner.append(column)
    if spec.is_matching:
        _check_sides(spec, available)
    return wanted


def _check_sides(spec: FeatureSpec, available: Sequence[Sequence[str]]) -> None:
    """Refuses features on the wrong side: what a table of items holds would tell the user's side the item that is to be found."""
    keys: dict[str, str] = {}
    for key, columns in zip(["", *(join.key for join in spec.source.joins)], available, strict=True):
        keys.update({column: key for column in columns if column not in keys})
    for feature in spec.read_features:
        on_item_side, key = feature.name in spec.item_names, keys[feature.raw_column]
        if key == spec.keys.item and not on_item_side:
            raise ColonnadeError(
                f"Feature {feature.name!r} is read from the side table of {key!r}, the items, and is not in item_features: the user's side "
                f"would be told the item. Add {feature.name!r} to item_features."
            )
        if key == spec.keys.user and on_item_side and feature.raw_column != spec.keys.item:
            raise ColonnadeError(
                f"Feature {feature.name!r} is read from the side table of {key!r}, the users, and is in item_features. Leave it out there."
            )


def _require(column: str, available: Sequence[str], reader: str) -> None:
    if column not in available:
        hint = did_you_mean(column, available)
        if len(available) == 1 and column in re.split(r"\W+", available[0]):
            hint = " It has one column: say which `delimiter` its table has, in the `source` of the spec."
        raise ColonnadeError(
            f"The input has no column {column!r}, which {reader} needs.{hint} Columns: {', '.join(dict.fromkeys(available))}."
        )


def _reader(spec: FeatureSpec, column: str) -> str:
    names = [repr(feature.name) for feature in spec.read_features if feature.raw_column == column]
    if names:
        return f"feature {' and '.join(names)}"
    if column in (spec.label.column, spec.label.weight):
        return "the label" if column == spec.label.column else "label.weight"
    return "split.by" if column in getattr(spec.split, "by", ()) else "a key"


def store(join: Join, ranges: Sequence[Range], wanted: Sequence[str], path: str) -> SideTable:
    """Reads a side table and keeps it at `path`.

    Raises:
        ColonnadeError: A line has another number of values, or two lines have the same key.
    """
    parts = []
    for source in ranges:
        parsed = read(source, wanted)
        for number, reason in sorted(parsed.ragged.items()):
            line, _ = next(parsed.locate([number]))
            raise ColonnadeError(f"Side table {source.path!r}, line {line}: {reason}. Mend or remove the line.")
        parts.append(parsed.table)
    table = pa.concat_tables(parts).combine_chunks()
    keys, invalid = cast(table[join.key].combine_chunks(), "string")
    if invalid.any():
        raise ColonnadeError(f"Side table {ranges[0].path!r} has lists in the column {join.key!r}. Give one key a row.")
    table = table.set_column(table.column_names.index(join.key), join.key, keys)
    # An empty key means a missing one, and missing never equals missing.
    table = table.filter(pc.greater(pc.binary_length(table[join.key]), 0)).combine_chunks()
    if len(table) == 0:
        raise ColonnadeError(f"Side table {ranges[0].path!r} has no rows.")
    counts = pc.value_counts(table[join.key])
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        key = repeated.field("values")[0].as_py().decode("utf-8", errors="replace")
        raise ColonnadeError(
            f"Side table {ranges[0].path!r} has {repeated.field('counts')[0]} rows with {join.key} {key!r} ({len(repeated)} keys are "
            "repeated). Keys of a side table should be unique: remove the duplicates."
        )
    write_table(path, table)
    return SideTable(path, join.key)


@lru_cache(maxsize=8)
def _load(path: str) -> pa.Table:
    return pa.Table.from_batches(read_batches(path)).combine_chunks()


def join_all(columns: Mapping[str, pa.Array], sides: Sequence[SideTable]) -> dict[str, pa.Array]:
    """Adds the columns of the side tables to those of the rows; null where the key is unknown."""
    joined = dict(columns)
    for side in sides:
        table = _load(side.path)
        place = pc.index_in(cast(joined[side.key], "string")[0], value_set=table[side.key])
        for name in table.column_names:
            joined.setdefault(name, table[name].combine_chunks().take(place))
    return joined
