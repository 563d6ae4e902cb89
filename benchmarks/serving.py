"""Speed of serving: `python -m benchmarks.serving`, writes benchmarks/serving.md.

DeepFM on rows of Criteo's shape and the built-in spec `criteo`: latency of the local server over gRPC and REST beside the same model called
in its own process, and batch prediction from raw files beside the bare model on transformed tensors. Server, clients and model are
processes of their own on the same cores; they take turns, and each number is the median of its turns. Last, the memory of batch prediction.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from benchmarks import serving_memory, serving_model
from benchmarks.criteo_shaped import generate
from benchmarks.measure import Measured, busy_seconds, measure
from benchmarks.serving_clients import MODEL, Latencies, Load, run
from benchmarks.serving_report import Results, report
from feature_specs.command import load_tensorflow
from feature_specs.datasets import get_dataset

PROTOCOLS, ROWS, CLIENTS = ("gRPC", "REST"), (1, 10, 100), (1, 8, 32)
_START_SECONDS = 180


def prepare(folder: Path, train_rows: int, rows: int) -> Path:
    """Makes a run of DeepFM and files of rows to score, unless they are there; returns the run."""
    source, run_dir = folder / "rows.txt", folder / "run"
    if not (run_dir / "_SUCCESS").exists():
        generate(folder / "train.txt", train_rows, like_criteo=True)
        _command("preprocessing.task", "--dataset", "criteo", "--input", folder / "train.txt", "--output", folder / "data")
        steps = ("--epochs", 1, "--max_steps", 20, "--batch_size", 4096)  # weights do not matter for speed
        _command("trainer.task", "--model", MODEL, "--dataset", "criteo", "--data_dir", folder / "data", "--run_dir", run_dir, *steps)
    if not source.with_suffix(".parquet").exists():
        generate(source, rows, like_criteo=True)
        layout = get_dataset("criteo").source.rows
        tokens = {feature.name: pa.string() for feature in get_dataset("criteo").token_features}
        table = pa_csv.read_csv(
            source,
            read_options=pa_csv.ReadOptions(column_names=list(layout.columns)),
            parse_options=pa_csv.ParseOptions(delimiter=layout.delimiter),
            convert_options=pa_csv.ConvertOptions(column_types=tokens),
        )
        pq.write_table(table, source.with_suffix(".parquet"))
    return run_dir


def _command(module: str, *arguments: object) -> None:
    subprocess.run([sys.executable, "-m", module, *map(str, arguments)], check=True)


@contextmanager
def server(run_dir: Path, log: Path) -> Iterator[dict[str, int]]:
    """Gives the ports of a server of a run's export, by protocol; it is stopped in the end."""
    ports = ["--rest_port", "0", "--grpc_port", "0"]
    command = [sys.executable, "-u", "-m", "serving.task", "--export_dir", str(run_dir / "export"), "--model_name", MODEL, *ports]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield _ports(process, log)
        finally:
            process.terminate()
            process.wait()


def _ports(process: subprocess.Popen[bytes], log: Path) -> dict[str, int]:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        said = log.read_text(encoding="utf-8")
        found = {protocol: re.search(rf"{protocol}\D+[\d.]+:(\d+)", said) for protocol in PROTOCOLS}
        if all(found.values()):
            return {protocol: int(match[1]) for protocol, match in found.items() if match}
        time.sleep(0.2)
    raise RuntimeError(f"The server did not start: see {log}")


class Processes:
    """The export, the live model and the clients, each in a process that stays.

    The live model comes with the trainer, which makes TensorFlow's operations deterministic, as no server does.
    """

    def __init__(self, run_dir: Path, source: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._served, self._live, self._clients = (ProcessPoolExecutor(1, context, load_tensorflow) for _ in range(3))
        self._run_dir, self._source = run_dir, source

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self._served, self._live, self._clients):
            process.shutdown()

    def in_process(self, rows: int, seconds: float) -> Latencies:
        """See `serving_model.in_process`."""
        return self._served.submit(serving_model.in_process, self._run_dir, self._source, rows, seconds).result()

    def load(self, load: Load, ports: dict[str, int], seconds: float) -> Latencies:
        """See `serving_clients.run`."""
        return self._clients.submit(run, load, ports, self._source, seconds).result()

    def batches(self, contender: str) -> serving_model.Taken:
        """See `serving_model.batches`."""
        process = self._served if contender in serving_model.FILES else self._live
        return process.submit(serving_model.batches, self._run_dir, self._source, contender).result()

    def stages(self) -> dict[str, float]:
        """See `serving_model.stages`."""
        return self._served.submit(serving_model.stages, self._run_dir, self._source).result()


def whole_command(run_dir: Path, source: Path) -> Measured:
    """Runs `python -m serving.predict` on the file of rows, start-up counted."""
    files = ["--input", str(source), "--output", str(source.with_name("predicted.csv")), "--source_layout"]
    command = [sys.executable, "-m", "serving.predict", "--export_dir", str(run_dir / "export"), *files]
    return measure(command, source.with_name("predict.log"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train_rows", type=int, default=1_000_000, help="rows that vocabularies are made of")
    parser.add_argument("--rows", type=int, default=200_000, help="rows to score as a batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each load in each round")
    parser.add_argument("--long_seconds", type=float, default=60.0, help="of the load by most clients")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where files are kept; a temporary one where not given")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    flags = parser.parse_args(arguments)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: flags.cores])
    with tempfile.TemporaryDirectory() as temporary:
        folder = flags.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        results = measured(folder, prepare(folder, flags.train_rows, flags.rows), flags)
    flags.output.write_text(report(results), encoding="utf-8")


def measured(folder: Path, run_dir: Path, flags: argparse.Namespace) -> Results:
    """Measures everything, in turns."""
    source, results = folder / "rows.txt", Results(flags.rounds, flags.seconds, flags.long_seconds, flags.train_rows, flags.cores)
    begun, busy, own = time.monotonic(), busy_seconds(), _own_seconds()
    with Processes(run_dir, source) as processes:
        with server(run_dir, folder / "server.log") as ports:
            for _ in range(flags.rounds):
                for rows in ROWS:
                    results.add(Load("in-process", rows, 1), processes.in_process(rows, flags.seconds))
                    for load in (Load(protocol, rows, clients) for clients in CLIENTS for protocol in PROTOCOLS):
                        results.add(load, processes.load(load, ports, flags.seconds))
            for protocol in PROTOCOLS:
                load = Load(protocol, 1, max(CLIENTS))
                results.add_long(load, processes.load(load, ports, flags.long_seconds))
        for _ in range(flags.rounds):
            for contender in serving_model.CONTENDERS:
                results.add_batch(contender, processes.batches(contender))
            results.add_stages(processes.stages())
    results.command = whole_command(run_dir, source)
    results.memory = serving_memory.peaks(folder / "memory", flags.rows)
    results.others = max(busy_seconds() - busy - (_own_seconds() - own), 0.0) / (time.monotonic() - begun)
    return results


def _own_seconds() -> float:
    """Returns the CPU time of this process and of those it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


if __name__ == "__main__":
    main()
