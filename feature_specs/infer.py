"""Proposes a spec for a file that has none: `python -m feature_specs.infer data.csv --label clicked > my.yaml`.

Every choice has a comment with its reason; the first two lines are the commands that follow. TensorFlow is not needed, so it takes about
a second.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from feature_specs.command import CommandParser, run_command
from feature_specs.errors import ColonnadeError
from feature_specs.inference.delimited import TextOptions
from feature_specs.inference.proposal import Proposal, Request, propose
from feature_specs.inference.sample import SAMPLE_ROWS, find_files, read_sample
from feature_specs.inference.writing import output_file
from feature_specs.validation import check_name


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command: the spec to the standard output, warnings to the standard error."""
    proposal = infer(arguments)
    sys.stdout.write(proposal.text)
    for warning in proposal.warnings:
        print(warning, file=sys.stderr)
    return 0


def infer(arguments: Sequence[str] | None = None) -> Proposal:
    """Returns the proposal for the command line's arguments.

    Raises:
        ColonnadeError: The files cannot be read, the label is not there or says nothing, or no column is left.
    """
    flags = _parser().parse_all(arguments)
    if (flags.label is None) == (not flags.implicit):
        raise ColonnadeError("Say which column is the label, --label NAME; or --implicit, where every row is a positive.")
    if flags.implicit and flags.positive:
        raise ColonnadeError("--positive is of a label, and with --implicit there is none. Leave one of them out.")
    if flags.delimiter == "" or len(set(flags.columns)) < len(flags.columns):
        wrong = "--delimiter is empty" if flags.delimiter == "" else f"--columns repeats a name: {', '.join(flags.columns)}"
        raise ColonnadeError(f"{wrong}. Correct it, or leave it out.")
    if flags.name is not None:
        check_name(flags.name, "--name")
    if flags.rows is not None and flags.rows < 0:
        raise ColonnadeError(f"--rows should be 0 (all rows) or more. Received: {flags.rows}.")
    keys = {"user": flags.user, "item": flags.item, "time": flags.time}
    wanted = tuple(name for name in (flags.label, *keys.values()) if name)
    files = find_files(flags.files)
    delimiter = flags.delimiter.replace("\\t", "\t") if flags.delimiter else None
    sample = read_sample(files, flags.rows, TextOptions(delimiter, tuple(flags.columns), wanted))
    return propose(Request(tuple(flags.files), flags.label, tuple(flags.positive), keys, flags.name, output_file()), files, sample)


def _parser() -> CommandParser:
    parser = CommandParser("python -m feature_specs.infer", "Proposes a spec for files, as YAML with a reason for each choice.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="delimited text, JSON lines, Parquet or TFRecord; also globs and .gz")
    parser.add_argument("--label", help="the column to predict")
    parser.add_argument("--implicit", action="store_true", help="there is no label: every row is a positive, as in a log of clicks")
    parser.add_argument("--positive", nargs="+", default=[], metavar="VALUE", help="values of the label that are positive")
    parser.add_argument("--user", help="column that says whose row it is (default: guessed)")
    parser.add_argument("--item", help="column that says what was shown (default: guessed)")
    parser.add_argument("--time", help="column that says when, in Unix seconds (default: guessed)")
    parser.add_argument("--columns", nargs="+", default=[], metavar="NAME", help="names of the columns, where text files have no header")
    parser.add_argument("--delimiter", help="of text files, such as ';' or '::' (default: found out)")
    parser.add_argument("--name", help="of the spec (default: that of the first file)")
    parser.add_argument("--rows", type=int, help=f"rows to read, 0 for all (default: {SAMPLE_ROWS:,}, and 16 MB of text at most)")
    return parser


if __name__ == "__main__":
    run_command(main)
