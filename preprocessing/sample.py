"""`sample.parquet`: a few rows as raw examples beside what the job made of them; serving proves with it that there is no skew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from feature_specs import FeatureSpec
from preprocessing.examples import SPLITS
from preprocessing.shards import paired, rows_of_split

SAMPLE_ROWS = 1000


def write_sample(spec: FeatureSpec, shards: Sequence[dict[str, Any]], folder: Path) -> None:
    """Writes the first rows of the test split, or of the training split where there is no test."""
    number = 2 if any(shard["splits"][2] for shard in shards) else 0
    parts: list[pa.Table] = []
    for shard in shards:
        left = SAMPLE_ROWS - sum(map(len, parts))
        if left <= 0 or not shard["splits"][number]:
            continue
        # Rows of a split stand in the same order in the raw shard and in its Parquet file; a batch is a row group.
        raw = next(rows_of_split(shard["path"], number)).slice(0, left)
        name = f"{SPLITS[number]}-{shard['index']:05d}-of-{len(shards):05d}.parquet"
        with pq.ParquetFile(folder / name) as file:
            parts.append(paired(spec, raw, file.read_row_group(0).slice(0, left)))
    pq.write_table(pa.concat_tables(parts), folder / "sample.parquet")
