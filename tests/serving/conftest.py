"""A small Keras model for the tiny data set, and an export of it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf
import tiny_matching

from feature_specs import FeatureSpec
from preprocessing.artifacts import DataDirectory
from serving.export import export_saved_model
from serving.signatures import to_scorer_inputs
from serving.synthetic import synthetic_rows


class TinyModel(keras.Model):
    """Mean embeddings of all features, an MLP in a Python list, dropout: what a checkpoint or a tracker may easily lose."""

    def __init__(self, spec: FeatureSpec, table_rows: Mapping[str, int], seed: int = 0) -> None:
        super().__init__(autocast=False)
        self.spec = spec
        uniform = keras.initializers.RandomUniform(-1.0, 1.0, seed=seed)
        self.embeddings = {name: keras.layers.Embedding(rows, 3, uniform) for name, rows in table_rows.items()}
        self.hidden = [keras.layers.Dense(4, "tanh", kernel_initializer=uniform), keras.layers.Dense(1, kernel_initializer=uniform)]
        self.dropout = keras.layers.Dropout(0.5, seed=seed)
        self(to_scorer_inputs(spec, _zeros(spec)))

    def call(self, features: Mapping[str, tf.Tensor], training: bool | None = None) -> tf.Tensor:
        fields = [tf.cast(features[f.name], self.compute_dtype)[:, tf.newaxis] for f in self.spec.numeric_features]
        for feature in self.spec.token_features:
            ids = features[feature.name]
            ids = ids if feature.is_list else ids[:, tf.newaxis]
            mask = tf.cast(ids != 0, self.compute_dtype)[:, :, tf.newaxis]
            vectors = self.embeddings[feature.table_name](ids)
            fields.append(tf.reduce_sum(vectors * mask, axis=1) / tf.maximum(tf.reduce_sum(mask, axis=1), 1.0))
        x = tf.concat(fields, axis=1)
        x = self.dropout(self.hidden[0](x), training=training)
        return self.hidden[1](x)[:, 0]


def _zeros(spec: FeatureSpec) -> dict[str, Any]:
    lists = {f.name: tf.RaggedTensor.from_row_lengths(tf.zeros([0], tf.int64), [0, 0]) for f in spec.features if f.is_list}
    numbers = {f.name: tf.zeros([2]) for f in spec.numeric_features}
    return {f.name: tf.zeros([2], tf.int64) for f in spec.features} | numbers | lists


@pytest.fixture(scope="session")
def tiny_data(tiny_data_dir: Path) -> DataDirectory:
    return DataDirectory.open(tiny_data_dir)


@pytest.fixture(scope="session")
def scorer(tiny_data: DataDirectory) -> TinyModel:
    return TinyModel(tiny_data.spec, tiny_data.table_rows)


@pytest.fixture(scope="session")
def exported(tiny_data: DataDirectory, scorer: TinyModel, rows: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 8; what it was made of is gone."""
    run = tmp_path_factory.mktemp("run")
    shutil.copytree(tiny_data.transform_fn, run / "transform_fn")
    for other in ("7", "notes", ".unfinished-killed"):
        (run / "export" / other).mkdir(parents=True)
    version = export_saved_model(scorer, tiny_data.spec, run / "transform_fn", run / "export", check_rows=rows)
    shutil.rmtree(run / "transform_fn")
    return version


@pytest.fixture(scope="session")
def rows(tiny_data: DataDirectory) -> dict[str, Any]:
    """Raw examples: known and unseen tokens, missing values, lists from empty to overlong."""
    raw = synthetic_rows(tiny_data.spec, rows=30)
    known = {"user": b"u1", "item": b"i1", "tags": b"d, e"}
    return {name: _sprinkled(values, known.get(name)) for name, values in raw.items()}


def _sprinkled(values: Any, token: bytes | None) -> Any:
    """Puts a known token in every fourth place."""
    if token is None:
        return values
    flat = values.flat_values if isinstance(values, tf.RaggedTensor) else values
    flat = tf.where(tf.range(tf.size(flat)) % 4 == 1, token, flat)
    return values.with_flat_values(flat) if isinstance(values, tf.RaggedTensor) else flat


@pytest.fixture(scope="session")
def strings(tmp_path_factory: pytest.TempPathFactory) -> DataDirectory:
    """Matching data: string ids, features on both sides, a history."""
    return tiny_matching.build(tiny_matching.STRINGS, tmp_path_factory.mktemp("matching") / "strings", "u", "i")


@pytest.fixture(scope="session")
def integers(tmp_path_factory: pytest.TempPathFactory) -> DataDirectory:
    """Matching data: integer ids alone."""
    return tiny_matching.build(tiny_matching.INTEGERS, tmp_path_factory.mktemp("matching") / "integers")


@pytest.fixture(scope="session")
def inner_model(strings: DataDirectory) -> tiny_matching.TinyMatching:
    return tiny_matching.TinyMatching(strings)


@pytest.fixture(scope="session")
def matching(inner_model: tiny_matching.TinyMatching, strings: DataDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported matching model with string ids, features on both sides and a history."""
    return tiny_matching.export(inner_model, strings, tmp_path_factory.mktemp("inner"))
