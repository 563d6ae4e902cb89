"""Splits, histories and negatives of the real MovieLens-1M and Frappe, against pandas."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from feature_specs import FeatureSpec, LeaveLastOutSplit, Negatives
from feature_specs.datasets import get_dataset
from preprocessing.job import Job
from preprocessing.staging import read_batches

DATA = Path(os.environ.get("COLONNADE_DATA", Path(__file__).parent.parent.parent / ".." / "shared" / "data"))
pytestmark = pytest.mark.slow


def _read(spec: FeatureSpec, inputs: list[str], staging: Path) -> pd.DataFrame:
    paths = [DATA / name for name in inputs]
    if not all(path.is_file() for path in paths):
        pytest.skip(f"no {', '.join(inputs)} in {DATA} (set COLONNADE_DATA)")
    job = Job(spec, staging, ("--direct_num_workers=1",), show_progress=False)
    job.ingest([str(path) for path in paths])
    table = pa.concat_tables(pa.Table.from_batches(read_batches(shard["path"])) for shard in job.shards)
    columns = ["label", "_user", "_item", "_split", *(name for name in ("_time", "history") if name in table.column_names)]
    frame = table.select(columns).to_pandas()
    return frame.assign(_user=frame["_user"].astype("category"))


def _ratings() -> pd.DataFrame:
    with zipfile.ZipFile(DATA / "ml-1m" / "ml-1m.zip") as archive:
        lines = archive.read("ml-1m/ratings.dat").decode().split()
    return pd.DataFrame([line.split("::") for line in lines], columns=["user", "item", "rating", "time"]).astype(int)


def test_leave_last_out_and_histories_of_movielens_1m(tmp_path: Path) -> None:
    spec = get_dataset("movielens_1m").model_copy(update={"split": LeaveLastOutSplit()})
    rows = _read(spec, ["ml-1m/ml-1m.zip"], tmp_path)
    rows = rows.assign(user=rows["_user"].astype(int), item=rows["_item"].astype(int))
    ordered = _ratings().sort_values(["user", "time"], kind="stable")
    from_end = ordered.groupby("user").cumcount(ascending=False)
    ordered["split"] = np.select([from_end == 0, from_end == 1], [2, 1], 0)
    merged = rows.merge(ordered, on=["user", "item"])
    assert len(merged) == len(rows) == 1_000_209
    assert (merged["split"] == merged["_split"]).all()
    # Of every 300th user, the history of each 7th row.
    for user, own in merged[merged["user"] % 300 == 1].groupby("user"):
        train = ordered[(ordered["user"] == user) & (ordered["split"] == 0)]
        for row in own.iloc[::7].itertuples():
            assert [int(item) for item in row.history] == train["item"][train["time"] < row.time].tolist()[-50:]


def test_negatives_of_movielens_1m_are_uniform(tmp_path: Path) -> None:
    spec = get_dataset("movielens_1m")
    spec = spec.model_copy(update={"features": spec.features[:2], "negatives": Negatives(per_positive=4)})
    rows = _read(spec, ["ml-1m/ml-1m.zip"], tmp_path)
    ratings = _ratings()
    pairs = rows["_user"].astype(int) * 10_000 + rows["_item"].astype(int)
    known = pairs.isin(ratings["user"] * 10_000 + ratings["item"])
    assert known.sum() == len(ratings)
    positives = ratings[ratings["rating"] >= 4].groupby("user").size()
    negatives = rows[~known]
    assert len(negatives) == 4 * positives.sum()
    assert not negatives["label"].any()
    # Each item is expected as often as the sum, over the users that have it not, of the user's draws a free item.
    num_items = ratings["item"].nunique()
    rate = (4 * positives / (num_items - ratings.groupby("user").size())).fillna(0)
    expected = rate.sum() - ratings.assign(rate=ratings["user"].map(rate)).groupby("item")["rate"].sum()
    drawn = negatives["_item"].astype(int).value_counts().reindex(expected.index, fill_value=0)
    # Standard deviation of chi-square a degree of freedom, with 3,705 of them: sqrt(2 / 3705) = .023.
    assert abs(((drawn - expected) ** 2 / expected).sum() / (num_items - 1) - 1) < 0.1


def test_training_negatives_of_frappe(tmp_path: Path) -> None:
    """The published files lack the training negatives; validation and test have theirs."""
    spec = get_dataset("frappe_resampled")
    files = [f"frappe/frappe.{name}" for name in ("train.positives.libfm.xz", "validation.libfm.gz", "test.libfm.gz")]
    rows = _read(spec, files, tmp_path)
    assert rows["_split"].value_counts().to_dict() == {0: 3 * 67_604, 1: 57_722, 2: 28_860}
    train = rows[rows["_split"] == 0]
    assert train["label"].value_counts().to_dict() == {0.0: 135_208, 1.0: 67_604}
    has = set(zip(rows["_user"][rows["label"] == 1], rows["_item"][rows["label"] == 1], strict=True))
    sampled = train[train["label"] == 0]
    assert not has & set(zip(sampled["_user"], sampled["_item"], strict=True))
