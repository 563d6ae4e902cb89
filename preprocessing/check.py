"""Compares new raw data with the data that a data directory was made of, before it is trained on or scored.

`python -m preprocessing.check --data_dir data/movielens_100k --input new.csv`
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from feature_specs import ColonnadeError, FeatureSpec, Label, RandomSplit
from feature_specs.command import CommandParser, load_tensorflow, run_command
from feature_specs.features import Feature
from feature_specs.sources import JsonLinesTable, ParquetTable, Source, Table, TextTable, TFRecordTable
from feature_specs.spec import Keys
from preprocessing.anomalies import Skipped, Thresholds, of_features, of_label, of_rejected
from preprocessing.artifacts import DataDirectory
from preprocessing.measuring import SplitSummary
from preprocessing.progress import advance, keep_quiet, stage
from preprocessing.statistics import SKETCHES, Names, read_sketches

_FLAT_FORMATS: dict[str, Table] = {
    ".parquet": ParquetTable(),
    ".jsonl": JsonLinesTable(),
    ".ndjson": JsonLinesTable(),
    ".tfrecord": TFRecordTable(),
}
_HELP = {
    "max_rejected_fraction": "anomaly above this share of rows that cannot be read",
    "max_invalid": "anomaly above this share of values of another type in a column",
    "max_new_tokens": "anomaly above this share of values in no training row, beyond the share that unseen rows have anyway",
    "max_missing_increase": "anomaly where the share of missing values grows by more",
    "max_out_of_range": "anomaly above this share of numbers beyond the training range and its margin",
    "range_margin": "how far beyond the training range a number may be, as a share of the width of that range",
    "max_label_change": "anomaly where the share of positive labels changes by more",
    "max_js": "anomaly above this Jensen-Shannon divergence (base 2) of a feature from the training rows",
    "max_linf": "anomaly where the share of one value, or of a tenth of the numbers, changes by more",
}


@dataclass
class Findings:
    """What a check has found.

    Attributes:
        rows: How many rows were "in", "out" and "rejected".
        anomalies: A line each.
        notes: What was not compared, and why.
        compared: How many features were.
    """

    rows: dict[str, int]
    anomalies: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    compared: int = 0


def parser() -> CommandParser:
    """Returns the parser of this program's flags."""
    flags = CommandParser(
        "python -m preprocessing.check",
        "Compares new raw data, in the data set's own layout or as flat files with all raw columns, with what DATA_DIR was made of. Prints "
        "a line for each anomaly and exits with status 1 if there is one. Shares are judged with allowance for chance: three standard "
        "deviations for so many rows. Nothing is written.",
    )
    flags.add_argument("--data_dir", required=True, metavar="DATA_DIR", help="a finished data directory")
    flags.add_argument("--input", required=True, nargs="+", metavar="GLOB", help="raw files, folders or quoted globs")
    for name in Thresholds.names():
        flags.add_argument(f"--{name}", type=float, default=getattr(Thresholds, name), metavar="SHARE", help=_HELP[name])
    return flags


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    parsed = parser().parse_all(arguments)
    limits = Thresholds(**{name: getattr(parsed, name) for name in Thresholds.names()})
    data = DataDirectory.open(parsed.data_dir)
    print(f"Comparing {' '.join(parsed.input)} with {data.path} ({data.spec.name}).")
    keep_quiet()
    found = check(data, parsed.input, limits)
    for note in found.notes:
        print(f"note: {note}")
    for anomaly in found.anomalies:
        print(f"anomaly: {anomaly}")
    rows = f"{found.rows['in']:,} rows, {found.rows['rejected']:,} of them rejected, {found.compared} features compared"
    if found.anomalies:
        print(f"{len(found.anomalies)} {'anomaly' if len(found.anomalies) == 1 else 'anomalies'}: {rows}.")
        return 1
    print(f"No anomaly: {rows}. The new data looks like the training data of {data.spec.name}.")
    return 0


def check(data: DataDirectory, inputs: Sequence[str], limits: Thresholds | None = None, show_progress: bool = True) -> Findings:
    """Compares new raw data with what a data directory was made of.

    Args:
        data: The data directory.
        inputs: Files, folders and globs.
        limits: From where on something is an anomaly.
        show_progress: Whether to report stages and rows.

    Raises:
        ColonnadeError: The inputs cannot be read at all, or the data directory lacks its sketches.
    """
    limits = limits or Thresholds()
    spec = data.spec
    splits = {split: _sketches(data, split) for split, count in data.success["splits"].items() if count}
    # Imported here: both bring Beam along.
    from preprocessing.pipeline import read_only

    with tempfile.TemporaryDirectory(prefix="colonnade-check-") as folder:
        staging = Path(folder)
        (staging / "columns").mkdir()
        source, tables = _layout(spec, inputs, staging / "columns")
        reading, found = _readable_part(spec.model_copy(update={"source": source}), [column for table in tables for column in table])
        (staging / "rows").mkdir()
        found.rows, shards = read_only(reading, inputs, staging / "rows", show_progress)
        found.anomalies += of_rejected(sorted((staging / "rows" / "rejected").iterdir()), found.rows, limits)
        if not found.rows["out"]:
            return found
        new = _summary(data, reading, shards, found.rows["out"], show_progress)
    if reading.label.column is not None and spec.negatives is None and not spec.is_matching:
        found.anomalies += of_label(splits["train"], new, spec.label.task == "binary", limits)
    read = {column.name for column in reading.raw_inputs}
    skipped = Skipped(
        features={f.name for f in spec.features if not set(_inputs(spec, f)) <= read}, drift=_resampled(spec, source, tables)
    )
    if skipped.drift:
        names = ", ".join(sorted(skipped.drift))
        found.notes.append(f"labels, and the distribution of {names}, are not compared: training rows include sampled negatives")
    found.compared = len(spec.features) - len(skipped.features)
    meanings = Names(spec, data.table_rows, partial(_first_tokens, data.transform_fn), splits["train"])
    found.anomalies += of_features(spec, meanings, splits, new, skipped, limits)
    return found


def _sketches(data: DataDirectory, split: str) -> SplitSummary:
    path = data.path / SKETCHES.format(split)
    if not path.is_file():
        raise ColonnadeError(f"{str(path)!r} is missing: the data directory is of an earlier version, or damaged. Build it again.")
    return read_sketches(data.spec, data.table_rows, str(path))


def _first_tokens(transform_fn: Path, table: str, number: int) -> list[bytes]:
    from preprocessing.analysis import first_tokens

    return first_tokens(transform_fn, table, number)


def _layout(spec: FeatureSpec, inputs: Sequence[str], staging: Path) -> tuple[Source, list[list[str]]]:
    """Returns how to read the inputs, and which columns the rows and each side table have.

    Names and format of files need not be those of the spec where there is one table. Where the spec joins several, and the inputs are not
    called like them, the inputs are flat: they have all columns themselves.
    """
    from preprocessing.sources.files import find_files
    from preprocessing.sources.tables import common_columns, plan

    source = spec.source.model_copy(update={"fetch": None})
    if not source.joins:
        rows = _format_of(inputs) or source.rows
        rows = source.rows if rows.format == source.rows.format else rows
        source = source.model_copy(update={"rows": rows.model_copy(update={"files": None})})
    try:
        found = find_files(spec.model_copy(update={"source": source}), inputs)
    except ColonnadeError:
        if not source.joins:
            raise
        source = Source(rows=_flat_table(source.rows, inputs))
        found = find_files(spec.model_copy(update={"source": source}), inputs)
    files = found.unpacked(str(staging))
    tables = [source.rows, *(join.table for join in source.joins)]
    return source, [common_columns(plan(table, group)) for table, group in zip(tables, [files.rows, *files.joins], strict=True)]


def _flat_table(rows: Table, inputs: Sequence[str]) -> Table:
    if found := _format_of(inputs):
        return found
    tabs = all(name.endswith((".tsv", ".tsv.gz")) for name in inputs)
    delimiter = "\t" if tabs else rows.delimiter if isinstance(rows, TextTable) and not inputs[0].endswith(".csv") else ","
    return TextTable(delimiter=delimiter)


def _format_of(inputs: Sequence[str]) -> Table | None:
    """Returns the format that the names of all inputs end with."""
    endings = (ending for ending in _FLAT_FORMATS if all(name.endswith((ending, f"{ending}.gz")) for name in inputs))
    return _FLAT_FORMATS.get(next(endings, ""))


def _readable_part(spec: FeatureSpec, columns: Sequence[str]) -> tuple[FeatureSpec, Findings]:
    """Returns the part of the spec that can be read from `columns`, and what is missing.

    Columns that features need are anomalies, others are notes. Histories are left out: earlier rows of the users are in other files.
    """
    found = Findings({})
    features: list[Feature] = []
    for feature in spec.features:
        wanted = [feature.raw_column, *filter(None, [getattr(feature, "weights", None)])]
        missing = [column for column in wanted if column not in columns]
        if feature in spec.histories:
            found.notes.append(f"history {feature.name!r} is not compared: it takes earlier rows of the same users")
        elif feature.raw_inputs and missing:
            found.anomalies.append(f"column {missing[0]!r} is missing, which feature {feature.name!r} needs")
        elif feature.raw_inputs:
            features.append(feature)
    if not features:
        given = ", ".join(columns[:20])
        raise ColonnadeError(f"The input has no column that a feature of {spec.name!r} needs. Columns: {given}.")
    keys = {key: column if column in columns else None for key, column in spec.keys.model_dump().items()}
    label = spec.label
    if label.column is not None and label.column not in columns:
        found.notes.append(f"there is no column {label.column!r}: labels are not compared")
        label = Label(implicit=True)
    elif label.weight is not None and label.weight not in columns:
        found.notes.append(f"there is no column {label.weight!r}: the weights of rows are not read")
        label = label.model_copy(update={"weight": None})
    if label.task == "matching":
        # Rows are read one by one; those that are no interactions are left out below.
        label = label.model_copy(update={"task": "binary", "weight": None})
    # Not validated again: crosses read nothing, and what they need may be missing.
    return spec.model_copy(
        update={
            "features": tuple(features),
            "label": label,
            "keys": Keys(**keys),
            "negatives": None,
            "item_features": (),
            # All rows alike; by one column, so that no other has to be read for it.
            "split": RandomSplit(fractions=(1.0, 0.0, 0.0), by=(features[0].raw_column,)),
        }
    ), found


def _inputs(spec: FeatureSpec, feature: Feature) -> list[str]:
    """Returns the columns of raw examples that a feature takes."""
    takes = (feature.name, *getattr(feature, "inputs", ()))
    return [column.name for f in spec.features for column in f.raw_inputs if f.name in takes]


def _resampled(spec: FeatureSpec, source: Source, tables: Sequence[Sequence[str]]) -> set[str]:
    """Returns the features that sampled negatives have from other rows: of the item, and what is joined to it."""
    if spec.negatives is None:
        return set()
    columns = {str(spec.keys.item), *spec.negatives.resample}
    for join, table in zip(source.joins, tables[1:], strict=True):
        columns |= set(table) if join.key in columns else set()
    names = {column.name for f in spec.features if f.raw_column in columns for column in f.raw_inputs}
    return {f.name for f in spec.features if names & set(_inputs(spec, f))}


def _summary(data: DataDirectory, reading: FeatureSpec, shards: Iterable[str], rows: int, show_progress: bool) -> SplitSummary:
    """Pushes raw examples through the transform graph and summarises both."""
    with stage("transform", rows, show_progress):
        load_tensorflow()
        from preprocessing.graph import load_transform
        from preprocessing.tensors import to_arrow, to_tensors

        graph = load_transform(data.transform_fn)
        summary = SplitSummary(data.spec, data.table_rows, keep_outside=True)
        for raw in _whole_examples(data.spec, reading, shards):
            summary.add(raw, to_arrow(data.spec, graph(to_tensors(data.spec, raw))))
            advance(len(raw))
    return summary


def _whole_examples(spec: FeatureSpec, reading: FeatureSpec, shards: Iterable[str]) -> Iterator[pa.RecordBatch]:
    """Yields raw examples with every column that the graph takes; those that were not read are missing in every row."""
    from preprocessing.flat_examples import from_table
    from preprocessing.staging import read_batches

    labelled = reading.label.column is not None or spec.label.implicit
    for path in shards:
        for batch in read_batches(path):
            if spec.is_matching:
                batch = batch.filter(pc.equal(batch.column("label"), 1))
            table = pa.Table.from_batches([batch]).select([c.name for c in reading.raw_inputs] + ["label"] * labelled)
            yield from from_table(spec, table).combine_chunks().to_batches()


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    run_command(main)
