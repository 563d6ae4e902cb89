from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from feature_specs import ColonnadeError, Constant, FeatureSpec, Normal, Uniform
from trainer.layers import Inputs, StackedTable
from trainer.layers.initializers import PretrainedRows, ZeroLastColumn, declared

SPEC = FeatureSpec.from_yaml("""
name: pretrained
features:
- {kind: categorical, name: word, encoding: {type: vocabulary}, pretrained: {file: all.parquet}, initializer: {type: constant, value: 7}}
- {kind: multi_valued, name: words, table: word}
- {kind: categorical, name: other, encoding: {type: hash, num_buckets: 3}}
label: {column: y}
""")
ROWS = [[np.nan, np.nan], [1, 2], [np.nan, np.nan], [3, 4]]


@pytest.fixture
def vectors(tmp_path: Path) -> dict[str, Path]:
    np.save(tmp_path / "pretrained-word.npy", np.array(ROWS, np.float32))
    return {"word": tmp_path / "pretrained-word.npy"}


def test_declared_initializers() -> None:
    shape = (20_000, 2)
    assert np.unique(declared(Constant(value=3))(shape)).tolist() == [3]
    uniform = declared(Uniform(limit=0.2))(shape).numpy()
    assert -0.2 <= uniform.min() < -0.19
    assert 0.19 < uniform.max() <= 0.2
    normal, truncated = (declared(Normal(stddev=0.5, truncated=each))(shape).numpy() for each in (False, True))
    assert normal.std() == pytest.approx(0.5, rel=0.02)
    assert np.abs(normal).max() > 1.5
    assert np.abs(truncated).max() <= 1  # two deviations


@pytest.mark.parametrize("make", ["fields", "fields_and_first_order", "flat", "sequences"])
def test_a_table_begins_with_its_vectors(make: str, vectors: dict[str, Path]) -> None:
    layer = getattr(Inputs(SPEC, {"word": 4}, vectors), make)(2)
    stack = next(each for each in layer._flatten_layers() if isinstance(each, StackedTable))
    np.testing.assert_array_equal(stack.table.numpy()[:4, :2], [[7, 7], [1, 2], [7, 7], [3, 4]])
    assert stack.table.numpy()[4:, :2].any()
    assert not stack.table.numpy()[:, 2:].any()  # first-order weights


def test_the_width_is_that_of_the_vectors(vectors: dict[str, Path]) -> None:
    inputs = Inputs(SPEC, {"word": 4}, vectors)
    assert {name: part.stop - part.start for name, part in inputs.flat(8).slices.items()} == {"word": 2, "words": 2, "other": 8}
    with pytest.raises(ColonnadeError, match=r"Received: 2 \(word, words\); 8 \(other\)\..*choose the embedding_dim of pretrained vectors"):
        inputs.fields(8)


def test_first_order_needs_no_vectors() -> None:
    assert not Inputs(SPEC, {"word": 4}).first_order().variables[0].numpy().any()


def test_what_does_not_fit_is_named(vectors: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ColonnadeError, match=r"pretrained vectors and no file for them: word\. Received pretrained: None\. Pass"):
        Inputs(SPEC, {"word": 4}).flat(2)
    with pytest.raises(ColonnadeError, match=r"should hold vectors of shape \[5, 2\]\. Received: \[4, 2\]\. Preprocess again"):
        Inputs(SPEC, {"word": 5}, vectors).flat(2)
    with pytest.raises(ColonnadeError, match=r"nowhere\.npy' cannot be read"):
        Inputs(SPEC, {"word": 4}, {"word": tmp_path / "nowhere.npy"}).flat(2)
    np.save(tmp_path / "flat.npy", np.zeros(4))
    with pytest.raises(ColonnadeError, match=r"should be \[rows, D\]\. Received: \[4\]"):
        Inputs(SPEC, {"word": 4}, {"word": tmp_path / "flat.npy"}).flat(2)


def test_copies_draw_other_numbers(vectors: dict[str, Path]) -> None:
    first = PretrainedRows(vectors["word"], keras.initializers.RandomNormal())
    for each in (first, ZeroLastColumn(keras.initializers.RandomNormal())):
        shape = (4, 2) if each is first else (4, 3)
        assert not np.array_equal(each(shape), each.clone()(shape))
