"""Serves a trained model: `python -m serving.task --export_dir RUN_DIR/export [--rest_port 8501] [--grpc_port 8500]`.

It speaks TF Serving's REST and gRPC protocols; docs/server.md says when to take TF Serving itself.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
import threading
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from feature_specs.command import CommandParser, load_tensorflow, run_command
from feature_specs.errors import ColonnadeError
from serving.server import Options
from serving.server.folders import check_export

# How long a thread may keep the interpreter from those of other requests, in seconds; by default it is 0.005.
_SWITCH_SECONDS = 0.001


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command until it gets SIGTERM or SIGINT; then it answers what is in flight and returns."""
    flags = _flags(arguments)
    options = Options(
        max_batch_size=flags.max_batch_size,
        max_queue=flags.max_queue,
        max_request_bytes=flags.max_request_bytes,
        deadline_seconds=flags.deadline_seconds,
        poll_seconds=flags.poll_seconds,
        version_labels=_labels(flags.version_labels),
    )
    _check(flags)
    signal.signal(signal.SIGTERM, _stopped_early)
    print("Loading TensorFlow and the model, which takes some seconds ...", file=sys.stderr, flush=True)
    load_tensorflow()
    from serving.server import Server
    from serving.server.example import curl_line

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("serving").setLevel(logging.INFO)
    sys.setswitchinterval(_SWITCH_SECONDS)
    stopping = threading.Event()
    with Server(flags.export_dir, flags.model_name, flags.host, flags.rest_port, flags.grpc_port, options) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        servable = server.core.manager.newest()
        host = f"[{flags.host}]" if ":" in flags.host else flags.host
        print(
            f"Serving model {flags.model_name!r}, version {servable.number} of {flags.export_dir}\n"
            f"  REST  http://{host}:{server.rest_port}/v1/models/{quote(flags.model_name, safe='')}\n"
            f"  gRPC  {host}:{server.grpc_port}"
        )
        line = curl_line(servable, flags.host, server.rest_port, flags.model_name)
        print(f"Try:    {line}\nCtrl-C stops it." if line else "Ctrl-C stops it.", flush=True)
        # A full collection looks at all of TensorFlow's 450,000 objects, and holds every request up for half a second.
        gc.collect()
        gc.freeze()
        stopping.wait()
        # A second signal ends it at once.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        print("Stopping: no new requests, those in flight are answered.", flush=True)


def _stopped_early(number: int, _: object) -> None:
    """Ends the process while there is nothing to answer; no exception, which what is being imported might catch."""
    print("Stopped before the model was loaded.", flush=True)
    os._exit(128 + number)


def _flags(arguments: Sequence[str] | None) -> Namespace:
    parser = CommandParser("python -m serving.task", "Serves an exported model over TF Serving's REST and gRPC protocols.")
    parser.add_argument(
        "--export_dir", required=True, type=Path, help="the exports of a run, or one of them; new versions are loaded as they appear"
    )
    parser.add_argument("--rest_port", type=int, default=8501, help="0 for a free one")
    parser.add_argument("--grpc_port", type=int, default=8500, help="0 for a free one")
    parser.add_argument("--model_name", default="default", help="the name in requests")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; there is neither encryption nor a login")
    default = Options()
    parser.add_argument(
        "--max_batch_size", type=int, default=default.max_batch_size, help="rows that the model is given at once; 1 merges no requests"
    )
    parser.add_argument(
        "--max_queue", type=int, default=default.max_queue, help="requests in the server, before others get 429 or RESOURCE_EXHAUSTED"
    )
    parser.add_argument(
        "--max_request_bytes", type=int, default=default.max_request_bytes, help="of a request, before it gets 413 or RESOURCE_EXHAUSTED"
    )
    parser.add_argument(
        "--deadline_seconds", type=float, default=default.deadline_seconds, help="for a request, and for the last ones after SIGTERM"
    )
    parser.add_argument(
        "--poll_seconds",
        type=float,
        default=default.poll_seconds,
        help="between looks for new versions, whose files must have rested as long",
    )
    parser.add_argument(
        "--version_labels", nargs="*", default=[], metavar="LABEL=NUMBER", help="versions to serve beside the latest, by name"
    )
    flags = parser.parse_all(arguments)
    for name in ("max_batch_size", "max_queue", "max_request_bytes", "deadline_seconds", "poll_seconds"):
        if not 0 < getattr(flags, name) < 2**31:
            parser.error(f"--{name} should be above 0 and below 2**31. Received: {getattr(flags, name)}")
    return flags


def _labels(given: Sequence[str]) -> dict[str, int]:
    labels = {}
    for text in given:
        label, _, number = text.partition("=")
        if not label or not number.isdecimal():
            raise ColonnadeError(f"--version_labels should be like stable=3. Received: {text!r}.")
        labels[label] = int(number)
    return labels


def _check(flags: Namespace) -> None:
    """Raises ColonnadeError for what would fail only after TensorFlow is loaded."""
    if not flags.model_name or set(flags.model_name) & set("/:"):
        raise ColonnadeError(
            f"--model_name should be a name without '/' and ':', which end it in addresses. Received: {flags.model_name!r}."
        )
    if flags.rest_port == flags.grpc_port != 0:
        raise ColonnadeError(f"--rest_port and --grpc_port should differ. Received: {flags.rest_port} for both.")
    for flag in ("rest_port", "grpc_port"):
        port = getattr(flags, flag)
        if not 0 <= port < 2**16:
            raise ColonnadeError(f"--{flag} should be from 0 to 65535. Received: {port}.")
        try:
            socket.create_server((flags.host, port), family=socket.AF_INET6 if ":" in flags.host else socket.AF_INET).close()
        except OSError as error:
            problem = f"Cannot listen on {flags.host}, port {port}: {error.strerror}."
            raise ColonnadeError(f"{problem} Is another server running there? Choose another --{flag}, or 0 for a free one.") from error
    check_export(flags.export_dir)


if __name__ == "__main__":
    run_command(main)
