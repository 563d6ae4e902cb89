"""The second stage: TF-Transform traces the spec's transform graph and computes its constants on the training split."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow_transform.beam as tft_beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.public import tfxio

from feature_specs import FeatureSpec, Vocabulary
from preprocessing import progress
from preprocessing.analyzers import EMPTY_VOCABULARY
from preprocessing.examples import value_type
from preprocessing.staging import read_batches
from preprocessing.statistics import table_rows
from preprocessing.transform import make_preprocessing_fn, vocabulary_file


def analyze(spec: FeatureSpec, shards: Sequence[str], folder: Path, temporary: Path) -> None:
    """Runs the stage in this process; it writes `folder/transform_fn`."""
    with tft_beam.Context(temp_dir=str(temporary)):
        # DirectRunner would first try to download another runner.
        pipeline = beam.Pipeline(runner=FnApiRunner())
        batches = (
            pipeline | beam.Create(list(shards)) | "TrainingRows" >> beam.FlatMap(_training_rows, spec).with_output_types(pa.RecordBatch)
        )
        transform_fn = (batches, _adapter_config(spec)) | tft_beam.AnalyzeDataset(make_preprocessing_fn(spec))
        _ = transform_fn | tft_beam.WriteTransformFn(str(folder))
        pipeline.run().wait_until_finish()
    # The spec says what is in it.
    shutil.rmtree(folder / "transformed_metadata")


def _adapter_config(spec: FeatureSpec) -> tfxio.TensorAdapterConfig:
    """Describes raw examples to TF-Transform: single values are dense [B], lists are ragged [B, None]."""
    representations = {}
    for feature in spec.features:
        representation = schema_pb2.TensorRepresentation()
        if feature.is_list:
            representation.ragged_tensor.feature_path.step.append(feature.name)
            representation.ragged_tensor.row_partition_dtype = schema_pb2.TensorRepresentation.RowPartitionDType.INT64
        else:
            representation.dense_tensor.column_name = feature.name
            representation.dense_tensor.shape.SetInParent()
        representations[feature.name] = representation
    return tfxio.TensorAdapterConfig(_list_schema(spec), representations)


def _list_schema(spec: FeatureSpec) -> pa.Schema:
    return pa.schema([(f.name, pa.list_(value_type(f))) for f in spec.features])


def _training_rows(path: str, spec: FeatureSpec) -> Iterator[pa.RecordBatch]:
    """Yields the training rows of a shard as TF-Transform wants them: every column a list. Histories, which are not analyzed, are empty."""
    schema = _list_schema(spec)
    histories = {feature.name for feature in spec.histories}
    for batch in read_batches(path):
        rows = batch.filter(pa.array(batch.column("_split").to_numpy() == 0))
        progress.advance(len(rows))
        if not len(rows):
            continue
        columns = []
        for feature in spec.features:
            column = rows.column(feature.name)
            # TF-Transform demands every input of the graph, analyzed or not.
            if feature.name in histories:
                column = pa.ListArray.from_arrays(pa.array(np.zeros(len(rows) + 1, np.int32)), pa.array([], value_type(feature)))
            # One value a list: the offsets are 0, 1, 2, ... and the values are not copied.
            elif not feature.is_list:
                column = pa.ListArray.from_arrays(pa.array(np.arange(len(rows) + 1, dtype=np.int32)), column)
            columns.append(column)
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def vocabulary_sizes(spec: FeatureSpec, transform_fn: Path) -> dict[str, int]:
    """Returns the number of tokens of each vocabulary."""
    sizes = {}
    for table, encoding in spec.tables.items():
        if isinstance(encoding, Vocabulary):
            content = (transform_fn / "assets" / vocabulary_file(table)).read_bytes()
            sizes[table] = 0 if content == EMPTY_VOCABULARY + b"\n" else content.count(b"\n")
    return sizes


def all_table_rows(spec: FeatureSpec, sizes: dict[str, int]) -> dict[str, int]:
    """Returns the rows of every embedding table."""
    return {table: table_rows(encoding, sizes.get(table, 0)) for table, encoding in spec.tables.items()}


def first_oov_ids(spec: FeatureSpec, sizes: dict[str, int]) -> dict[str, int]:
    """Returns the first id outside the vocabulary or the range, by table; hashed tables have none."""
    return {
        table: 1 + (sizes[table] if isinstance(encoding, Vocabulary) else encoding.num_buckets)
        for table, encoding in spec.tables.items()
        if encoding.type != "hash"
    }
