"""The preprocessing job: raw files to a data directory, in three stages.

1. ingest: text to raw examples, one Arrow file a shard, in a staging folder;
2. analysis: TF-Transform computes vocabularies and moments on the training rows and saves the transform graph;
3. transform: raw examples through that graph to Parquet, with statistics.

They run in this process, in worker processes, or on a Beam runner of the user's choice: see `execution`.

A run of them is a `Job`. Two functions are for use from outside:

    build(spec, output, inputs=None, beam_args=(), show_progress=True) -> DataDirectory
    transform_only(spec, inputs, transform_fn, output_dir) -> list[Path]

`transform_only` pushes raw rows through stages 1 and 3 with an existing transform graph. `inputs` are files in the data set's own layout
(joined, histories built from these very rows) or a pyarrow Table of flat raw examples, keyed by feature names. It returns Parquet files
that hold, for every row, `raw.<feature>` beside `<feature>`, and `label` where there is one.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa

from feature_specs import FeatureSpec, FilesSplit
from preprocessing.artifacts import ITEMS, DataDirectory, content_digest
from preprocessing.building import claimed, publish
from preprocessing.extraction import check_patterns
from preprocessing.flat_examples import from_table
from preprocessing.given import check_given
from preprocessing.job import Job
from preprocessing.pretrained import check_pretrained
from preprocessing.rejections import MAX_REJECTED_FRACTION, check_fraction


def build(
    spec: FeatureSpec,
    output: str | Path,
    inputs: Sequence[str] | None = None,
    beam_args: Sequence[str] = (),
    show_progress: bool = True,
    max_rejected_fraction: float = MAX_REJECTED_FRACTION,
) -> DataDirectory:
    """Builds the data directory `output`; one that is already finished for the same spec is left as it is.

    Args:
        spec: The data set.
        output: The data directory.
        inputs: Files, folders and globs; the data set is fetched where not given.
        beam_args: Flags for Beam, such as "--runner=..."; without a runner, the size of the input decides between this process and
            worker processes on all cores.
        show_progress: Whether to report stages and rows on stderr.
        max_rejected_fraction: If a larger share of the rows has to be set aside, the job fails; the rows stay in `rejected-*.jsonl`.

    Raises:
        ColonnadeError: Anything that the user can mend.
    """
    output = Path(output)
    check_fraction(max_rejected_fraction)
    with claimed(output, spec) as staging:
        if staging is None:
            return DataDirectory.open(output, spec)
        check_given(spec)
        check_patterns(spec)
        check_pretrained(spec)
        with closing(Job(spec, staging, beam_args, show_progress)) as job:
            files = job.ingest(inputs)
            job.check_rejected(max_rejected_fraction, output)
            job.analyze()
            job.transform()
            finished = job.finish()
        shards = {path.name: path.stat().st_size for path in sorted([*finished.glob("*-of-*.parquet"), *finished.glob(ITEMS)])}
        success = {
            "fingerprint": spec.fingerprint,
            "digest": content_digest(finished, shards),
            "spec": spec.name,
            "splits": job.written_rows,
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
        # What is asked for are these very rows, however much they count.
        label = spec.label.model_copy(update={"weight": None, "task": "binary" if spec.is_matching else spec.label.task})
        job_spec = spec.model_copy(update={"negatives": None, "label": label, "item_features": ()})
        if isinstance(spec.split, FilesSplit):
            # Files of another name are as welcome.
            anything = {"train": "*", "valid": None, "test": None, "valid_fraction": 0.0, "valid_last": False}
            job_spec = job_spec.model_copy(update={"split": spec.split.model_copy(update=anything)})
        with closing(Job(job_spec, Path(folder), ("--direct_num_workers=1",), show_progress=False)) as job:
            if isinstance(inputs, pa.Table):
                job.take(from_table(spec, inputs))
            else:
                job.ingest(inputs)
                job.check_rejected(1.0)
            plan = job.transform_plan(str(transform_fn), {})
            from preprocessing.shards import transform_in_pairs

            names = transform_in_pairs(job.execution, plan, job.shards)
        job.move_rejected(output_dir)
        for name in names:
            shutil.move(job.finished / name, output_dir / name)
    return [output_dir / name for name in names]


def read_only(spec: FeatureSpec, inputs: Sequence[str], staging: Path, show_progress: bool = True) -> tuple[dict[str, int], list[str]]:
    """Runs the first stage alone, in an empty folder; rows that are set aside are in its folder `rejected`, however many they are.

    Returns:
        How many rows were "in", "out", "rejected" and "negatives", and the shards of raw examples.
    """
    with closing(Job(spec, staging, (), show_progress)) as job:
        job.ingest(inputs, alone=True)
    return job.rows, [shard["path"] for shard in job.shards]
