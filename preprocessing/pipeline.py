"""The preprocessing job: raw files to a data directory, in three stages.

1. ingest: text to raw examples, one Arrow file a shard, in a staging folder;
2. analysis: TF-Transform computes vocabularies and moments on the training rows and saves the transform graph;
3. transform: raw examples through that graph to Parquet, with statistics.

They run in this process, in worker processes, or on a Beam runner of the user's choice: see `execution`.

Two functions are for use from outside:

    build(spec, output, inputs=None, beam_args=(), show_progress=True) -> DataDirectory
    transform_only(spec, inputs, transform_fn, output_dir) -> list[Path]

`transform_only` pushes raw rows through stages 1 and 3 with an existing transform graph. `inputs` are files in the data set's own layout
(joined, histories built from these very rows) or a pyarrow Table of flat raw examples, keyed by feature names. It returns Parquet files
that hold, for every row, `raw.<feature>` beside `<feature>`, and `label` where there is one.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from feature_specs import ColonnadeError, FeatureSpec
from preprocessing.artifacts import DataDirectory, content_digest
from preprocessing.building import claimed, publish
from preprocessing.examples import SPLITS, from_table
from preprocessing.execution import Execution, InProcess, choose
from preprocessing.ingest import IngestPlan, ingest, partition_count
from preprocessing.progress import stage
from preprocessing.sources.files import find_files
from preprocessing.sources.joins import common_columns, store, wanted_columns
from preprocessing.sources.text import plan as plan_ranges
from preprocessing.staging import write_table
from preprocessing.statistics import merge, readable

# What needs TensorFlow is imported where it is needed: while worker processes read, this one loads it.
if TYPE_CHECKING:
    from preprocessing.shards import TransformPlan


def build(
    spec: FeatureSpec, output: str | Path, inputs: Sequence[str] | None = None, beam_args: Sequence[str] = (), show_progress: bool = True
) -> DataDirectory:
    """Builds the data directory `output`; one that is already finished for the same spec is left as it is.

    Args:
        spec: The data set.
        output: The data directory.
        inputs: Files, folders and globs; the data set is fetched where not given.
        beam_args: Flags for Beam, such as "--runner=..."; without a runner, the size of the input decides between this process and
            worker processes on all cores.
        show_progress: Whether to report stages and rows on stderr.

    Raises:
        ColonnadeError: Anything that the user can mend.
    """
    output = Path(output)
    with claimed(output, spec) as staging:
        if staging is None:
            return DataDirectory.open(output, spec)
        with closing(_Job(spec, staging, beam_args, show_progress)) as job:
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
        from preprocessing.shards import transform_in_pairs

        with closing(_Job(spec, Path(folder), ("--direct_num_workers=1",), show_progress=False)) as job:
            if isinstance(inputs, pa.Table):
                job.take(from_table(spec, inputs))
            else:
                job.ingest(inputs)
            names = transform_in_pairs(job.execution, job.transform_plan(str(transform_fn), {}), job.shards)
        job.move_rejected(output_dir)
        for name in names:
            shutil.move(job.finished / name, output_dir / name)
    return [output_dir / name for name in names]


class _Job:
    """One run of the three stages in a local staging folder."""

    def __init__(self, spec: FeatureSpec, staging: Path, beam_args: Sequence[str], show_progress: bool) -> None:
        self._spec = spec
        self._staging = staging
        self._options = list(beam_args)
        self._show = show_progress
        self.execution: Execution = InProcess(show_progress)
        self.finished = staging / "finished"
        self.shards: list[dict[str, Any]] = []
        self.rows = {"in": 0, "out": 0, "rejected": 0}
        self.written: list[dict[str, Any]] = []
        for name in ("finished", "raw", "rejected", "shuffle", "sides", "temporary"):
            (staging / name).mkdir()

    @property
    def splits(self) -> dict[str, int]:
        """Rows by split."""
        totals = np.sum([shard["splits"] for shard in self.shards], axis=0, initial=0)
        return dict(zip(SPLITS, np.broadcast_to(totals, 3).tolist(), strict=True))

    def close(self) -> None:
        """Ends what was started."""
        self.execution.close()

    def ingest(self, inputs: Sequence[str] | None) -> list[str]:
        """Runs the first stage and returns the files it read."""
        spec, staging = self._spec, str(self._staging)
        found = find_files(spec, inputs)
        self.execution = choose(sum(file.size for file in found.rows), self._options, self._staging, self._show)
        tables = [spec.source.rows, *(join.table for join in spec.source.joins)]
        planned = [plan_ranges(table, files) for table, files in zip(tables, [found.rows, *found.joins], strict=True)]
        wanted = wanted_columns(spec, [common_columns(ranges) for ranges in planned])
        sides = tuple(
            store(join, ranges, columns, f"{staging}/sides/{i}.arrow")
            for i, (join, ranges, columns) in enumerate(zip(spec.source.joins, planned[1:], wanted[1:], strict=True))
        )
        num_shards = partition_count(planned[0]) if spec.histories else len(planned[0])
        plan = IngestPlan(spec, tuple(wanted[0]), sides, num_shards, staging)
        ranges, self.shards = ingest(self.execution, plan, planned[0])
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
        """Runs the second stage."""
        if self.splits["train"] == 0:
            raise ColonnadeError(f"None of the {self.rows['out']} rows is in the training split. Give more rows, or another split.seed.")
        from preprocessing.analysis import analyze

        paths = [shard["path"] for shard in self.shards]
        with stage("analyze", self.splits["train"], self._show):
            analyze(self._spec, paths, self.finished, self._staging / "temporary")

    def transform_plan(self, transform_fn: str, first_oov: dict[str, int]) -> TransformPlan:
        """Returns what the third stage has to know."""
        from preprocessing.shards import TransformPlan

        return TransformPlan(self._spec, transform_fn, str(self.finished), len(self.shards), first_oov)

    def transform(self) -> None:
        """Runs the third stage."""
        from preprocessing.analysis import first_oov_ids, vocabulary_sizes
        from preprocessing.shards import transform

        sizes = vocabulary_sizes(self._spec, self.finished / "transform_fn")
        plan = self.transform_plan(str(self.finished / "transform_fn"), first_oov_ids(self._spec, sizes))
        self.written = transform(self.execution, plan, self.shards, self.rows["out"])

    def finish(self) -> Path:
        """Writes what goes beside the Parquet files and returns the folder that holds everything."""
        from preprocessing.analysis import all_table_rows, vocabulary_sizes
        from preprocessing.sample import write_sample

        by_split = {split: [record for record in self.written if record["split"] == split] for split in SPLITS}
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
