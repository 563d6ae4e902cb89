"""What `serving.predict` and `serving.recommend` share as commands: their flags, and the way of one file."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from feature_specs.command import CommandParser, load_tensorflow
from serving.files import check_files, run_job, told
from serving.jobs import Work


def add_flags(parser: CommandParser, source: str, source_help: str, output_help: str) -> None:
    """Adds the flags of an export, of the files to read, `source`, of what is written, and of Beam."""
    required: dict[str, Any] = {"required": True, "default": argparse.SUPPRESS}
    parser.add_argument("--export_dir", **required, help="RUN_DIR/export (the latest version is used), or one version in it")
    parser.add_argument(
        source, **required, nargs="+", metavar="FILE", help=f"{source_help}; a file, several, folders or quoted globs; - is standard input"
    )
    parser.add_argument(
        "--output",
        **required,
        help=f"{output_help}; - is standard output; of several inputs a folder, which gets a file of the same name for each",
    )
    parser.add_argument(
        "--runner",
        help="of Apache Beam, such as DirectRunner: answers many files in a pipeline; any other option of Beam, such as "
        "--direct_num_workers, may follow",
    )


def parse(parser: CommandParser, arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Returns the flags and, where there is a --runner, the options of Beam, that among them; unknown ones are an error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not any(argument.split("=")[0] == "--runner" for argument in given):
        return parser.parse_all(given), []
    from serving.beam import check_options

    flags, options = parser.parse_known_args(given)
    check_options(parser, options)
    return flags, ["--runner", flags.runner, *options]


def answer_one(work: Work, source: Path, output: Path) -> str:
    """Answers the rows of one file and returns a line that says so; mistakes are told before TensorFlow is imported."""
    job = work.job(output.suffix)
    check_files(job, source, output)
    from serving.writers import check_output

    check_output(output)
    load_tensorflow()
    from serving.versions import load_model

    started = time.perf_counter()
    done = run_job(load_model(work.version), job, source, output)
    return told(job, done, time.perf_counter() - started, work.version, output)
