"""The fused analyzer writes, byte for byte, the files that `tft.vocabulary` writes."""

from __future__ import annotations

import math
import random
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.public import tfxio

from feature_specs import Vocabulary
from preprocessing import analyzers
from preprocessing.analyzers import CountTokens, Moments, ordered_vocabulary, vocabularies

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
        x = inputs["x"]
        ours = vocabularies([x] * len(ENCODINGS), [(f"ours-{name}", encoding) for name, encoding in ENCODINGS.items()])
        outputs = {}
        for (name, encoding), file in zip(ENCODINGS.items(), ours, strict=True):
            theirs = tft.vocabulary(x, top_k=encoding.max_size, frequency_threshold=encoding.min_count, vocab_filename=f"theirs-{name}")
            outputs[f"ours_{name}"] = tft.apply_vocabulary(x, file)
            outputs[f"theirs_{name}"] = tft.apply_vocabulary(x, theirs)
        return outputs

    representation = schema_pb2.TensorRepresentation()
    representation.dense_tensor.column_name = "x"
    representation.dense_tensor.shape.SetInParent()
    batches = [_record_batch(tokens) for tokens in _batches(seed=1)]
    config = tfxio.TensorAdapterConfig(batches[0].schema, {"x": representation})
    with beam.Pipeline(runner=FnApiRunner()) as pipeline, tft_beam.Context(temp_dir=str(tmp_path / "temporary")):
        dataset = pipeline | beam.Create(batches).with_output_types(pa.RecordBatch)
        _ = (dataset, config) | tft_beam.AnalyzeDataset(preprocessing_fn) | tft_beam.WriteTransformFn(str(tmp_path / "out"))
    assets = tmp_path / "out" / "transform_fn" / "assets"
    for name in ENCODINGS:
        ours, theirs = ((assets / f"{side}-{name}").read_bytes() for side in ("ours", "theirs"))
        assert ours == theirs, name
        assert ours.count(b"\n") >= 5


@settings(deadline=None)
@given(
    batches=st.lists(st.lists(st.sampled_from(NASTY) | st.binary(max_size=2), max_size=20), max_size=6),
    cut=st.integers(0, 6),
    compact_rows=st.sampled_from([1, 5, 1 << 20]),
)
def test_counting_in_parts_equals_counting_at_once(batches: list[list[bytes]], cut: int, compact_rows: int) -> None:
    combine = CountTokens(1)
    analyzers_rows, analyzers._COMPACT_ROWS = analyzers._COMPACT_ROWS, compact_rows
    try:
        parts = []
        for group in (batches[:cut], batches[cut:]):
            accumulator = combine.create_accumulator()
            for tokens in group:
                accumulator = combine.add_input(accumulator, [np.array(tokens, dtype=object)])
            parts.append(combine.compact(accumulator))
        counts = combine.extract_output(combine.merge_accumulators(parts))[0]
    finally:
        analyzers._COMPACT_ROWS = analyzers_rows
    everything = [token for tokens in batches for token in tokens]
    kept = {token: everything.count(token) for token in everything if token and b"\n" not in token and b"\r" not in token}
    expected = sorted(kept, key=lambda token: (kept[token], token), reverse=True)
    assert ordered_vocabulary(counts, Vocabulary()) == expected
    assert ordered_vocabulary(counts, Vocabulary(min_count=2, max_size=3)) == [t for t in expected if kept[t] >= 2][:3]


@given(st.lists(st.lists(st.floats(-1e3, 1e3, width=32) | st.just(math.nan), min_size=1, max_size=9), min_size=1, max_size=5))
def test_moments_in_parts_equal_numpys(batches: list[list[float]]) -> None:
    combine = Moments(1)
    parts = [combine.add_input(combine.create_accumulator(), [np.array(batch, np.float32)[:, None]]) for batch in batches]
    mean, deviation = combine.extract_output(combine.merge_accumulators(parts))
    present = np.array([x for batch in batches for x in batch if not math.isnan(x)], np.float64)
    np.testing.assert_allclose(mean, [present.mean() if len(present) else 0.0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(deviation, [present.std() if len(present) else 0.0], rtol=1e-5, atol=1e-5)
