"""The page of `benchmarks.serving`."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import statistics
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.measure import Measured
from benchmarks.serving_clients import Latencies, Load
from benchmarks.serving_memory import COMMANDS, ITEMS, USERS
from benchmarks.serving_model import BARE, CONTENDERS, FILES, Taken
from serving.jobs import SCORED_AT_ONCE

_MADE = "`make benchmark-serving`, {date}, {cores} cores of {machine}, {versions}."
_ABOUT = """DeepFM (width 10, MLP 400-400-400, float32) on the spec `criteo`: 13 numbers and 26 tokens a row, made up in Criteo's shape, ids
from vocabularies of {train:,} rows. Server, clients and model are processes on the same {cores} cores, and take turns; numbers are medians
of {rounds} turns. Other programs kept {others:.1f} of the cores busy on average meanwhile, and make everything slower, the 99th percentiles
most."""
_LATENCY = """Closed loop, {seconds:g} s a turn: each client has a connection, and sends its next request when the last is answered. Clients
are threads of one Python process, with the official stub or `http.client`, requests prepared. Milliseconds are from the call to the parsed
answer, as such a client sees it. In-process is the export's signature `predict`, from TensorFlow's tensors to NumPy's arrays."""
_BATCH = """{rows:,} rows in batches of at most {most:,}. The bare model is the live Keras model on tensors that are transformed and in
memory. Text is Criteo's own layout, and every output has the input's columns and the scores. Loading the model is not counted. Where other
programs keep cores busy, whatever has more threads gets more of them: then the ratio of the CPU times says more than that of the rates.
What was tried is in docs/decisions.md."""
_MEMORY = """Peak resident memory of the whole command, imports and all: two towers of their defaults on made-up interactions of {users:,}
users with {items:,} items."""
MOST_MORE_MS, MOST_TIMES_P50, LEAST_SHARE = 1.5, 10.0, 0.5


@dataclass
class Results:
    """What was measured; each list holds one entry a round."""

    rounds: int
    seconds: float
    long_seconds: float
    train_rows: int
    cores: int
    latencies: dict[Load, list[Latencies]] = field(default_factory=dict)
    long: dict[Load, Latencies] = field(default_factory=dict)
    taken: dict[str, list[Taken]] = field(default_factory=dict)
    stages: list[dict[str, float]] = field(default_factory=list)
    command: Measured | None = None
    memory: dict[str, dict[int, Measured]] = field(default_factory=dict)
    others: float = 0.0

    def add(self, load: Load, latencies: Latencies) -> None:
        """Adds a round of a load."""
        self.latencies.setdefault(load, []).append(latencies)
        print(f"{_words(load)}: {_line(latencies)}", flush=True)

    def add_long(self, load: Load, latencies: Latencies) -> None:
        """Adds the long load."""
        self.long[load] = latencies
        print(f"{_words(load)}, {latencies.seconds:.0f} s: {_line(latencies)}", flush=True)

    def add_batch(self, contender: str, taken: Taken) -> None:
        """Adds a round of batch prediction."""
        self.taken.setdefault(contender, []).append(taken)
        print(f"{contender}: {taken.rows / taken.seconds:,.0f} rows/s, {taken.cpu_seconds / taken.rows * 1e6:.1f} us CPU a row", flush=True)

    def add_stages(self, stages: dict[str, float]) -> None:
        """Adds a round of the stages of batch prediction."""
        self.stages.append(stages)

    def median(self, load: Load, number: Callable[[Latencies], float]) -> float:
        """Returns the median over the rounds."""
        return statistics.median(number(latencies) for latencies in self.latencies[load])

    def share(self, contender: str, number: Callable[[Taken], float]) -> float:
        """Returns the rate of a contender to that of the bare model in the same round, the median of the rounds."""
        pairs = zip(self.taken[BARE], self.taken[contender], strict=True)
        return statistics.median(number(bare) / number(taken) for bare, taken in pairs)


def report(results: Results) -> str:
    """Returns the page."""
    return "\n".join(
        [
            "# Serving: latency and batch prediction",
            "",
            *_about(results),
            "## Wanted",
            "",
            "| wanted | measured | |",
            "| --- | --- | --- |",
            *_wanted(results),
            "",
            "## Latency",
            "",
            *_text(_LATENCY.format(seconds=results.seconds)),
            "| | rows a request | clients | p50, ms | p99, ms | requests/s | rows/s | errors |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *(_row(results, load) for load in sorted(results.latencies, key=_order)),
            "",
            f"## {results.long_seconds:g} seconds without a pause",
            "",
            "| | rows a request | clients | requests | p50, ms | p99, ms | longest, ms | p99 / p50 | errors |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
            *(_long_row(load, latencies) for load, latencies in results.long.items()),
            "",
            *_errors(results),
            "## Batch prediction",
            "",
            *_text(_BATCH.format(rows=results.taken[BARE][0].rows, most=SCORED_AT_ONCE)),
            "| | rows/s | to the bare model | CPU, us a row | to the bare model, by CPU time |",
            "| --- | --- | --- | --- | --- |",
            *(_batch_row(results, contender) for contender in CONTENDERS),
            "",
            *_command(results),
            "## Where a row's time goes, from text to CSV",
            "",
            "| stage | CPU, us a row | share |",
            "| --- | --- | --- |",
            *_stage_rows(results),
            "",
            *_memory(results),
        ]
    )


def _text(paragraph: str) -> list[str]:
    return [*textwrap.wrap(" ".join(paragraph.split()), 138, break_long_words=False, break_on_hyphens=False), ""]


def _about(results: Results) -> list[str]:
    names = ("tensorflow", "keras", "pyarrow", "grpcio", "aiohttp", "tensorflow-serving-api")
    versions = ", ".join([*(f"{name} {importlib.metadata.version(name)}" for name in names), f"Python {platform.python_version()}"])
    return [
        *_text(_MADE.format(date=datetime.date.today(), machine=platform.machine(), cores=results.cores, versions=versions)),
        *_text(_ABOUT.format(train=results.train_rows, cores=results.cores, rounds=results.rounds, others=results.others)),
    ]


def _wanted(results: Results) -> list[str]:
    more = results.median(Load("gRPC", 1, 1), _p50) - results.median(Load("in-process", 1, 1), _p50)
    shares = [results.share("text to CSV", number) for number in (_seconds, _cpu)]
    lines = [
        _met(f"p50 of gRPC, one client and one row: at most {MOST_MORE_MS} ms above in-process", f"{more:+.2f} ms", more <= MOST_MORE_MS),
        _met(
            f"rows/s from text to CSV: at least {LEAST_SHARE} of the bare model's",
            f"{shares[0]:.2f}; by CPU time {shares[1]:.2f}",
            min(shares) >= LEAST_SHARE,
        ),
    ]
    for load, latencies in results.long.items():
        times, errors = latencies.percentile(99) / latencies.percentile(50), len(latencies.errors)
        wanted = f"{load.protocol}, {load.clients} clients for {results.long_seconds:g} s: no error, p99 under {MOST_TIMES_P50:g} times p50"
        lines.append(_met(wanted, f"{errors} errors, {times:.1f} times", not errors and times < MOST_TIMES_P50))
    return lines


def _met(wanted: str, measured: str, is_met: bool) -> str:
    return f"| {wanted} | {measured} | {'met' if is_met else '**missed**'} |"


def _row(results: Results, load: Load) -> str:
    rate = results.median(load, lambda found: len(found.milliseconds) / found.seconds)
    errors = sum(len(found.errors) for found in results.latencies[load])
    shown = f"{results.median(load, _p50):.2f} | {results.median(load, _p99):.2f} | {rate:,.0f} | {rate * load.rows:,.0f}"
    return f"| {load.protocol} | {load.rows} | {load.clients} | {shown} | {errors} |"


def _long_row(load: Load, found: Latencies) -> str:
    times = found.percentile(99) / found.percentile(50)
    shown = f"{len(found.milliseconds):,} | {_p50(found):.2f} | {_p99(found):.2f} | {found.percentile(100):.1f} | {times:.1f}"
    return f"| {load.protocol} | {load.rows} | {load.clients} | {shown} | {len(found.errors)} |"


def _errors(results: Results) -> list[str]:
    every = [*results.long.values(), *(found for rounds in results.latencies.values() for found in rounds)]
    said = sorted({error for found in every for error in found.errors})
    return [*(f"Error: `{error}`" for error in said[:5]), ""] if said else []


def _batch_row(results: Results, contender: str) -> str:
    rate = statistics.median(taken.rows / taken.seconds for taken in results.taken[contender])
    cpu = statistics.median(_cpu(taken) for taken in results.taken[contender])
    name = f"`serving.predict`, {contender}" if contender in FILES else contender
    return f"| {name} | {rate:,.0f} | {results.share(contender, _seconds):.2f} | {cpu:.1f} | {results.share(contender, _cpu):.2f} |"


def _command(results: Results) -> list[str]:
    found = results.command
    if found is None:
        return []
    rows = results.taken[BARE][0].rows
    return [
        f"The whole command from text to CSV, imports and all: {found.seconds:.1f} s, {rows / found.seconds:,.0f} rows/s, "
        f"{found.cpu_seconds:.1f} s of CPU time, {found.peak_pss / 1e9:.2f} GB.",
        "",
    ]


def _stage_rows(results: Results) -> list[str]:
    medians = {name: statistics.median(stages[name] for stages in results.stages) for name in results.stages[0]}
    return [f"| {name} | {time:.1f} | {time / sum(medians.values()):.0%} |" for name, time in medians.items()]


def _memory(results: Results) -> list[str]:
    if not results.memory:
        return []
    counts = list(next(iter(results.memory.values())))
    return [
        "## Memory of batch prediction",
        "",
        *_text(_MEMORY.format(users=USERS, items=ITEMS)),
        f"| command | {' | '.join(f'{count:,} rows' for count in counts)} |",
        "| --- " * (1 + len(counts)) + "|",
        *(
            f"| `{module}`, {COMMANDS[module][0]} | {' | '.join(f'{found[count].peak_rss / 1e6:,.0f} MB' for count in counts)} |"
            for module, found in results.memory.items()
        ),
        "",
    ]


def _order(load: Load) -> tuple[int, int, int]:
    return (("in-process", "gRPC", "REST").index(load.protocol), load.rows, load.clients)


def _words(load: Load) -> str:
    return f"{load.protocol}, {load.rows} rows, {load.clients} clients"


def _line(found: Latencies) -> str:
    rate = len(found.milliseconds) / found.seconds
    return f"p50 {_p50(found):.2f} ms, p99 {_p99(found):.2f} ms, {rate:,.0f} requests/s, {len(found.errors)} errors"


def _p50(found: Latencies) -> float:
    return found.percentile(50)


def _p99(found: Latencies) -> float:
    return found.percentile(99)


def _seconds(taken: Taken) -> float:
    return taken.seconds


def _cpu(taken: Taken) -> float:
    return taken.cpu_seconds / taken.rows * 1e6
