"""A whole file through an exported model, batch by batch: what `serving.predict` and `serving.recommend` share."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_specs.command import CommandParser, load_tensorflow
from feature_specs.errors import ColonnadeError
from feature_specs.spec import FeatureSpec

if TYPE_CHECKING:
    import pyarrow as pa

    from serving.rejects import Rejects
    from serving.rows import Batch
    from serving.signatures import RawExamples

Answer = Callable[["RawExamples"], Mapping[str, "pa.Array"]]


@dataclass(frozen=True)
class FileJob:
    """What becomes of each row of a file.

    Attributes:
        spec: Of the columns that are read.
        names: Of the columns that are added.
        answer: From a loaded version to the function that gives them for some rows.
        done: What was done to the rows, such as "scored".
        dropped: Columns of the input that are not written.
        finish: Makes of the rows, their answers beside them, those that are written.
        tells_absent: Whether to say which features the input has no column for.
    """

    spec: FeatureSpec
    names: tuple[str, ...]
    answer: Callable[[Any], Answer]
    done: str
    dropped: tuple[str, ...] = ()
    finish: Callable[[pa.Table], pa.Table] = lambda table: table
    tells_absent: bool = False


def add_flags(parser: CommandParser, source: str, source_help: str, output_help: str) -> None:
    """Adds the flags of an export, of the file to read, `source`, and of the one to write."""
    required: dict[str, Any] = {"required": True, "default": argparse.SUPPRESS}
    parser.add_argument("--export_dir", **required, help="RUN_DIR/export (the latest version is used), or one version in it")
    parser.add_argument(source, **required, type=Path, help=source_help)
    parser.add_argument("--output", **required, type=Path, help=output_help)


def check_files(spec: FeatureSpec, source: Path, output: Path, like_source: bool) -> None:
    """Raises ColonnadeError where a file cannot be read, or is in the way."""
    from serving.readers import find_reader

    find_reader(source, spec, like_source)
    if output.is_dir():
        raise ColonnadeError(f"--output {str(output)!r} is a folder. Give the path of a file.")
    if output.resolve() == source.resolve():
        raise ColonnadeError(f"--output {str(output)!r} is the input itself. Give another file.")


def run_job(version: Path, job: FileJob, source: Path, output: Path, batch_size: int, like_source: bool = False) -> str:
    """Reads `source`, answers and writes `output`; rows that cannot be read, or that the model refuses, go to `OUTPUT.rejected.jsonl`.

    Returns:
        One line that says what was done.

    Raises:
        ColonnadeError: The input cannot be read, or not one of its rows.
    """
    load_tensorflow()

    from tqdm import tqdm

    from serving.rejects import Rejects, count_rows
    from serving.rows import read_batches, without_column
    from serving.versions import load_model
    from serving.writers import open_writer

    started = time.perf_counter()
    rejected = output.with_name(output.name + ".rejected.jsonl")
    rows, absent = 0, ""
    bar: Any = tqdm(total=1.0, bar_format="{percentage:3.0f}%|{bar}| {desc} [{elapsed}<{remaining}]", disable=None)
    with bar, Rejects(rejected) as rejects, open_writer(output) as writer:
        model = load_model(version)  # its functions hold its variables weakly, so it has to stay
        answer = job.answer(model)
        for batch in read_batches(source, job.spec, rejects, batch_size, like_source):
            if taken := [name for name in job.names if name in batch.table.column_names]:
                raise ColonnadeError(f"Input file {str(source)!r} already has a column {taken[0]!r}. Rename or remove it.")
            if job.tells_absent and (names := without_column(job.spec, batch.table.column_names)):
                absent = f"; no column, so missing: {', '.join(names)}"
            table = _answered(batch, answer, source, rejects)
            if table.num_rows:
                kept = [name for name in table.column_names if name not in job.dropped]
                writer.write(job.finish(table.select(kept)))
            rows += table.num_rows
            bar.set_description_str(count_rows(rows), refresh=False)
            bar.update(batch.share - bar.n)
        if not rows:
            raise ColonnadeError(f"No row of {str(source)!r} can be {job.done}. The first, {rejects.first}. See {str(rejected)!r}.")
    seconds = time.perf_counter() - started
    aside = f"; {count_rows(rejects.count)} set aside: see {rejected}" if rejects.count else ""
    return f"{job.done} {count_rows(rows)} in {seconds:.1f} s with {version}: {output}{aside}{absent}"


def _answered(batch: Batch, answer: Answer, source: Path, rejects: Rejects) -> pa.Table:
    """Returns a batch with its answers beside it; rows that the model refuses are set aside."""
    import numpy as np
    import pyarrow as pa

    from serving.mixed import one_row
    from serving.refusals import answer_rows
    from serving.samples import rows_of

    count, table = batch.table.num_rows, batch.table
    answers, refused = answer_rows(count, lambda numbers: answer(batch.raw if len(numbers) == count else rows_of(batch.raw, numbers)))
    for row, reason in refused:
        rejects.add(source, int(batch.lines[row]), reason, one_row(table, row))
    if refused:
        table = table.take(np.setdiff1d(np.arange(count), [row for row, _ in refused]))
    for name in answers[0] if answers else ():
        table = table.append_column(name, pa.chunked_array([part[name] for part in answers]))
    return table
