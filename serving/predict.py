"""Scores a file with an exported model: `python -m serving.predict --export_dir RUN_DIR/export --input FILE --output FILE`.

It needs nothing but the export: the spec is inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_specs.command import CommandParser, run_command
from serving.files import Answer, FileJob, add_flags, check_files, run_job

if TYPE_CHECKING:
    import pyarrow as pa

    from serving.signatures import RawExamples

_BATCH_SIZE = 8192


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = CommandParser("python -m serving.predict", "Scores a CSV, TSV, JSON lines or Parquet file of raw rows with an exported model.")
    add_flags(
        parser,
        "--input",
        "rows to score; columns are found by a feature's name or its raw column's",
        "gets the input's columns and the scores; the suffix tells the format",
    )
    parser.add_argument(
        "--source_layout",
        action="store_true",
        help="the rows are as in the data set's own files: delimiter, header, columns and encoding are the spec's; the label may be absent",
    )
    flags = parser.parse_all(arguments)
    print(predict_file(flags.export_dir, flags.input, flags.output, flags.source_layout))


def predict_file(export_dir: str | Path, source: Path, output: Path, like_source: bool = False) -> str:
    """Scores `source` into `output`; rows that cannot be read, or that the model refuses, go to `OUTPUT.rejected.jsonl`.

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
    from serving.versions import find_version, load_spec, output_names

    # Mistakes are told at once; TensorFlow, which takes seconds to import, comes after them.
    version = find_version(export_dir)
    spec = load_spec(version)
    check_files(spec, source, output, like_source)
    # Side tables and histories are the preprocessing job's to join: in its own layout they are absent.
    job = FileJob(spec, output_names(spec), lambda model: _scores(model, output_names(spec)), "scored", tells_absent=like_source)
    return run_job(version, job, source, output, _BATCH_SIZE, like_source)


def _scores(model: Any, names: tuple[str, ...]) -> Answer:  # noqa: ANN401 (TensorFlow gives what it restores no type)
    import pyarrow as pa

    from serving.signatures import to_tensors

    def answer(raw: RawExamples) -> Mapping[str, pa.Array]:
        found = model.signatures["predict"](**to_tensors(raw))
        return {name: pa.array(found[name].numpy()) for name in names}

    return answer


if __name__ == "__main__":
    run_command(main)
