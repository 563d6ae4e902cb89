"""Scores a file with an exported model: `python -m serving.predict --export_dir RUN_DIR/export --input FILE --output FILE`.

It needs nothing but the export: the spec is inside.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from feature_specs.command import CommandParser, load_tensorflow, run_command
from feature_specs.errors import ColonnadeError

_BATCH_SIZE = 8192


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = CommandParser("python -m serving.predict", "Scores a CSV, TSV, JSON lines or Parquet file of raw rows with an exported model.")
    parser.add_argument(
        "--export_dir", required=True, default=argparse.SUPPRESS, help="RUN_DIR/export (the latest version is used), or one version in it"
    )
    parser.add_argument(
        "--input",
        required=True,
        default=argparse.SUPPRESS,
        type=Path,
        help="rows to score; columns are found by a feature's name or its raw column's",
    )
    parser.add_argument(
        "--output",
        required=True,
        default=argparse.SUPPRESS,
        type=Path,
        help="gets the input's columns and the scores; the suffix tells the format",
    )
    parser.add_argument(
        "--source_layout",
        action="store_true",
        help="the rows are as in the data set's own files: delimiter, header, columns and encoding are the spec's; the label may be absent",
    )
    flags: argparse.Namespace = parser.parse_all(arguments)
    print(predict_file(flags.export_dir, flags.input, flags.output, flags.source_layout))


def predict_file(export_dir: str | Path, source: Path, output: Path, like_source: bool = False) -> str:
    """Scores `source` into `output`; rows that cannot be read go to `OUTPUT.rejected.jsonl`.

    Args:
        export_dir: The exports of a run, or one of them.
        source: The rows.
        output: Gets them with their scores.
        like_source: Whether the rows are in the layout of the data set's own files.

    Returns:
        One line that says what was done.

    Raises:
        ColonnadeError: There is no export, or the input cannot be read, or not one of its rows.
    """
    from serving.readers import find_reader
    from serving.versions import find_version, load_model, load_spec

    # Mistakes are told at once; TensorFlow, which takes seconds to import, comes after them.
    version = find_version(export_dir)
    spec = load_spec(version)
    find_reader(source, spec, like_source)
    if output.is_dir():
        raise ColonnadeError(f"--output {str(output)!r} is a folder. Give the path of a file.")
    if output.resolve() == source.resolve():
        raise ColonnadeError(f"--output {str(output)!r} is the input itself. Give another file.")
    load_tensorflow()

    from tqdm import tqdm

    from serving.module import output_names
    from serving.rejects import Rejects, count_rows
    from serving.rows import read_batches, without_column
    from serving.signatures import to_tensors
    from serving.writers import open_writer

    started = time.perf_counter()
    rejected = output.with_name(output.name + ".rejected.jsonl")
    rows, absent = 0, ""
    bar: Any = tqdm(total=1.0, bar_format="{percentage:3.0f}%|{bar}| {desc} [{elapsed}<{remaining}]", disable=None)
    with bar, Rejects(rejected) as rejects, open_writer(output) as writer:
        model = load_model(version)  # its functions hold its variables weakly, so it has to stay
        for batch in read_batches(source, spec, rejects, _BATCH_SIZE, like_source):
            scored = model.signatures["predict"](**to_tensors(batch.raw))
            table = batch.table
            if like_source and (names := without_column(spec, table.column_names)):
                # Side tables and histories are the job's to join.
                absent = f"; no column, so missing: {', '.join(names)}"
            for name in output_names(spec):
                if name in table.column_names:
                    raise ColonnadeError(f"Input file {str(source)!r} already has a column {name!r}. Rename or remove it.")
                table = table.append_column(name, [scored[name].numpy()])
            writer.write(table)
            rows += table.num_rows
            bar.set_description_str(count_rows(rows), refresh=False)
            bar.update(batch.share - bar.n)
        if not rows:
            raise ColonnadeError(f"No row of {str(source)!r} can be read. The first, {rejects.first}. See {str(rejected)!r}.")
    seconds = time.perf_counter() - started
    aside = f"; {count_rows(rejects.count)} could not be read: see {rejected}" if rejects.count else ""
    return f"scored {count_rows(rows)} in {seconds:.1f} s with {version}: {output}{aside}{absent}"


if __name__ == "__main__":
    run_command(main)
