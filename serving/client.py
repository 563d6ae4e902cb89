"""Scores rows with a model that is served: `python -m serving.client --endpoint grpc://localhost:8500 --export_dir E --input F --output F`.

Any TF Serving will do, this package's own server too; the model's spec tells what to send.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from feature_specs.command import CommandParser, load_tensorflow, run_command
from feature_specs.errors import ColonnadeError
from feature_specs.sources import Source
from feature_specs.spec import FeatureSpec
from serving.agreed import OF_EXAMPLES, check_spec, side_of
from serving.files import STANDARD, FileJob, check_files, run_job, say, told
from serving.jobs import by_signature, check_k, retrieved, retrieving_job
from serving.remote import ROWS_AT_ONCE, RemoteModel, check_listening, parse_endpoint
from serving.versions import find_version, load_spec

_SIGNATURES = ("predict", *OF_EXAMPLES, "query", "candidate", "retrieve")
_K = 10


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    flags = _parser().parse_all(arguments)
    _check(flags)
    endpoint = parse_endpoint(flags.endpoint)
    spec = load_spec(find_version(flags.export_dir)) if flags.export_dir else FeatureSpec.load(flags.spec)
    job = _job(flags, spec)
    suffix = f".{flags.format}" if flags.format else ""
    check_files(job, flags.input, flags.output, suffix)
    from serving.writers import check_output

    check_output(flags.output)
    check_listening(endpoint)
    load_tensorflow()
    with RemoteModel(flags.endpoint, flags.model_name, flags.version, flags.timeout_seconds, flags.batch_size) as model:
        check_spec(model, flags.signature, spec)
        job = job if job.names else replace(job, names=_outputs(model, flags.signature))
        started = time.perf_counter()
        if flags.signature == "retrieve":
            check_k(model, spec, flags.k)
        done = run_job(model, job, flags.input, flags.output, suffix)
        say(told(job, done, time.perf_counter() - started, f"model {model}", flags.output), flags.output)


def _check(flags: argparse.Namespace) -> None:
    """Raises ColonnadeError for values that cannot be, and for flags that would change nothing; gives `k` its default."""
    if flags.signature != "retrieve" and (flags.k is not None or flags.include_seen):
        flag = "k" if flags.k is not None else "include_seen"
        raise ColonnadeError(f"--{flag} is for --signature retrieve. Received: --signature {flags.signature}.")
    if flags.format and flags.input != STANDARD:
        raise ColonnadeError(f"--format is for standard input (--input -); the name of {str(flags.input)!r} tells its format.")
    flags.k = _K if flags.k is None else flags.k
    for flag in ("k", "batch_size", "in_flight", "timeout_seconds"):
        if not 0 < getattr(flags, flag) < 2**31:
            raise ColonnadeError(f"--{flag} should be above 0 and below 2**31. Received: {getattr(flags, flag)}.")


def _parser() -> CommandParser:
    parser = CommandParser(
        "python -m serving.client",
        "Scores rows of a file, or of standard input, with a model that TF Serving or serving.task serves, over gRPC or REST.",
    )
    required: dict[str, Any] = {"required": True, "default": argparse.SUPPRESS}
    parser.add_argument("--endpoint", **required, metavar="URL", help="grpc://HOST:PORT, or http://HOST:PORT for REST")
    parser.add_argument("--model_name", default="default", help="as the server was started with")
    parser.add_argument("--version", type=int, help="of the model; the latest, at each request, where not given")
    parser.add_argument("--signature", choices=_SIGNATURES, default="predict", help="what the model is asked")
    spec = parser.add_mutually_exclusive_group(required=True)
    spec.add_argument("--export_dir", help="RUN_DIR/export or a version in it: only the spec in it is read")
    spec.add_argument("--spec", help="YAML or JSON file: the spec of the model")
    parser.add_argument("--input", **required, type=Path, help="rows, as serving.predict reads them; - is standard input")
    parser.add_argument(
        "--output", **required, type=Path, help="gets the input's columns and the answers; - is standard output, as JSON lines"
    )
    parser.add_argument("--format", choices=("jsonl", "csv", "tsv"), help="of standard input (default: jsonl)")
    parser.add_argument("--k", type=int, help=f"with --signature retrieve: items a user (default: {_K})")
    parser.add_argument("--include_seen", action="store_true", help="with --signature retrieve: items of a user's history too")
    parser.add_argument("--batch_size", type=int, default=ROWS_AT_ONCE, help="rows a request")
    parser.add_argument(
        "--in_flight", type=int, default=4, help="requests at the same time (of standard input one, so that answers come as rows do)"
    )
    parser.add_argument("--timeout_seconds", type=float, default=60.0, help="how long the answer to a request may take")
    return parser


def _job(flags: argparse.Namespace, spec: FeatureSpec) -> FileJob:
    """Returns what becomes of the rows; `names` are not known before the server is asked, but for `retrieve`."""
    side = side_of(spec, flags.signature)
    if flags.signature == "retrieve":
        return retrieving_job(
            spec,
            flags.output.suffix,
            lambda model: retrieved(model, flags.k, flags.include_seen),
            flags.batch_size,
            flags.in_flight,
        )
    return FileJob(
        side.model_copy(update={"source": Source()}),
        (),
        lambda model: by_signature(model, flags.signature, _outputs(model, flags.signature), OF_EXAMPLES.get(flags.signature)),
        "scored",
        flags.batch_size,
        tells_absent=True,
        in_flight=flags.in_flight,
    )


def _outputs(model: RemoteModel, signature: str) -> tuple[str, ...]:
    return tuple(sorted(model.signature(signature).outputs))


if __name__ == "__main__":
    run_command(main)
