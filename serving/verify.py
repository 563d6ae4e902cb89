"""Proves that a run's export gives what was trained: `python -m serving.verify --run_dir RUN_DIR --input RAW_FILE`.

Raw rows take two independent paths: through the preprocessing job, with the run's transform graph, into the checkpointed model; and
through the export's `predict` and `serving_default`. Histories of a data set's own files are built by the job and are raw values to both.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_specs.command import CommandParser, load_tensorflow, run_command
from feature_specs.errors import ColonnadeError
from feature_specs.sources import JsonLinesTable, ParquetTable, TextTable
from feature_specs.spec import FeatureSpec
from preprocessing.progress import keep_quiet
from serving.agreed import check_spec
from serving.remote import RemoteModel, check_listening, parse_endpoint

if TYPE_CHECKING:
    import pyarrow as pa

    from serving.rejects import Rejects
    from serving.skew import RowSkew, Skew

_TYPED = (".parquet", ".jsonl", ".ndjson", ".json")
_BATCH_ROWS = 8192
_LONGEST_RAW, _MOST_PLACES = 100, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 1 where the paths differ by more than the tolerance."""
    parser = CommandParser("python -m serving.verify", "Compares a run's export with its model, on raw rows, per feature and per score.")
    parser.add_argument("--run_dir", required=True, default=argparse.SUPPRESS, type=Path, help="a finished run")
    parser.add_argument(
        "--input",
        required=True,
        default=argparse.SUPPRESS,
        type=Path,
        help="the data set's own file or folder, or a flat CSV, JSON lines, Parquet file",
    )
    parser.add_argument("--tolerance", type=float, default=1e-5, help="largest absolute difference that passes")
    parser.add_argument(
        "--endpoint", metavar="URL", help="of a server of the export, grpc://HOST:PORT or http://HOST:PORT, asked in its place"
    )
    parser.add_argument("--model_name", help="with --endpoint: as the server was started with (default: default)")
    flags = parser.parse_all(arguments)
    if flags.model_name and not flags.endpoint:
        raise ColonnadeError("--model_name is of a server, and no --endpoint is given. Give its URL, or leave --model_name out.")

    from serving.readers import find_reader
    from serving.versions import find_version, load_spec, table_dtype

    # Mistakes are told at once; TensorFlow, which takes seconds to import, comes after them.
    version = find_version(flags.run_dir / "export")
    spec = load_spec(version)
    if not flags.input.exists():
        raise ColonnadeError(f"There is no input {str(flags.input)!r}. Give --input a file or folder of raw rows.")
    if not (flags.run_dir / "transform_fn" / "saved_model.pb").is_file():
        raise ColonnadeError(f"Run {str(flags.run_dir)!r} has no transform graph. Copy DATA_DIR/transform_fn there, or train again.")
    own = own_files(spec, flags.input)
    if not own:
        find_reader(flags.input)
    if flags.endpoint:
        check_listening(parse_endpoint(flags.endpoint))
    load_tensorflow()

    # The model comes before the job: TF-Transform, which only the job imports, changes what later imports of Keras find.
    from trainer.estimator import Estimator
    from trainer.quantised import round_tables

    model, dtype = Estimator.load(flags.run_dir).model, table_dtype(version)
    round_tables(model, dtype)
    keep_quiet()
    from preprocessing.pipeline import transform_only
    from serving.rejects import Rejects, count_rows
    from serving.skew import compare_files

    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="verify-") as folder:
        tables = "" if dtype == "float32" else f", its tables rounded to {dtype}"
        print(f"path A: {flags.input} -> preprocessing job -> checkpointed model of {flags.run_dir}{tables}")
        served = stack.enter_context(_asked(flags.endpoint, flags.model_name or "default", spec)) if flags.endpoint else None
        print(f"path B: the same raw rows -> {version if served is None else f'model {served}, and features by {version}'}", flush=True)
        with Rejects(Path(folder) / "rejected.jsonl") as rejects:
            rows = own or read_flat(spec, flags.input, rejects)
        files = transform_only(spec, rows, flags.run_dir / "transform_fn", Path(folder) / "pairs")
        skew = compare_files(version, files, model, flags.run_dir / "items.parquet", served)
        rejected, first = (rejects.count, rejects.first) if not own else rejected_rows(Path(folder) / "pairs")
        if rejected:
            print(f"{count_rows(rejected)} could not be read and left out; the first, {first}")
        if skew.refused:
            print(f"{count_rows(skew.refused)} left out, for the model does not take them, such as users that it does not know")
    print(table(spec, skew))
    passed = skew.features <= flags.tolerance and skew.score <= flags.tolerance
    if not passed:
        print("\n".join(["", "rows that differ most:", *(line for worst in skew.worst for line in describe(worst, flags.tolerance))]))
    print(f"\n{'PASSED' if passed else 'FAILED'}: {count_rows(skew.rows)}, {rejected:,} rejected, tolerance {flags.tolerance:g}")
    return 0 if passed else 1


def _asked(endpoint: str, model_name: str, spec: FeatureSpec) -> RemoteModel:
    """Returns a model that is served, and takes what the spec has."""
    model = RemoteModel(endpoint, model_name)
    try:
        for signature in ("predict", *(("query", "candidate", "retrieve") if spec.is_matching else ())):
            check_spec(model, signature, spec)
    except ColonnadeError:
        model.close()
        raise
    return model


def rejected_rows(folder: Path) -> tuple[int, str]:
    """Returns how many rows the job has set aside, and the first of them."""
    lines = [line for path in sorted(folder.glob("rejected-*.jsonl")) for line in path.read_text(encoding="utf-8").splitlines()]
    first = json.loads(lines[0]) if lines else {}
    return len(lines), f"line {first['line']}: {first['reason']}" if lines else ""


def own_files(spec: FeatureSpec, source: Path) -> list[str]:
    """Returns the files of a data set in its own layout, side tables found beside the rows; none where `source` is a flat file."""
    if source.is_dir():
        return [str(source)]
    rows = spec.source.rows
    if rows.files is not None:
        if not any(fnmatchcase(name, rows.files) for name in (source.name, source.name.removesuffix(".gz"))):
            return []
    elif not _has_layout(spec, source):
        return []
    patterns = [join.table.files for join in spec.source.joins]
    beside = [p for p in sorted(source.parent.iterdir()) if any(fnmatchcase(p.name.removesuffix(".gz"), f) for f in patterns if f)]
    return [str(source), *(str(path) for path in beside if path != source)]


def _has_layout(spec: FeatureSpec, source: Path) -> bool:
    """Whether a file is of the format of the data set's rows and has their columns."""
    name, columns = source.name.removesuffix(".gz"), set(spec.column_types) - {spec.label.weight}
    match spec.source.rows:
        case TextTable() as rows:
            return not name.endswith(_TYPED) and (not rows.header or columns <= _header(source, rows))
        case ParquetTable():
            return name.endswith(".parquet") and columns <= _schema(source)
        case JsonLinesTable():
            # Keys of missing values may be left out, but for the label's.
            return name.endswith((".jsonl", ".ndjson", ".json")) and {spec.label.column} - {None} <= _keys(source)
    return not name.endswith((*_TYPED, ".csv", ".tsv"))


def _keys(path: Path) -> set[str]:
    try:
        with gzip.open(path, "rt", errors="replace") if path.suffix == ".gz" else path.open(errors="replace") as lines:
            return set(json.loads(next(line for line in lines if line.strip())))
    except (OSError, EOFError, ValueError, TypeError, StopIteration):
        return set()


def _schema(path: Path) -> set[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return set(pq.read_schema(path).names)
    except (OSError, pa.ArrowException):
        return set()  # whoever reads the rows says what is wrong with them


def _header(path: Path, layout: TextTable) -> set[str]:
    try:
        with gzip.open(path, "rt", errors="replace") if path.suffix == ".gz" else path.open(errors="replace") as lines:
            if layout.quoting and len(layout.delimiter) == 1:
                return set(next(csv.reader(lines, delimiter=layout.delimiter), []))
            return set(next(lines, "").rstrip("\n").split(layout.delimiter))
    except (OSError, EOFError, csv.Error):
        return set()  # whoever reads the rows says what is wrong with them


def read_flat(spec: FeatureSpec, source: Path, rejects: Rejects) -> pa.Table:
    """Returns the raw examples of a flat file, keyed by feature names."""
    import pyarrow as pa
    import tensorflow as tf

    from serving.rows import read_batches

    parts = []
    for batch in read_batches(source, spec, rejects, _BATCH_ROWS):
        columns = {}
        for column in spec.raw_inputs:
            values = batch.raw[column.name]
            flat = pa.array((values.flat_values if isinstance(values, tf.RaggedTensor) else values).numpy().ravel())
            if column.layout == "list":
                flat = pa.LargeListArray.from_arrays(values.row_splits.numpy(), flat)
            columns[column.name] = pa.FixedSizeListArray.from_arrays(flat, column.size) if column.layout == "vector" else flat
        parts.append(pa.table(columns))
    if not parts:
        raise ColonnadeError(f"No row of {str(source)!r} can be read. The first, {rejects.first}.")
    return pa.concat_tables(parts)


def table(spec: FeatureSpec, skew: Skew) -> str:
    """Returns the largest differences as an aligned table."""
    kinds = {column.name: feature.kind for feature in spec.features for column in feature.outputs}
    lines = [("feature", "kind", "largest difference"), *((n, kinds[n], f"{d:.3g}") for n, d in skew.per_feature.items())]
    lines += [("", "", ""), ("score", "signature", "largest difference")]
    lines += [(name.split()[1], name.split()[0], f"{difference:.3g}") for name, difference in skew.per_score.items()]
    widths = [max(len(line[i]) for line in lines) for i in range(2)]
    return "\n".join(f"{line[0]:<{widths[0]}}  {line[1]:<{widths[1]}}  {line[2]}".rstrip() for line in lines)


def describe(worst: RowSkew, tolerance: float) -> list[str]:
    """Returns a few lines on a row: each feature that differs, with its raw value, and each score beyond the tolerance."""
    lines = [f"  row {worst.row}"]
    for name, served in worst.served.items():
        trained = worst.trained[name]
        if name not in worst.differences:
            if differing := _differing(trained, served):
                lines.append(f"    {name}: {differing}")
                if name in worst.raw:
                    raw = repr(worst.raw[name])
                    lines.append(f"      raw: {raw if len(raw) <= _LONGEST_RAW else raw[:_LONGEST_RAW] + ' ...'}")
        elif not worst.differences[name] <= tolerance:
            lines.append(f"    {name}: {_differing(trained, served, tolerance)}")
    return lines


def _differing(trained: Any, served: Any, tolerance: float = 0.0) -> str:  # noqa: ANN401 (a number or a list of numbers or ids)
    """Returns what differs; of lists the first places, counted from 1."""
    if not isinstance(trained, list):
        return "" if trained == served else f"trained {_shown(trained)}, served {_shown(served)}"
    pairs = enumerate(zip_longest(trained, served, fillvalue=0), 1)
    places = [f"place {n}: trained {_shown(one)}, served {_shown(other)}" for n, (one, other) in pairs if _are_apart(one, other, tolerance)]
    return "; ".join(places[:_MOST_PLACES]) + (f"; and {len(places) - _MOST_PLACES} more" if len(places) > _MOST_PLACES else "")


def _shown(value: Any) -> str:  # noqa: ANN401 (a number or an id)
    return f"{value:.8g}" if isinstance(value, float) else repr(value)


def _are_apart(one: Any, other: Any, tolerance: float) -> bool:  # noqa: ANN401 (numbers or ids)
    is_number = isinstance(one, float) and isinstance(other, float)
    return one != other and not (is_number and abs(one - other) <= tolerance * max(1.0, abs(one)))


if __name__ == "__main__":
    run_command(main)
