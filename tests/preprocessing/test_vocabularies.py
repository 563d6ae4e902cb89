"""Counting writes, byte for byte, the files that `tft.vocabulary` writes."""

from __future__ import annotations

import random
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.public import tfxio

from feature_specs import FeatureSpec, Vocabulary
from preprocessing import counting
from preprocessing.counting import add_counts, count_line_ends, merged, ordered_vocabulary, write_lines
from preprocessing.pipeline import build

NASTY = [
    b"",
    b" ",
    b"a",
    b"a ",
    b" a",
    b"A",
    b"\x00",
    b"a\x00",
    b"\t",
    b"x\ny",
    b"\r",
    b"\n",
    b"x\r",
    b"\xff\xfe",
    b"\xc3\xa9",
    b"-1",
    b"nan",
    b"'",
]
ENCODINGS = {
    "all": Vocabulary(),
    "frequent": Vocabulary(min_count=3),
    "top": Vocabulary(max_size=6),
    "both": Vocabulary(min_count=2, max_size=9),
    "everything": Vocabulary(max_size=1000),
}


def _batches(seed: int) -> list[list[bytes]]:
    dice = random.Random(seed)
    pool = NASTY + [bytes(dice.choices(range(256), k=dice.randrange(4))) for _ in range(60)]
    return [[dice.choice(pool) for _ in range(dice.randrange(1, 80))] for _ in range(6)]


def _record_batch(tokens: list[bytes]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([[token] for token in tokens], pa.list_(pa.binary()))], ["x"])


def test_files_are_those_of_tft(tmp_path: Path) -> None:
    def preprocessing_fn(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        outputs = {}
        for name, encoding in ENCODINGS.items():
            file = tft.vocabulary(inputs["x"], top_k=encoding.max_size, frequency_threshold=encoding.min_count, vocab_filename=name)
            outputs[name] = tft.apply_vocabulary(inputs["x"], file)
        return outputs

    representation = schema_pb2.TensorRepresentation()
    representation.dense_tensor.column_name = "x"
    representation.dense_tensor.shape.SetInParent()
    batches = [_record_batch(tokens) for tokens in _batches(seed=1)]
    config = tfxio.TensorAdapterConfig(batches[0].schema, {"x": representation})
    with beam.Pipeline(runner=FnApiRunner()) as pipeline, tft_beam.Context(temp_dir=str(tmp_path / "temporary")):
        dataset = pipeline | beam.Create(batches).with_output_types(pa.RecordBatch)
        _ = (dataset, config) | tft_beam.AnalyzeDataset(preprocessing_fn) | tft_beam.WriteTransformFn(str(tmp_path / "out"))
    counts = _counted(_batches(seed=1))
    for name, encoding in ENCODINGS.items():
        write_lines(tmp_path / name, ordered_vocabulary(counts, encoding))
        ours = (tmp_path / name).read_bytes()
        assert ours == (tmp_path / "out" / "transform_fn" / "assets" / name).read_bytes(), name
        assert ours.count(b"\n") >= 5


def _counted(batches: list[list[bytes]]) -> pa.Table:
    parts: list[pa.Table] = []
    for tokens in batches:
        add_counts(parts, pa.array(tokens, pa.binary()))
    return merged(parts)


@settings(deadline=None)
@given(
    batches=st.lists(st.lists(st.sampled_from(NASTY) | st.binary(max_size=2), max_size=20), max_size=6),
    cut=st.integers(0, 6),
    compact_rows=st.sampled_from([1, 5, 1 << 20]),
)
def test_counting_in_parts_equals_counting_at_once(batches: list[list[bytes]], cut: int, compact_rows: int) -> None:
    usual, counting._COMPACT_ROWS = counting._COMPACT_ROWS, compact_rows
    try:
        counts = merged([_counted(batches[:cut]), _counted(batches[cut:])])
    finally:
        counting._COMPACT_ROWS = usual
    everything = [token for tokens in batches for token in tokens]
    kept = {token: everything.count(token) for token in everything if token and b"\n" not in token and b"\r" not in token}
    expected = sorted(kept, key=lambda token: (kept[token], token), reverse=True)
    assert ordered_vocabulary(counts, Vocabulary()).to_pylist() == expected
    assert count_line_ends(counts) == sum(b"\n" in token or b"\r" in token for token in everything)
    assert ordered_vocabulary(counts, Vocabulary(min_count=2, max_size=3)).to_pylist() == [t for t in expected if kept[t] >= 2][:3]


def test_tokens_with_line_ends_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("y,note,word\n" + '1,"two\nlines",a\n0,one,a\n0,"two\nlines",b\n' * 10)
    spec = FeatureSpec.from_yaml("""
    name: notes
    features:
    - {kind: categorical, name: note, encoding: {type: vocabulary}}
    - {kind: categorical, name: word, encoding: {type: vocabulary}}
    label: {column: y}
    split: {type: files, train: d.csv}
    """)
    data = build(spec, tmp_path / "data", [str(tmp_path / "d.csv")], show_progress=False)
    told = [warning for warning in data.statistics["warnings"] if "line end" in warning]
    assert told == ["note: 20 values of train have a line end; they are out of the vocabulary, one token a line"]
    assert (data.transform_fn / "assets" / "vocabulary-note").read_bytes() == b"one\n"
    assert data.statistics["features"]["note"]["train"]["oov_share"] == 0.666666667
    assert told[0] in (data.path / "statistics.txt").read_text()
