"""Pretrained vectors from the user's files to the exported model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from feature_specs import FeatureSpec
from preprocessing.artifacts import DataDirectory
from preprocessing.pipeline import build
from trainer.config import RunConfig, TrainingConfig
from trainer.estimator import Estimator
from trainer.layers import StackedTable
from trainer.summary import summarise


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataDirectory:
    folder = tmp_path_factory.mktemp("pretrained")
    lines = [f"{'abcd'[row % 4]},{'|'.join('pqr'[row % 3 :])},{row},{row % 2}" for row in range(200)]
    (folder / "rows.csv").write_text("\n".join(["word,tags,x,y", *lines]) + "\n")
    np.save(folder / "vectors.npy", np.array([[1.0, 2], [3, 4], [5, 6]]))
    (folder / "tokens.txt").write_text("b\nunheard\nd\n")
    spec = FeatureSpec.from_yaml(f"""
name: with_vectors
features:
- kind: categorical
  name: word
  encoding: {{type: vocabulary}}
  pretrained: {{file: {folder}/vectors.npy, tokens: {folder}/tokens.txt}}
  trainable: false
- {{kind: multi_valued, name: tags, encoding: {{type: vocabulary}}, combiner: attention, l2: 0.01}}
- {{kind: numeric, name: x, missing_indicator: true}}
label: {{column: y}}
""")
    return build(spec, folder / "data", [str(folder / "rows.csv")], show_progress=False)


def config_of(data: DataDirectory) -> RunConfig:
    training = TrainingConfig(epochs=1, batch_size=32)
    names = {"model": "nfm", "dataset": data.spec.name, "fingerprint": data.spec.fingerprint, "data_dir": str(data.path)}
    return RunConfig(**names, hyper_parameters={"embedding_dim": 2}, training=training)


def test_a_run_keeps_its_vectors(data: DataDirectory, tmp_path: Path) -> None:
    assert data.statistics["pretrained"] == {"word": {"tokens": 4, "found": 2}}
    trained = Estimator(config_of(data), run_dir=tmp_path / "run")
    trained.train()
    expected = np.concatenate([batch["logits"] for batch in trained.predict("test")])
    for path in data.pretrained.values():  # the run has its own
        path.rename(path.with_suffix(".away"))
    try:
        loaded = Estimator.load(tmp_path / "run")
        logits = np.concatenate([batch["logits"] for batch in loaded.predict("test")])
        assert (loaded.export_saved_model() / "saved_model.pb").is_file()
    finally:
        for path in data.pretrained.values():
            path.with_suffix(".away").rename(path)
    np.testing.assert_array_equal(logits, expected)
    (frozen,) = (each for each in loaded.model._flatten_layers() if isinstance(each, StackedTable) and not each.table.trainable)
    tokens = (data.transform_fn / "assets" / "vocabulary-word").read_text().split()
    assert frozen.table.numpy()[1 + tokens.index("b")].tolist() == [1, 2]
    assert frozen.table.numpy()[1 + tokens.index("d")].tolist() == [5, 6]


def test_the_summary_shows_frozen_tables_without_trained_parameters(data: DataDirectory) -> None:
    lines = summarise(config_of(data)).splitlines()
    (frozen,) = (line for line in lines if "frozen_tables_2" in line)
    assert frozen.split()[1:] == ["StackedTable,", "frozen", "6x2", "0"]
    assert sum(int(line.split()[-1].replace(",", "")) for line in lines[1:-1]) == int(lines[-1].split()[-1].replace(",", ""))
