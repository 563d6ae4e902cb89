"""One run of the preprocessing job: what its three stages, see `pipeline`, hand to each other."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from feature_specs import ColonnadeError, FeatureSpec
from preprocessing import report
from preprocessing.candidates import TABLE as CANDIDATES
from preprocessing.candidates import FixedCandidates, check_given
from preprocessing.examples import SPLITS
from preprocessing.execution import Execution, InProcess, choose, load, loading
from preprocessing.ingest import IngestPlan, ingest
from preprocessing.partitions import partition_count
from preprocessing.pretrained import write_pretrained
from preprocessing.progress import stage
from preprocessing.rejections import check_rejected
from preprocessing.sources.files import find_files
from preprocessing.sources.joins import store, wanted_columns
from preprocessing.sources.ranges import Range
from preprocessing.sources.tables import common_columns
from preprocessing.sources.tables import plan as plan_ranges
from preprocessing.staging import write_table
from preprocessing.statistics import SKETCHES, collected, describe, to_json

# What needs TensorFlow is imported where it is needed: while worker processes read, this one loads it.
if TYPE_CHECKING:
    from preprocessing.shards import TransformPlan


class Job:
    """One run of the three stages in a local staging folder; `finished` is what becomes the data directory."""

    def __init__(self, spec: FeatureSpec, staging: Path, beam_args: Sequence[str], show_progress: bool) -> None:
        self._spec = spec
        self._staging = staging
        self._options = list(beam_args)
        self._show = show_progress
        self.execution: Execution = InProcess(show_progress)
        self.finished = staging / "finished"
        self.shards: list[dict[str, Any]] = []
        self.rows = {"in": 0, "out": 0, "rejected": 0, "negatives": 0}
        self.written: list[dict[str, Any]] = []
        self._ranges: list[dict[str, Any]] = []
        self._candidates: list[Range] = []
        self._num_partitions = 0
        self._users: dict[str, Any] = {}
        self.warnings: list[str] = []
        for name in (
            "counts",
            "finished",
            "items",
            "moments",
            "numbers",
            "raw",
            "rejected",
            "shuffle",
            "sides",
            "sketches",
            "temporary",
            "vocabularies",
        ):
            (staging / name).mkdir()

    @property
    def splits(self) -> dict[str, int]:
        """Rows by split."""
        totals = np.sum([shard["splits"] for shard in self.shards], axis=0, initial=0)
        return dict(zip(SPLITS, np.broadcast_to(totals, 3).tolist(), strict=True))

    @property
    def written_rows(self) -> dict[str, int]:
        """Rows of the Parquet files by split: users, where the spec is for matching."""
        return {split: sum(file["rows"] for file in self.written if file["split"] == split) for split in SPLITS}

    def close(self) -> None:
        """Ends what was started."""
        self.execution.close()

    def ingest(self, inputs: Sequence[str] | None, alone: bool = False) -> dict[str, int]:
        """Runs the first stage, and loads TensorFlow meanwhile unless it runs alone; returns the files it read with their bytes."""
        spec, staging = self._spec, str(self._staging)
        given = find_files(spec, inputs)
        check_given(spec, given.candidates)
        found = given.unpacked(f"{staging}/unpacked")
        tables = [spec.source.rows, *(join.table for join in spec.source.joins)]
        planned = [plan_ranges(table, files) for table, files in zip(tables, [found.rows, *found.joins], strict=True)]
        wanted = wanted_columns(spec, [common_columns(ranges) for ranges in planned])
        sides = tuple(
            # A name of its own: workers keep what they have loaded.
            store(join, ranges, columns, f"{staging}/sides/{i}-{uuid.uuid4().hex}.arrow")
            for i, (join, ranges, columns) in enumerate(zip(spec.source.joins, planned[1:], wanted[1:], strict=True))
        )
        plan = IngestPlan(spec, tuple(wanted[0]), sides, partition_count(spec, planned[0]), staging)
        self._candidates, self._num_partitions = plan_ranges(CANDIDATES, found.candidates), plan.num_shards
        # Before anything else is on stderr: workers inherit it, and the import that follows closes it for a while.
        self.execution = choose(sum(file.size for file in found.rows), self._options, self._staging, self._show)
        with nullcontext() if alone else loading():
            ranges, self.shards = ingest(self.execution, plan, planned[0])
        self.rows["in"] = sum(record["rows"] for record in ranges)
        self._ranges = ranges
        if spec.is_matching:
            self.rows["left_out"] = sum(record["left_out"] for record in ranges)
        self.rows["rejected"] = sum(record["rejected"] for record in ranges)
        self.rows["out"] = sum(self.splits.values())
        self.rows["negatives"] = sum(shard.get("negatives", 0) for shard in self.shards)
        if self.rows["in"] == 0:
            raise ColonnadeError(f"Input {found.rows[0].path!r} has no rows. Give a file with rows.")
        return {file.path: file.size for files in (given.rows, *given.joins, given.candidates) for file in files}

    def take(self, examples: pa.Table) -> None:
        """Takes raw examples as they are, as one shard of the test split."""
        path = str(self._staging / "raw" / "00000.arrow")
        write_table(path, examples.append_column("_split", pa.array(np.full(len(examples), 2, np.int8))))
        self.shards = [{"index": 0, "path": path, "splits": [0, 0, len(examples)]}]

    def check_rejected(self, limit: float, output: Path | None = None) -> None:
        """Refuses input of which too many rows were set aside; then these are moved to `output`."""
        written = sorted((self._staging / "rejected").iterdir())
        kept = f"{output}/rejected-*.jsonl" if output else None
        try:
            check_rejected(self.rows["in"], self.rows["rejected"], limit, written, kept)
        except ColonnadeError:
            if output:
                self.move_rejected(output)
            raise

    def analyze(self) -> None:
        """Runs the second stage."""
        if self.splits["train"] == 0:
            raise ColonnadeError(f"None of the {self.rows['out']} rows is in the training split. Give more rows, or change `split`.")
        load()
        from preprocessing.analysis import analyze, write_transform_fn
        from preprocessing.shards import keep

        analysis = analyze(self._spec, self.execution, [shard["index"] for shard in self.shards], str(self._staging))
        self.warnings = list(analysis.warnings)
        with stage("graph", None, self._show):
            path = self.finished / "transform_fn"
            keep(str(path), write_transform_fn(self._spec, analysis, path, self._staging / "temporary"))

    def transform_plan(self, transform_fn: str, table_rows: dict[str, int]) -> TransformPlan:
        """Returns what the third stage has to know."""
        load()
        from preprocessing.shards import TransformPlan

        return TransformPlan(self._spec, transform_fn, str(self.finished), len(self.shards), str(self._staging / "sketches"), table_rows)

    def transform(self) -> None:
        """Runs the third stage."""
        from preprocessing.analysis import all_table_rows, vocabulary_sizes
        from preprocessing.shards import transform

        sizes = vocabulary_sizes(self._spec, self.finished / "transform_fn")
        plan = self.transform_plan(str(self.finished / "transform_fn"), all_table_rows(self._spec, sizes))
        if self._spec.is_matching:
            self._transform_users(plan)
            return
        self.written = transform(self.execution, plan, self.shards, self.rows["out"])

    def _transform_users(self, plan: TransformPlan) -> None:
        from preprocessing.matching import write_users

        given = FixedCandidates(tuple(self._candidates), self._num_partitions)
        self.written, of_users = write_users(self.execution, plan, self._ranges, given, self.shards, self._staging)
        self._users = {**of_users, "user_rows": self.written_rows, "interactions": self.splits}

    def finish(self) -> Path:
        """Writes what goes beside the Parquet files and returns the folder that holds everything."""
        from preprocessing.analysis import all_table_rows, first_tokens, vocabulary_sizes
        from preprocessing.sample import write_sample

        tables = all_table_rows(self._spec, vocabulary_sizes(self._spec, self.finished / "transform_fn"))
        splits = collected(self._spec, tables, self.written)
        described = describe(self._spec, splits, tables, partial(first_tokens, self.finished / "transform_fn"))
        described["warnings"] += self.warnings
        statistics = {"rows": self.rows, "splits": self.splits, **self._users, "tables": tables, **described}
        if coverage := write_pretrained(self._spec, self.finished):
            statistics["pretrained"] = coverage
        (self.finished / "statistics.json").write_text(to_json(statistics), encoding="utf-8")
        (self.finished / report.FILE).write_text(report.everything(self._spec, statistics), encoding="utf-8")
        for split, summary in splits.items():
            write_table(str(self.finished / SKETCHES.format(split)), summary.to_table())
        (self.finished / "spec.json").write_text(self._spec.to_json(), encoding="utf-8")
        if not self.move_rejected(self.finished):
            (self.finished / "rejected-00000-of-00001.jsonl").touch()
        if not self._spec.is_matching:
            write_sample(self._spec, self.shards, self.finished)
        return self.finished

    def move_rejected(self, folder: Path) -> int:
        """Moves the files of rejected rows into `folder` and returns how many they are."""
        rejected = sorted((self._staging / "rejected").iterdir())
        for i, path in enumerate(rejected):
            shutil.move(path, folder / f"rejected-{i:05d}-of-{len(rejected):05d}.jsonl")
        return len(rejected)
