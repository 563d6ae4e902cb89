"""Training from Parquet beside training from memory: `make benchmark-from-disk`, or `python -m benchmarks.from_disk`; some five minutes.

Criteo-shaped rows (26 tokens, 13 numbers), shuffled in a buffer of 262,144 rows. Each part is a process of its own; from memory and from
disk take turns in one. The seed tutorial's DeepFM is trained for an epoch of real ratings, where there are any. Writes from_disk.md.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import io
import json
import os
import platform
import resource
import statistics
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from benchmarks.measure import machine, measure
from benchmarks.runs import ROOT
from benchmarks.training_shapes import FIELDS, NUMBERS, criteo_shaped, draw
from feature_specs import CategoricalFeature, FeatureSpec, Identity, Label, MultiValuedFeature, NumericFeature
from feature_specs.command import load_tensorflow
from trainer.huge_pages import restart_with_huge_pages

GROUP, GROUPS, TABLE_ROWS, BATCH, TURNS = 1 << 16, 8, 1_000_000, 4096, 7
BUFFER = 1 << 18
STEPS = {"lr": 100, "lr:apart": 100, "fm": 50, "deepfm": 20}
_NAMES = {"lr:apart": "lr, a thread an operation"}
TUTORIAL_ROWS, TUTORIAL_BATCH = 810_025, 2048
_TRIED = """LR's operations are small: dividing them among threads costs more than it brings, and a thread an operation is set by
`TF_NUM_INTRAOP_THREADS=1`. What is left is the step itself on one core and the reader on the other. Without the clock that times the
waiting it is a tenth faster; more chunks read ahead and a shorter switch interval of the interpreter change nothing. FM misses by its
arithmetic, from memory too: of 47 ms of CPU time a step, the sums and products of vectors and of the optimizer take 28, writing rows 5,
summing equal rows 4, splitting and joining the first-order column 4, finding equal rows 2.3, reading 2.4. Zeroing padding where rows are
read, without a maximum over all look-ups, made it 3 % faster; sums by `tf.sparse.segment_sum`, without `[B, F, D]`, would cost about what
they save, by the profile."""
_MLP: dict[str, dict[str, Any]] = {"lr": {}, "fm": {"embedding_dim": 16}}
_MLP["deepfm"] = {"embedding_dim": 16, "hidden_units": (400, 400, 400), "dropout": 0.0, "batch_norm": False}


def write_criteo(folder: Path, groups: int) -> None:
    """Writes `groups` row groups, two a shard, whose tokens follow a Zipf law."""
    rng = np.random.default_rng(0)
    ids = draw(rng, TABLE_ROWS // FIELDS - 1, GROUP * FIELDS, 1.05).reshape(FIELDS, GROUP)
    folder.mkdir(parents=True)
    for shard in range(groups // 2):
        columns = {f"c{i}": rng.permutation(np.tile(ids[i], 2)) for i in range(FIELDS)}
        columns |= {f"i{i}": rng.normal(size=2 * GROUP).astype(np.float32) for i in range(NUMBERS)}
        columns["label"] = rng.integers(0, 2, 2 * GROUP).astype(np.float32)
        pq.write_table(pa.table(columns), folder / f"train-{shard:02}.parquet", row_group_size=GROUP)


def tutorial_spec() -> FeatureSpec:
    """Returns the spec of the tutorial: two ids, one number, genres."""
    ids = [CategoricalFeature(name=name, dtype="int64", encoding=Identity(num_buckets=6100)) for name in ("user", "movie")]
    genres = MultiValuedFeature(name="genres", dtype="int64", encoding=Identity(num_buckets=20))
    return FeatureSpec(name="tutorial", features=(*ids, NumericFeature(name="year"), genres), label=Label(column="label"))


def write_tutorial(archive: Path, folder: Path) -> None:
    """Writes the first ratings of MovieLens-1M, in random order."""
    with zipfile.ZipFile(archive) as files:
        ratings, movies = _fields(files.read("ml-1m/ratings.dat"), 4), _fields(files.read("ml-1m/movies.dat"), 3)
    numbers, titles, kinds = (column.to_pylist() for column in movies)
    names = sorted({genre for kind in kinds for genre in kind.split("|")})
    genres = {number: [1 + names.index(genre) for genre in kind.split("|")] for number, kind in zip(numbers, kinds, strict=True)}
    years = {number: (float(title[-5:-1]) - 1980) / 20 for number, title in zip(numbers, titles, strict=True)}
    chosen = np.random.default_rng(0).permutation(len(ratings[0]))[:TUTORIAL_ROWS]
    movie = ratings[1].to_numpy()[chosen]
    codes = {int(number): place + 1 for place, number in enumerate(np.unique(movie))}
    table = {
        "user": ratings[0].to_numpy()[chosen],
        "movie": np.array([codes[number] for number in movie.tolist()]),
        "year": np.array([years[number] for number in movie.tolist()], np.float32),
        "genres": pa.array([genres[number] for number in movie.tolist()], pa.list_(pa.int64())),
        "label": (ratings[2].to_numpy()[chosen] >= 4).astype(np.float32),
    }
    folder.mkdir(parents=True)
    pq.write_table(pa.table(table), folder / "train-0.parquet", row_group_size=GROUP)


def _fields(text: bytes, count: int) -> list[pa.ChunkedArray]:
    """Returns the fields of lines that are parted by "::", which Arrow cannot read: it takes one character."""
    names = [f"f{i}" for i in range(count)]
    read = pa_csv.ReadOptions(column_names=names, encoding="latin1")
    parsing = pa_csv.ParseOptions(delimiter="\x01", quote_char=False)
    return pa_csv.read_csv(io.BytesIO(text.replace(b"::", b"\x01")), read, parsing).columns


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _loop(model: str, spec: FeatureSpec, batch: int, settings: dict[str, Any]) -> Any:  # noqa: ANN401 (a Loop, of TensorFlow)
    import tensorflow as tf

    from trainer.config import TrainingConfig
    from trainer.data import element_spec
    from trainer.layers import Inputs
    from trainer.loop import Loop
    from trainer.models.registry import get_model
    from trainer.tasks import BinaryTask

    tf.config.experimental.enable_op_determinism()  # as estimators do
    tf.random.set_seed(0)
    return Loop(get_model(model)(Inputs(spec), **settings), BinaryTask(), TrainingConfig(batch_size=batch), element_spec(spec))


def _train(loop: Any, iterator: object, steps: int) -> float:  # noqa: ANN401
    """Returns the seconds that `steps` steps took, in calls of ten as a run has them."""
    started = time.perf_counter()
    for begin in range(0, steps, 10):
        loop.train(iterator, min(10, steps - begin))
    return time.perf_counter() - started


def speed(data: Any, model: str) -> dict[str, Any]:  # noqa: ANN401 (ParquetBatches)
    """Returns examples/s from memory and from disk, in turns."""
    import tensorflow as tf

    name = model.partition(":")[0]
    loop, steps = _loop(name, data.spec, BATCH, _MLP[name]), STEPS[model]
    some = [batch for _, batch in zip(range(20), data.dataset(), strict=False)]
    held = tf.nest.map_structure(lambda *parts: tf.stack(parts), *some)
    memory = iter(tf.data.Dataset.from_tensor_slices(held).repeat())
    epoch, disk, left = 0, iter(data.dataset()), data.num_batches
    rates: dict[str, list[float]] = {"memory": [], "disk": []}
    for turn in range(TURNS + 1):
        if left < steps:
            epoch += 1
            disk, left = iter(data.dataset(epoch)), data.num_batches
        seconds = {"memory": _train(loop, memory, steps)}
        loop.take_seconds_waited()
        seconds["disk"] = _train(loop, disk, steps)
        left -= steps
        if turn:  # the first one traces
            for name, passed in seconds.items():
                rates[name].append(steps * BATCH / passed)
    return {name: sorted(found) for name, found in rates.items()}


def reader(data: Any, epochs: int) -> dict[str, Any]:  # noqa: ANN401
    """Returns what reading alone takes: CPU time of a batch, rate, and an epoch's start."""
    import tensorflow as tf

    @tf.function(reduce_retracing=True)
    def drain(iterator: Any, batches: tf.Tensor) -> tf.Tensor:  # noqa: ANN401
        rows = tf.constant(0, tf.int64)
        for _ in tf.range(batches):
            rows += tf.size(next(iterator)[1], tf.int64)
        return rows

    found: dict[str, list[float]] = {"milliseconds": [], "rate": [], "start": []}
    for epoch in range(epochs + 1):
        begun, cpu = time.perf_counter(), _cpu()
        iterator = iter(data.dataset(epoch))
        started = time.perf_counter() - begun
        rows = int(drain(iterator, tf.constant(data.num_batches)))
        if epoch:
            found["milliseconds"].append((_cpu() - cpu) / data.num_batches * 1000)
            found["rate"].append(rows / (time.perf_counter() - begun))
            found["start"].append(started)
    return {name: statistics.median(values) for name, values in found.items()}


def tutorial(data: Any) -> dict[str, Any]:  # noqa: ANN401
    """Returns the seconds of three epochs, each with its start, after some steps that trace."""
    loop = _loop("deepfm", data.spec, TUTORIAL_BATCH, {"embedding_dim": 20, "hidden_units": (64, 64), "dropout": 0.0, "batch_norm": False})
    _train(loop, iter(data.dataset(9)), 20)
    found = []
    for epoch in range(3):
        loop.take_seconds_waited()
        started = time.perf_counter()
        iterator = loop.waiting(lambda epoch=epoch: iter(data.dataset(epoch)))
        _train(loop, iterator, data.num_batches)
        found.append({"seconds": time.perf_counter() - started, "input": loop.take_seconds_waited()})
    return min(found, key=lambda each: each["seconds"])


def run_part(part: str, folder: Path) -> dict[str, Any]:
    """Does one part in this process."""
    load_tensorflow()
    from trainer.data import ParquetBatches

    what, _, which = part.partition(":")
    spec = tutorial_spec() if what == "tutorial" else criteo_shaped(TABLE_ROWS)
    shards = sorted((folder / {"tutorial": "tutorial", "memory": f"criteo-{which}"}.get(what, "criteo-4")).glob("*.parquet"))
    data = ParquetBatches(shards, spec, TUTORIAL_BATCH if what == "tutorial" else BATCH, shuffle_rows=BUFFER)
    if what == "tutorial":
        return tutorial(data)
    return speed(data, which) if what == "speed" else reader(data, 3 if what == "reader" else 1)


def report(found: dict[str, dict[str, Any]], memory: dict[str, int]) -> str:
    """Returns from_disk.md."""
    median, lines = statistics.median, []
    for model in STEPS:
        ours = found[f"speed:{model}"]
        disk, held = median(ours["disk"]), median(ours["memory"])
        limit, wanted = ("95 % of memory", 0.95 * held) if model == "deepfm" else ("500,000/s", 500_000)
        spread = f"{ours['disk'][0]:,.0f} - {ours['disk'][-1]:,.0f}"
        rates = f"{held:,.0f} | {disk:,.0f} | {spread} | {disk / held:.1%}"
        held_to = "holds" if disk >= wanted else f"missed by {1 - disk / wanted:.0%}"
        lines.append(f"| {_NAMES.get(model, model)} | {rates} | {limit}: {held_to} |")
    alone = found["reader"]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("tensorflow", "pyarrow", "numpy"))
    text = [
        "# Training from disk",
        "",
        f"`python -m benchmarks.from_disk`, {datetime.date.today()}, {versions}, Python {platform.python_version()},",
        f"{machine()}. Batch {BATCH}, {FIELDS} tokens and {NUMBERS} numbers, width 16, MLP 400-400-400, lazy Adam, float32;",
        f"Parquet as the preprocessing job writes it, in the system's cache; shuffled, {BUFFER:,} rows at a time. Median of {TURNS} turns,",
        "from memory and from disk in turn.",
        "",
        "| model | from memory, examples/s | from disk | range | to memory | wanted |",
        "| --- | --- | --- | --- | --- | --- |",
        *lines,
        "",
        f"The reader alone: {alone['rate']:,.0f} examples/s, {alone['milliseconds']:.2f} ms of CPU time a batch; an epoch starts in",
        f"{alone['start'] * 1000:.0f} ms, and its first batch waits for the first {BUFFER:,} rows.",
        "",
        f"Memory of a process that reads an epoch of {GROUP * GROUPS:,} rows: {memory['1'] / 1e6:,.0f} MB at its peak; of four times",
        f"as many: {memory['4'] / 1e6:,.0f} MB, TensorFlow included.",
    ]
    text += ["", *_TRIED.splitlines()]
    if "tutorial" in found:
        seconds, share = found["tutorial"]["seconds"], found["tutorial"]["input"] / found["tutorial"]["seconds"]
        text += [
            "",
            f"DeepFM of the seed tutorial (MovieLens-1M, k = 20, MLP 64-64, batch {TUTORIAL_BATCH}): an epoch of {TUTORIAL_ROWS:,} rows",
            f"takes {seconds:.2f} s, {share:.0%} of it waiting for input; under 4 s: {'holds' if seconds < 4 else 'missed'}.",
        ]
    return "\n".join(text) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the data, does the parts and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark-from-disk"))
    parser.add_argument("--inputs", type=Path, default=os.environ.get("COLONNADE_DATA", ROOT / "../shared/data"), help="raw data")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    parser.add_argument("--part", help="do this one and print what it finds")
    flags = parser.parse_args(arguments)
    restart_with_huge_pages("benchmarks.from_disk")  # as trainer.task does
    if flags.part:
        print(json.dumps(run_part(flags.part, flags.folder)))
        return
    for name, times in (("criteo-1", 1), ("criteo-4", 4)):
        if not (flags.folder / name).is_dir():
            write_criteo(flags.folder / name, GROUPS * times)
    archive, parts = flags.inputs / "ml-1m" / "ml-1m.zip", [*(f"speed:{model}" for model in STEPS), "reader", "memory:1", "memory:4"]
    if archive.is_file():
        parts.append("tutorial")
        if not (flags.folder / "tutorial").is_dir():
            write_tutorial(archive, flags.folder / "tutorial")
    found, memory = {}, {}
    for part in parts:
        log = flags.folder / f"{part.replace(':', '-')}.log"
        command = [sys.executable, "-m", "benchmarks.from_disk", "--part", part, "--folder", str(flags.folder)]
        if part == "speed:lr:apart":
            command = ["env", "TF_NUM_INTRAOP_THREADS=1", *command]
        measured = measure(command, log)
        found[part] = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
        print(part, found[part], flush=True)
        if part.startswith("memory:"):
            memory[part[-1]] = measured.peak_pss
    flags.output.write_text(report(found, memory), encoding="utf-8")


if __name__ == "__main__":
    main()
