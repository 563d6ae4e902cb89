"""The tutorial of docs/migrating.md runs as it is printed, on made-up data in the shape of the census."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from feature_specs import from_feature_columns

PAGE = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text(encoding="utf-8")
OCCUPATIONS = ["Tech-support", "Craft-repair", "Sales", "Exec-managerial", "Prof-specialty", "?", "Farming-fishing"]


def _tutorial() -> str:
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "def input_fn" in block]
    return block


def _vocabularies() -> dict[str, list[str]]:
    found: dict[str, Any] = {}
    exec(re.search(r"VOCABULARIES = \{.*?\n\}", _tutorial(), re.DOTALL).group(0), found)
    return found["VOCABULARIES"]


def _write(path: Path, rows: int, seed: int) -> np.ndarray:
    """Income grows with age, hours, education and, for some of them, with education and occupation together."""
    rng = np.random.default_rng(seed)
    words = {key: rng.choice(vocabulary, rows) for key, vocabulary in _vocabularies().items()}
    age, hours, years = rng.integers(17, 80, rows), rng.integers(10, 80, rows), rng.integers(1, 17, rows)
    occupation = rng.choice(OCCUPATIONS, rows)
    both = (words["education"] == "Masters") & (occupation == "Exec-managerial")
    rich = age / 40 + hours / 40 + years / 8 + 3 * both + rng.normal(0, 0.5, rows) > 4
    zero = np.zeros(rows, int)
    columns = [age, words["workclass"], rng.integers(10**4, 10**6, rows), words["education"], years, words["marital_status"], occupation]
    columns += [words["relationship"], rng.choice(["White", "Black"], rows), rng.choice(["Male", "Female"], rows), zero, zero, hours]
    columns += [np.full(rows, "United-States"), np.where(rich, ">50K", "<=50K")]
    path.write_text("\n".join(",".join(map(str, row)) for row in zip(*columns, strict=True)) + "\n")
    return rich


def test_the_census_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tf.get_logger().setLevel("ERROR")
    monkeypatch.chdir(tmp_path)
    _write(Path("adult.data"), 2000, 0)
    rich = _write(Path("adult.test"), 400, 1)
    found: dict[str, Any] = {}
    exec(_tutorial(), found)
    estimator, metrics = found["estimator"], found["metrics"]
    probabilities = np.concatenate(found["probabilities"])
    assert metrics["auc"] == pytest.approx(roc_auc_score(rich, probabilities))
    assert metrics["auc"] > 0.8
    assert {type(group.rowwise).__name__ for group in estimator.loop._groups} == {"Adagrad", "Ftrl"}

    # The reloaded exports score raw tf.Examples and raw tensors as the estimator does.
    lines = [dict(zip(found["NAMES"], line.split(","), strict=True)) for line in Path("adult.test").read_text().splitlines()]
    served = tf.saved_model.load(str(found["version"]))
    examples = tf.constant([_example(line, found["NUMBERS"]) for line in lines])
    scores = served.signatures["serving_default"](examples=examples)
    np.testing.assert_allclose(scores["probabilities"], probabilities, atol=1e-5)
    spec = served.signatures["predict"].structured_input_signature[1]
    tensors = {}
    for name, each in spec.items():
        column = [float(line[name]) if each.dtype == tf.float32 else line[name] for line in lines]
        tensors[name] = tf.reshape(tf.constant(column, each.dtype), [-1, 1] if each.shape.rank == 2 else [-1])
    np.testing.assert_allclose(served.signatures["predict"](**tensors)["probabilities"], probabilities, atol=1e-5)
    exports = Path("census_run/export")
    best = json.loads((exports / "best" / "exports.json").read_text())
    assert best[-1]["metrics"]["auc"] == metrics["auc"]
    newest = tf.saved_model.load(str(exports / "best" / best[-1]["version"]))
    np.testing.assert_array_equal(newest.signatures["serving_default"](examples=examples)["logits"], scores["logits"])
    assert (exports / "final" / "1" / "saved_model.pb").is_file()

    # And the way on: the same columns as a spec.
    spec = from_feature_columns(
        [*found["wide"], *found["deep"]], name="census", label="rich", single=[*found["VOCABULARIES"], "occupation"]
    )
    kinds = {feature.name: feature.kind for feature in spec.features}
    assert kinds["education_X_occupation"] == "crossed"
    assert (kinds["occupation"], kinds["age"], kinds["age_bucketized"]) == ("categorical", "numeric", "bucketized")


def _example(line: dict[str, str], numbers: tuple[str, ...]) -> bytes:
    example = tf.train.Example()
    for name, value in line.items():
        if name in numbers:
            example.features.feature[name].float_list.value.append(float(value))
        else:
            example.features.feature[name].bytes_list.value.append(value.encode())
    return example.SerializeToString()


def test_every_function_is_in_the_table() -> None:
    names = [name for name in dir(tf.feature_column) if "column" in name or "embeddings" in name]
    table = PAGE[PAGE.index("| `tf.feature_column`") : PAGE.index("from feature_specs import")]
    for name in names:
        short = name.replace("sequence_categorical_column_with", "sequence_categorical_column_with_*").split("*")[0]
        assert short in table or f"...{name.removeprefix('categorical_column')}" in table, name
