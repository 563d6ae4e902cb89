"""Stock TF-Transform on a Criteo-shaped file, as its census example reads, transforms and writes: TFT's own analyzers, Beam in process.

`python benchmarks/peers/stock_tft.py FILE.csv OUTPUT_DIR`
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import apache_beam as beam
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tensorflow_transform.tf_metadata import schema_utils
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder
from tfx_bsl.public import tfxio

NUMBERS = [f"i{i}" for i in range(1, 14)]
TOKENS = [f"c{i}" for i in range(1, 27)]


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """One scale_to_z_score a number, one compute_and_apply_vocabulary a token."""
    outputs = {"label": tf.squeeze(tf.sparse.to_dense(inputs["label"], default_value=0), axis=1)}
    for name in NUMBERS:
        outputs[name] = tft.scale_to_z_score(_filled(inputs[name], 0.0))
    for name in TOKENS:
        outputs[name] = tft.compute_and_apply_vocabulary(_filled(inputs[name], ""), num_oov_buckets=1, vocab_filename=f"vocabulary-{name}")
    return outputs


def _filled(x: tf.SparseTensor, default: str | float) -> tf.Tensor:
    """As in the census example."""
    sparse = tf.sparse.SparseTensor(x.indices, x.values, [x.dense_shape[0], 1])
    return tf.squeeze(tf.sparse.to_dense(sparse, default_value=default), axis=1)


def main(path: str, output: str) -> None:
    """Reads, analyzes, transforms and writes."""
    types = {"label": tf.int64, **dict.fromkeys(NUMBERS, tf.float32), **dict.fromkeys(TOKENS, tf.string)}
    schema = schema_utils.schema_from_feature_spec({name: tf.io.VarLenFeature(kind) for name, kind in types.items()})
    source = tfxio.BeamRecordCsvTFXIO(physical_format="text", column_names=list(types), schema=schema)
    with beam.Pipeline(runner=FnApiRunner()) as pipeline, tft_beam.Context(temp_dir=tempfile.mkdtemp(dir=os.path.dirname(output))):
        lines = pipeline | beam.io.ReadFromText(path, skip_header_lines=1, coder=beam.coders.BytesCoder())
        raw = (lines | source.BeamSource(), source.TensorAdapterConfig())
        (transformed, metadata), transform_fn = raw | tft_beam.AnalyzeAndTransformDataset(preprocessing_fn, output_record_batches=True)
        encoder = beam.pvalue.AsSingleton(metadata.deferred_metadata | beam.Map(lambda m: RecordBatchToExamplesEncoder(m.schema)))
        _ = (
            transformed
            | beam.FlatMap(lambda pair, coder: coder.encode(pair[0]), coder=encoder)
            | beam.io.WriteToTFRecord(os.path.join(output, "train"))
        )
        _ = transform_fn | tft_beam.WriteTransformFn(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
