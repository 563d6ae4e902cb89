"""Tiny matching data sets, made by the real job, and models over them that need no training."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from feature_specs import FeatureSpec
from preprocessing.artifacts import DataDirectory
from serving.export import export_saved_model
from serving.samples import raw_rows

STRINGS = """
name: strings
features:
- {kind: categorical, name: user, encoding: {type: vocabulary}}
- {kind: numeric, name: age}
- {kind: categorical, name: movie, column: item, encoding: {type: vocabulary}}
- {kind: multi_valued, name: tags, weights: tag weights, encoding: {type: vocabulary}}
- {kind: categorical, name: year, dtype: int64, encoding: {type: vocabulary}}
- {kind: sequence, name: history, history_of: movie, table: movie, max_length: 6}
item_features: [tags, year]
label: {implicit: true, task: matching}
keys: {user: user, item: item, time: time}
split: {type: leave_last_out}
source:
  rows: {files: rows.csv}
  joins:
  - {table: {files: items.csv}, key: item}
"""
INTEGERS = """
name: integers
features:
- {kind: categorical, name: user, dtype: int64, encoding: {type: vocabulary}}
- {kind: categorical, name: item, dtype: int64, encoding: {type: vocabulary}}
label: {implicit: true, task: matching}
keys: {user: user, item: item, time: time}
split: {type: leave_last_out}
source: {rows: {files: rows.csv}}
"""


def write_files(folder: Path, user: str, item: str) -> Path:
    """Writes 30 users' interactions with 40 items, whose names begin with `user` and `item`; item 39 is only ever the last."""
    dice = random.Random(0)
    lines, time = ["user,item,time,age"], 0
    for number in range(30):
        items = dice.sample(range(39), dice.randrange(3, 12)) + ([39] if number == 7 else [])
        for one in items:
            lines.append(f"{user}{number},{item}{one},{(time := time + 1)},{20 + number}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    tags = [dice.sample("abcd", dice.randrange(4)) for _ in range(40)]
    weights = ["|".join(f"{dice.random():.2f}" for _ in each) for each in tags]
    rows = [f"{item}{n},{'|'.join(tags[n])},{weights[n]},{'' if n % 9 == 0 else 1990 + n % 4}" for n in range(40)]
    (folder / "items.csv").write_text("\n".join(["item,tags,tag weights,year", *rows]) + "\n")
    return folder


def build(text: str, folder: Path, user: str = "", item: str = "") -> DataDirectory:
    from preprocessing.pipeline import build as run

    folder.mkdir()
    return run(FeatureSpec.from_yaml(text), folder / "data", [str(write_files(folder, user, item))], show_progress=False)


class TinyMatching:
    """Users are their id and the mean of their history, items their id, tags and year; vectors of 4 small integers, so that scores tie.

    Args:
        data: What it is for.
        kind: "inner", "distance", or "other": no function of the two vectors' product or distance.
        knows_all: Whether it takes users that training has not seen.
    """

    def __init__(self, data: DataDirectory, kind: str = "inner", *, knows_all: bool = True, seed: int = 0) -> None:
        dice = np.random.default_rng(seed)
        self.spec, self.kind, self.knows_all = data.spec, kind, knows_all
        self.tables = {name: tf.Variable(dice.integers(-2, 3, (rows, 4)).astype(np.float32)) for name, rows in data.table_rows.items()}
        self.last = tf.Variable(dice.normal(size=(4, 1)).astype(np.float32))
        self.variables = [*self.tables.values(), self.last]

    def query(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        users = features["user"]
        if not self.knows_all:
            unknown = users == self.tables["user"].shape[0] - 1
            tf.debugging.Assert(~tf.reduce_any(unknown), ["Users are unknown:", unknown])
        vectors = tf.gather(self.tables["user"], users)
        if self.spec.history is not None:
            ids = features["history"]
            mask = tf.cast(ids > 0, tf.float32)[:, :, tf.newaxis]
            items = tf.gather(self.tables["movie"], ids) * mask
            vectors += tf.round(tf.reduce_sum(items, axis=1) / tf.maximum(tf.reduce_sum(mask, axis=1), 1.0))
        return vectors

    def candidates(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        vectors = tf.gather(self.tables[self.spec.item_feature.name], features[self.spec.item_feature.name])
        if "tags" in features:
            tags = tf.gather(self.tables["tags"], features["tags"]) * features["tags_weights"][:, :, tf.newaxis]
            present = tf.cast(features["tags"] > 0, tf.float32)[:, :, tf.newaxis]
            tags = tf.where(present > 0, tags, 0.0)
            vectors += tf.round(tf.reduce_sum(tags, axis=1)) + tf.gather(self.tables["year"], features["year"])
        return vectors

    def score(self, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        pairs = query[:, tf.newaxis] * (candidates if candidates.shape.rank == 3 else candidates[tf.newaxis])
        if self.kind == "inner":
            return tf.reduce_sum(pairs, axis=-1)
        if self.kind == "distance":
            return -tf.reduce_sum(tf.square(query[:, tf.newaxis] - candidates), axis=-1)
        return tf.squeeze(tf.tensordot(tf.tanh(pairs), self.last, 1), -1)


def export(model: TinyMatching, data: DataDirectory, folder: Path) -> Path:
    """Exports from a copy of what a run keeps, which is gone afterwards."""
    run = folder / "run"
    shutil.copytree(data.transform_fn, run / "transform_fn")
    rows = raw_rows(data.spec, data.path / "sample.parquet")
    version = export_saved_model(
        model, data.spec, run / "transform_fn", folder / "export", check_rows=rows, items=data.path / "items.parquet"
    )
    shutil.rmtree(run)
    return version


def brute_force(
    model: TinyMatching, query: np.ndarray, vectors: np.ndarray, seen: list[list[int]], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the numbers and scores of the best items, `[B, k]`, by sorting in Python; of equal scores the lower number first."""
    scores = np.asarray(model.score(tf.constant(query), tf.constant(vectors)))
    numbers, best = np.full((len(query), k), -1), np.full((len(query), k), -np.inf, np.float32)
    for row, items in enumerate(seen):
        order = sorted((-float(score), number) for number, score in enumerate(scores[row]) if number not in items)[:k]
        numbers[row, : len(order)] = [number for _, number in order]
        best[row, : len(order)] = [-score for score, _ in order]
    return numbers, best


def saved_signatures(version: Path) -> Any:
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((version / "saved_model.pb").read_bytes())
    return proto.meta_graphs[0].signature_def
