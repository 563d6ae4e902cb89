"""MovieLens-100k itself, where an earlier run has fetched it; nothing is fetched here."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pytest

from feature_specs.datasets import get_dataset
from preprocessing.examples import from_columns
from preprocessing.sources.fetch import cache_folder
from preprocessing.sources.files import find_files
from preprocessing.sources.joins import join_all, store, wanted_columns
from preprocessing.sources.tables import common_columns, plan, read

SPEC = get_dataset("movielens_100k")
FILES = sorted(cache_folder().glob("recbole-*/**/ml-100k.*"))


@pytest.mark.skipif(not FILES, reason="MovieLens-100k is not in the cache: run `python -m preprocessing.task --dataset movielens_100k`")
def test_every_rating_is_read_and_broken_years_are_missing(tmp_path: Path) -> None:
    found = find_files(SPEC, [str(path) for path in FILES])
    tables = [SPEC.source.rows, *(join.table for join in SPEC.source.joins)]
    ranges = [plan(table, files) for table, files in zip(tables, [found.rows, *found.joins], strict=True)]
    wanted = wanted_columns(SPEC, [common_columns(some) for some in ranges])
    sides = [
        store(join, some, columns, str(tmp_path / f"{join.key}.arrow"))
        for join, some, columns in zip(SPEC.source.joins, ranges[1:], wanted[1:], strict=True)
    ]
    parsed = read(ranges[0][0], wanted[0])
    table, reasons = from_columns(SPEC, join_all({name: parsed.table[name].combine_chunks() for name in wanted[0]}, sides))
    assert (len(table), reasons, parsed.ragged) == (100_000, {}, {})
    without_year = table.filter(pc.equal(table["release_year"], -1))
    # 267 has no year, 1412 a broken one, and so have the films that the file calls unknown.
    assert {b"267", b"1412"} <= set(without_year["item_id"].to_pylist())
    assert len(without_year) < 50
    assert pc.mean(table["label"]).as_py() == pytest.approx(0.55375)
    assert pc.count_distinct(table["item_id"]).as_py() == 1682
    assert pc.count_distinct(table["user_id"]).as_py() == 943
