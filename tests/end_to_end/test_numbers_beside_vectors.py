"""Numbers of `representation: value` from a file to the exported model: DeepFM's MLP and linear term take them as they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from feature_specs import FeatureSpec
from preprocessing.pipeline import build
from trainer.estimator import Estimator
from trainer.task import main

SPEC = """
name: scalars
features:
- {kind: categorical, name: word, encoding: {type: vocabulary}}
- {kind: categorical, name: city, encoding: {type: hash, num_buckets: 5}}
- {kind: numeric, name: x, representation: value, missing_indicator: true}
- {kind: numeric, name: place, size: 2, delimiter: ';', scaling: min_max, representation: value}
- {kind: numeric_sequence, name: costs, delimiter: ' ', scaling: none, representation: value, combiner: sum}
label: {column: y}
"""


def test_a_run_of_deepfm(tmp_path: Path) -> None:
    rows = [f"{'abc'[i % 3]},{'pqrs'[i % 4]},{'' if i % 5 == 0 else i},{i};{-i},{' '.join('12'[: i % 3])},{i % 2}" for i in range(120)]
    (tmp_path / "rows.csv").write_text("\n".join(["word,city,x,place,costs,y", *rows]) + "\n")
    (tmp_path / "spec.yaml").write_text(SPEC)
    build(FeatureSpec.from_yaml(SPEC), tmp_path / "data", [str(tmp_path / "rows.csv")], show_progress=False)
    flags = f"--model deepfm --spec {tmp_path}/spec.yaml --data_dir {tmp_path}/data --run_dir {tmp_path}/run --epochs 1 --batch_size 32"
    assert main([*flags.split(), "--hparams", "embedding_dim=2", "hidden_units=4"]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert set(result["parts"]) == {"first_order", "second_order", "deep"}
    assert result["skew"]["features"] == 0
    assert result["skew"]["score"] <= 1e-5  # of the export
    model = Estimator.load(tmp_path / "run").model
    assert model.hidden.weights[0].shape == (2 * 2 + 5, 4)  # two vectors of 2, then x, x_missing, place and costs
    # word has 3 tokens and one id for others, city 5 buckets; row 0 of each is padding.
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == (5 + 6) * (2 + 1) + 5 + (9 * 4 + 4) + (4 + 1)
