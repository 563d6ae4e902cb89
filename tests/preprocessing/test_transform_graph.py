"""The saved transform graph, called with plain TensorFlow: what every kind of raw value becomes, worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_specs import FeatureSpec
from preprocessing.graph import TransformGraph, load_transform
from preprocessing.pipeline import build
from preprocessing.tensors import to_arrow, to_tensors

SPEC = """
name: graph
features:
- {kind: categorical, name: word, encoding: {type: vocabulary, num_oov_buckets: 3}}
- {kind: categorical, name: other_word, table: word}
- {kind: multi_valued, name: words, table: word, max_length: 2, delimiter: ' '}
- {kind: categorical, name: never, encoding: {type: vocabulary, num_oov_buckets: 2}}
- {kind: categorical, name: number, dtype: int64, encoding: {type: vocabulary}, default: 7}
- {kind: categorical, name: hashed, encoding: {type: hash, num_buckets: 5}}
- {kind: categorical, name: hashed_number, dtype: int64, encoding: {type: hash, num_buckets: 5}}
- {kind: categorical, name: level, dtype: int64, encoding: {type: identity, num_buckets: 3}}
- {kind: sequence, name: levels, dtype: int64, table: level, max_length: 2, delimiter: ' ', default: 2}
- {kind: categorical, name: prefix, derive: {type: prefix, length: 2}, encoding: {type: vocabulary}}
- {kind: categorical, name: hour, dtype: int64, derive: {type: hour}, encoding: {type: identity, num_buckets: 24}}
- {kind: categorical, name: weekday, dtype: int64, derive: {type: weekday}, encoding: {type: identity, num_buckets: 7}}
- {kind: numeric, name: plain, scaling: none}
- {kind: numeric, name: scaled}
- {kind: numeric, name: scaled_default, default: 5}
- {kind: numeric, name: logged, scaling: log1p}
- {kind: numeric, name: constant}
- {kind: numeric, name: absent}
label: {column: y}
split: {fractions: [1, 0, 0]}
"""
ROWS = """word,other_word,words,never,number,hashed,hashed_number,level,levels,prefix,\
hour,weekday,plain,scaled,scaled_default,logged,constant,absent,y
a,b,a c,,7,x,1,0,0,12345,0,0,1,1,1,-5,3,,1
a,b,,,7,,2,1,,12999,3600,86400,2,3,3,0,3,,0
b,,b,,8,y,,2,1 2,9,-1,-1,,,,3,3,,1
"""


@pytest.fixture(scope="module")
def spec() -> FeatureSpec:
    return FeatureSpec.from_yaml(SPEC)


@pytest.fixture(scope="module")
def folder(spec: FeatureSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graph")
    (folder / "rows.csv").write_text(ROWS)
    build(spec, folder / "data", [str(folder / "rows.csv")], show_progress=False)
    return folder / "data" / "transform_fn"


@pytest.fixture(scope="module")
def graph(folder: Path) -> TransformGraph:
    return load_transform(folder)


def _raw(spec: FeatureSpec, size: int, **values: Any) -> dict[str, Any]:
    """Returns raw tensors [size], missing but for `values`."""
    raw = {}
    for feature in spec.features:
        dtype = {"string": tf.string, "int64": tf.int64, "float32": tf.float32}[feature.dtype]
        missing = {"string": "", "int64": -1, "float32": float("nan")}[feature.dtype]
        if feature.is_list:
            raw[feature.name] = tf.ragged.constant(values.get(feature.name, [[]] * size), dtype, 1, row_splits_dtype=tf.int64)
        else:
            raw[feature.name] = tf.constant(values.get(feature.name, [missing] * size), dtype)
    return raw


def _transformed(graph: TransformGraph, spec: FeatureSpec, name: str, values: list[Any]) -> list[Any]:
    output = graph(_raw(spec, len(values), **{name: values}))[name]
    assert output.dtype == (tf.float32 if name in {f.name for f in spec.numeric_features} else tf.int64)
    return output.to_list() if isinstance(output, tf.RaggedTensor) else output.numpy().tolist()


def _bucket(token: str, buckets: int) -> int:
    return int(tf.strings.to_hash_bucket_fast(token, buckets))


@pytest.mark.parametrize(
    ("name", "values", "ids"),
    [
        # Counts over word, other_word and words: b 4, a 3, c 1; so b is 1, a is 2, c is 3, the buckets 4 to 6.
        ("word", ["b", "a", "c", ""], [1, 2, 3, 0]),
        ("other_word", ["b", "a", "c", ""], [1, 2, 3, 0]),
        ("words", [["c", "a", "b"], [], ["b"]], [[3, 2], [], [1]]),
        # 7 stands for a missing number: counts 7: 2, 8: 1; 9 is outside.
        ("number", [7, 8, 9, -1], [1, 2, 3, 1]),
        ("level", [0, 2, 3, -1, -2, 2**62], [1, 3, 4, 0, 4, 4]),
        ("levels", [[0, 1, 2], [9], []], [[2, 3], [4], [3]]),
        # Prefixes: 12 twice, 9 once.
        ("prefix", ["12xyz", "1", "9", ""], [1, 3, 2, 0]),
        # 1970-01-01 was a Thursday; -2 s is the Wednesday before, at 23 o'clock.
        ("hour", [0, 3599, 3600, 86399, -1, -2], [1, 1, 2, 24, 0, 24]),
        ("weekday", [0, 86399, 86400, 4 * 86400, -1, -2], [4, 4, 5, 1, 0, 3]),
        ("plain", [2.5, np.nan, np.inf], [2.5, 1.5, 1.5]),
        # Mean 2, deviation 1; a missing number takes the mean.
        ("scaled", [3.0, 0.0, np.nan], [1.0, -2.0, 0.0]),
        ("scaled_default", [3.0, np.nan], [1.0, 3.0]),
        # Negative numbers count as 0. The mean of -5, 0 and 3 is -2/3.
        ("logged", [np.e - 1, -9.0, np.nan], [1.0, 0.0, 0.0]),
        ("constant", [3.0, 4.0, np.nan], [0.0, 1.0, 0.0]),
        ("absent", [np.nan, 4.0], [0.0, 4.0]),
    ],
)
def test_values_become(graph: TransformGraph, spec: FeatureSpec, name: str, values: list[Any], ids: list[Any]) -> None:
    received = _transformed(graph, spec, name, values)
    assert received == (pytest.approx(ids, abs=1e-6) if isinstance(ids[0], float) else ids)


@settings(max_examples=30, deadline=None)
@given(tokens=st.lists(st.text(min_size=1, max_size=5).filter(lambda s: s not in "abc"), min_size=1, max_size=5))
def test_unseen_tokens_are_hashed_into_the_buckets(graph: TransformGraph, spec: FeatureSpec, tokens: list[str]) -> None:
    assert _transformed(graph, spec, "word", tokens) == [4 + _bucket(token, 3) for token in tokens]
    assert _transformed(graph, spec, "hashed", tokens) == [1 + _bucket(token, 5) for token in tokens]
    # A vocabulary without tokens has no ids but those of its buckets.
    assert _transformed(graph, spec, "never", tokens) == [1 + _bucket(token, 2) for token in tokens]


def test_integers_hash_as_decimal_strings(graph: TransformGraph, spec: FeatureSpec) -> None:
    assert _transformed(graph, spec, "hashed_number", [12, -5, -1]) == [1 + _bucket("12", 5), 1 + _bucket("-5", 5), 0]
    assert _transformed(graph, spec, "never", ["", "\x00(no tokens)"])[0] == 0


def test_batches_of_any_size(graph: TransformGraph, spec: FeatureSpec) -> None:
    assert all(int(output.shape[0]) == 0 for output in graph(_raw(spec, 0)).values())
    one, three = graph(_raw(spec, 1, word=["a"])), graph(_raw(spec, 3, word=["a", "x", "b"]))
    assert one["word"].numpy().tolist() == three["word"].numpy()[:1].tolist()


def test_it_exports_inside_another_model_with_its_vocabularies(folder: Path, spec: FeatureSpec, tmp_path: Path) -> None:
    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.graph = load_transform(folder)
            self.shape = _raw(spec, 1)

        @tf.function(input_signature=[tf.TensorSpec([1], tf.string)])
        def word_id(self, word: tf.Tensor) -> tf.Tensor:
            return self.graph({**self.shape, "word": word})["word"]

    model = Model()
    tf.saved_model.save(model, str(tmp_path / "export"), signatures=model.word_id)
    (tmp_path / "export").rename(tmp_path / "moved")
    served = tf.saved_model.load(str(tmp_path / "moved")).signatures["serving_default"]
    assert [int(next(iter(served(word=tf.constant([word])).values()))[0]) for word in ("b", "a", "c", "")] == [1, 2, 3, 0]
    assert (tmp_path / "moved" / "assets" / "vocabulary-word").read_text() == "b\na\nc\n"


def test_arrow_to_tensors_and_back(graph: TransformGraph, spec: FeatureSpec) -> None:
    batch = pa.RecordBatch.from_pydict(
        {
            **{f.name: pa.array(_raw(spec, 4)[f.name].numpy()) for f in spec.features if not f.is_list},
            "words": pa.array([[b"a"], [b"b", b"c"], [], [b"zz", b"a", b"b"]], pa.list_(pa.binary())),
            "levels": pa.array([[1], [], [2, 2], []], pa.list_(pa.int64())),
        }
    )
    whole = to_arrow(spec, graph(to_tensors(spec, batch)))
    part = to_arrow(spec, graph(to_tensors(spec, batch.slice(1, 2))))
    assert whole.column("words").to_pylist()[:3] == [[2], [1, 3], []]
    assert part.column("words").to_pylist() == [[1, 3], []]
    assert part.column("levels").to_pylist() == whole.column("levels").to_pylist()[1:3] == [[3], [3, 3]]
