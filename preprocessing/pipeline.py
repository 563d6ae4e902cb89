"""The preprocessing job: raw files to a data directory, in three Beam pipelines.

1. ingest: text to raw examples, one Arrow file a shard, in a staging folder;
2. analysis: TF-Transform computes vocabularies and moments on the training rows and saves the transform graph;
3. transform: raw examples through that graph to Parquet, with statistics.

Two functions are for use from outside:

    build(spec, output, inputs=None, beam_args=(), show_progress=True) -> DataDirectory
    transform_only(spec, inputs, transform_fn, output_dir) -> list[Path]

`transform_only` pushes raw rows through stages 1 and 3 with an existing transform graph. `inputs` are files in the data set's own layout
(joined, histories built from these very rows) or a pyarrow Table of flat raw examples, keyed by feature names. It returns Parquet files
that hold, for every row, `raw.<feature>` beside `<feature>`, and `label` where there is one.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow_transform.beam as tft_beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from feature_specs import ColonnadeError, FeatureSpec
from preprocessing.analysis import all_table_rows, analyze, first_oov_ids, vocabulary_sizes
from preprocessing.artifacts import DataDirectory, content_digest
from preprocessing.building import claimed, publish
from preprocessing.examples import SPLITS, from_table
from preprocessing.ingest import IngestPlan, ingest, partition_count
from preprocessing.progress import stage
from preprocessing.sample import write_sample
from preprocessing.shards import TransformPlan, transform, transform_in_pairs
from preprocessing.sources.files import find_files
from preprocessing.sources.joins import common_columns, store, wanted_columns
from preprocessing.sources.text import plan as plan_ranges
from preprocessing.staging import read_json, write_table
from preprocessing.statistics import merge, readable

_IN_PROCESS = (None, "DirectRunner", "FnApiRunner")


def build(
    spec: FeatureSpec, output: str | Path, inputs: Sequence[str] | None = None, beam_args: Sequence[str] = (), show_progress: bool = True
) -> DataDirectory:
    """Builds the data directory `output`; one that is already finished for the same spec is left as it is.

    Args:
        spec: The data set.
        output: The data directory.
        inputs: Files, folders and globs; the data set is fetched where not given.
        beam_args: Flags for Beam, such as "--runner=...".
        show_progress: Whether to report stages and rows on stderr.

    Raises:
        ColonnadeError: Anything that the user can mend.
    """
    output = Path(output)
    with claimed(output, spec) as staging:
        if staging is None:
            return DataDirectory.open(output, spec)
        job = _Job(spec, staging, beam_args, show_progress)
        files = job.ingest(inputs)
        job.analyze()
        job.transform()
        finished = job.finish()
        shards = {path.name: path.stat().st_size for path in sorted(finished.glob("*-of-*.parquet"))}
        success = {
            "fingerprint": spec.fingerprint,
            "digest": content_digest(finished, shards),
            "spec": spec.name,
            "splits": job.splits,
            "shards": shards,
            "inputs": files,
        }
        publish(finished, output, success)
    return DataDirectory.open(output, spec)


def transform_only(spec: FeatureSpec, inputs: Sequence[str] | pa.Table, transform_fn: str | Path, output_dir: str | Path) -> list[Path]:
    """Pushes raw rows through the job with an existing transform graph.

    Args:
        spec: The data set.
        inputs: Files, folders and globs in the data set's layout, or flat raw examples keyed by feature names.
        transform_fn: The graph, such as RUN_DIR/transform_fn.
        output_dir: Where the Parquet files go.

    Returns:
        The files in order, with `raw.<feature>`, `<feature>` and, where there is one, `label`. Rejected rows are in none of them but in
        `rejected-*.jsonl` beside them.
    """
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output_dir, prefix=".staging-") as folder:
        job = _Job(spec, Path(folder), (), show_progress=False)
        if isinstance(inputs, pa.Table):
            job.take(from_table(spec, inputs))
        else:
            job.ingest(inputs)
        plan = job.transform_plan(str(transform_fn), {})
        job.run("transform", lambda pipeline: transform_in_pairs(pipeline, plan, job.shards))
        names = sorted(record["file"] for record in read_json(f"{folder}/written.json"))
        job.move_rejected(output_dir)
        for name in names:
            shutil.move(job.finished / name, output_dir / name)
    return [output_dir / name for name in names]


def _users_mistake(error: Exception) -> str | None:
    """Returns the message of a ColonnadeError raised in a worker; Beam adds where it was, or hands on the text of the traceback alone."""
    said = re.search(
        r"ColonnadeError: (.*)$", f"ColonnadeError: {error}" if isinstance(error, ColonnadeError) else str(error), re.MULTILINE
    )
    return said and said[1].split(" [while running")[0]


class _Job:
    """One run of the three pipelines in a local staging folder."""

    def __init__(self, spec: FeatureSpec, staging: Path, beam_args: Sequence[str], show_progress: bool) -> None:
        self._spec = spec
        self._staging = staging
        self._options = list(beam_args)
        self._show = show_progress
        self.finished = staging / "finished"
        self.shards: list[dict[str, Any]] = []
        self.rows = {"in": 0, "out": 0, "rejected": 0}
        for name in ("finished", "raw", "rejected", "shuffle", "sides", "temporary"):
            (staging / name).mkdir()

    @property
    def splits(self) -> dict[str, int]:
        """Rows by split."""
        totals = np.sum([shard["splits"] for shard in self.shards], axis=0, initial=0)
        return dict(zip(SPLITS, np.broadcast_to(totals, 3).tolist(), strict=True))

    def run(self, name: str, construct: Callable[[beam.Pipeline], None], total: int | None = None) -> None:
        """Runs one pipeline; a ColonnadeError inside a worker comes out as one."""
        options = PipelineOptions(self._options)
        in_process = options.view_as(StandardOptions).runner in _IN_PROCESS
        try:
            with stage(name, total, self._show), tft_beam.Context(temp_dir=str(self._staging / "temporary")):
                try:
                    # DirectRunner would first try to download another runner.
                    pipeline = beam.Pipeline(runner=FnApiRunner() if in_process else None, options=options)
                except ValueError as error:
                    raise ColonnadeError(f"Beam refuses its options: {' '.join(str(error).split())}") from error
                construct(pipeline)
                pipeline.run().wait_until_finish()
        except Exception as error:
            mistake = _users_mistake(error)
            if mistake is None:
                raise
            raise ColonnadeError(mistake) from error

    def ingest(self, inputs: Sequence[str] | None) -> list[str]:
        """Runs the first pipeline and returns the files it read."""
        spec, staging = self._spec, str(self._staging)
        found = find_files(spec, inputs)
        tables = [spec.source.rows, *(join.table for join in spec.source.joins)]
        planned = [plan_ranges(table, files) for table, files in zip(tables, [found.rows, *found.joins], strict=True)]
        wanted = wanted_columns(spec, [common_columns(ranges) for ranges in planned])
        sides = tuple(
            store(join, ranges, columns, f"{staging}/sides/{i}.arrow")
            for i, (join, ranges, columns) in enumerate(zip(spec.source.joins, planned[1:], wanted[1:], strict=True))
        )
        num_shards = partition_count(planned[0]) if spec.histories else len(planned[0])
        plan = IngestPlan(spec, tuple(wanted[0]), sides, num_shards, staging)
        self.run("read", lambda pipeline: ingest(pipeline, plan, planned[0]))
        self.shards = sorted(read_json(f"{staging}/shards.json"), key=lambda shard: shard["index"])
        ranges = read_json(f"{staging}/ranges.json")
        self.rows["in"] = sum(record["rows"] for record in ranges)
        self.rows["rejected"] = sum(record["rejected"] for record in ranges)
        self.rows["out"] = sum(self.splits.values())
        if self.rows["in"] == 0:
            raise ColonnadeError(f"Input {found.rows[0].path!r} has no rows. Give a file with rows.")
        if self.rows["out"] == 0:
            raise ColonnadeError(f"All {self.rows['in']} rows were rejected. The first: {self._first_rejected()}.")
        return [file.path for files in (found.rows, *found.joins) for file in files]

    def take(self, examples: pa.Table) -> None:
        """Takes raw examples as they are, as one shard of the test split."""
        path = str(self._staging / "raw" / "00000.arrow")
        write_table(path, examples.append_column("_split", pa.array(np.full(len(examples), 2, np.int8))))
        self.shards = [{"index": 0, "path": path, "splits": [0, 0, len(examples)]}]

    def _first_rejected(self) -> str:
        with min((self._staging / "rejected").iterdir()).open(encoding="utf-8") as lines:
            first = json.loads(next(lines))
        return f"{first['reason']} ({first['file']}, line {first['line']})"

    def analyze(self) -> None:
        """Runs the second pipeline."""
        if self.splits["train"] == 0:
            raise ColonnadeError(f"None of the {self.rows['out']} rows is in the training split. Give more rows, or another split.seed.")
        paths = [shard["path"] for shard in self.shards]
        self.run("analyze", lambda pipeline: analyze(pipeline, self._spec, paths, str(self.finished)), self.splits["train"])
        # The spec says what is in it.
        shutil.rmtree(self.finished / "transformed_metadata")

    def transform_plan(self, transform_fn: str, first_oov: dict[str, int]) -> TransformPlan:
        """Returns what the workers of the third pipeline have to know."""
        return TransformPlan(self._spec, transform_fn, str(self.finished), str(self._staging), len(self.shards), first_oov)

    def transform(self) -> None:
        """Runs the third pipeline."""
        sizes = vocabulary_sizes(self._spec, self.finished / "transform_fn")
        plan = self.transform_plan(str(self.finished / "transform_fn"), first_oov_ids(self._spec, sizes))
        self.run("transform", lambda pipeline: transform(pipeline, plan, self.shards), self.rows["out"])

    def finish(self) -> Path:
        """Writes what goes beside the Parquet files and returns the folder that holds everything."""
        # Workers end in any order; sums of floats should not depend on it.
        written = sorted(read_json(f"{self._staging}/written.json"), key=lambda record: record["file"])
        by_split = {split: [record for record in written if record["split"] == split] for split in SPLITS}
        merged = {split: merge([record["features"] for record in records]) for split, records in by_split.items()}
        sizes = vocabulary_sizes(self._spec, self.finished / "transform_fn")
        statistics = {
            "rows": self.rows,
            "splits": self.splits,
            "tables": all_table_rows(self._spec, sizes),
            "label": {split: sum(r["label_sum"] for r in records) / max(self.splits[split], 1) for split, records in by_split.items()},
            "features": {
                feature.name: {split: readable(sums[feature.name]) for split, sums in merged.items() if sums}
                for feature in self._spec.features
            },
        }
        (self.finished / "statistics.json").write_text(json.dumps(statistics, indent=2) + "\n", encoding="utf-8")
        (self.finished / "spec.json").write_text(self._spec.to_json(), encoding="utf-8")
        if not self.move_rejected(self.finished):
            (self.finished / "rejected-00000-of-00001.jsonl").touch()
        write_sample(self._spec, self.shards, self.finished)
        return self.finished

    def move_rejected(self, folder: Path) -> int:
        """Moves the files of rejected rows into `folder` and returns how many they are."""
        rejected = sorted((self._staging / "rejected").iterdir())
        for i, path in enumerate(rejected):
            shutil.move(path, folder / f"rejected-{i:05d}-of-{len(rejected):05d}.jsonl")
        return len(rejected)
