"""The second stage: vocabularies from the counts of the shards, then TF-Transform traces and saves the spec's transform graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import tensorflow as tf
from tensorflow_transform import graph_context, impl_helper
from tensorflow_transform.saved import saved_transform_io_v2

from feature_specs import Column, FeatureSpec, Vocabulary
from preprocessing.analyzers import Analysis
from preprocessing.counting import merged, read_numbers, write_lines
from preprocessing.execution import Execution
from preprocessing.given import given_tokens
from preprocessing.transform import make_preprocessing_fn, tokens_of
from preprocessing.vocabularies import (
    EMPTY_VOCABULARY,
    VocabularyPlan,
    is_token,
    vocabulary_file,
    with_stand_in,
    write_vocabulary,
)

_TENSOR_TYPES = {"string": tf.string, "int64": tf.int64, "float32": tf.float32}


def analyze(spec: FeatureSpec, execution: Execution, shards: Sequence[int], staging: str) -> Analysis:
    """Makes the vocabulary files and merges the numbers of the shards."""
    plan = VocabularyPlan(spec, staging, tuple(shards))
    tables = {table: encoding for table, encoding in spec.tables.items() if isinstance(encoding, Vocabulary)}
    counted = [table for table, encoding in tables.items() if not encoding.is_given]
    plain = [table for table in counted if all(is_token(feature) for feature in plan.members(table))]
    records = execution.map("count", partial(write_vocabulary, plan), plain) if plain else []
    if derived := [table for table in counted if table not in plain]:
        records += execution.map("derive", partial(write_vocabulary, plan, as_tokens=_as_tokens), derived, tensorflow=True)
    sizes = {record["table"]: record["size"] for record in records}
    for table, encoding in tables.items():
        if encoding.is_given:
            tokens = given_tokens(table, encoding)
            write_lines(plan.path(table), with_stand_in(tokens))
            sizes[table] = len(tokens)
    numbers = read_numbers(spec, [f"{staging}/numbers/{shard:05d}.arrow" for shard in shards])
    warnings = [
        f"{record['table']}: {record['line_ends']:,} values of train have a line end; they are out of the vocabulary, one token a line"
        for record in sorted(records, key=lambda record: counted.index(record["table"]))
        if record["line_ends"]
    ]
    return Analysis({table: plan.path(table) for table in tables}, sizes, numbers, warnings)


def _as_tokens(feature: Any, counts: pa.Table, empty: int) -> pa.Table:  # noqa: ANN401 (a token feature)
    """Returns counts of tokens, from those of raw values: what the transform graph makes of a value is made of each distinct one."""
    values = counts["token"].combine_chunks()
    tokens = tokens_of(feature, tf.constant(values.to_numpy(zero_copy_only=False), _TENSOR_TYPES[feature.dtype])).numpy()
    parts = [pa.table({"token": pa.array(tokens, pa.binary()), "count": counts["count"]})]
    if empty and feature.default is not None:
        filled = tokens_of(feature, tf.constant(["" if feature.dtype == "string" else -1], _TENSOR_TYPES[feature.dtype])).numpy()
        parts.append(pa.table({"token": pa.array(filled, pa.binary()), "count": pa.array([empty], pa.int64())}))
    # Several values may have become one token.
    return merged([*parts, parts[0].slice(0, 0)])


def write_transform_fn(
    spec: FeatureSpec, analysis: Analysis, path: Path, temporary: Path
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Traces the transform graph and saves it in the folder `path`, with the vocabularies as its assets.

    Returns:
        The traced graph, which does what a loaded one does.
    """
    context = graph_context.TFGraphContext(module_to_export=tf.Module(), temp_dir=str(temporary), evaluated_replacements=None)
    signature = {column.name: _tensor_spec(column) for column in spec.raw_inputs}
    traced = impl_helper.get_traced_transform_fn(make_preprocessing_fn(spec, analysis), signature, context)
    module = context.module_to_export
    saved_transform_io_v2.write_v2_saved_model(module, traced, "transform_fn", str(path))
    # The module keeps the tables alive.
    return lambda raw: dict(module.transform_fn(dict(raw)))


def _tensor_spec(column: Column) -> tf.TypeSpec:
    """Describes raw examples to TF-Transform: single values are [B], vectors [B, size], lists ragged [B, None]."""
    if column.layout == "list":
        return tf.RaggedTensorSpec([None, None], _TENSOR_TYPES[column.dtype], ragged_rank=1, row_splits_dtype=tf.int64)
    return tf.TensorSpec([None, column.size] if column.layout == "vector" else [None], _TENSOR_TYPES[column.dtype])


def vocabulary_sizes(spec: FeatureSpec, transform_fn: Path) -> dict[str, int]:
    """Returns the number of tokens of each vocabulary."""
    sizes = {}
    for table, encoding in spec.tables.items():
        if isinstance(encoding, Vocabulary):
            content = (transform_fn / "assets" / vocabulary_file(table)).read_bytes()
            sizes[table] = 0 if content == EMPTY_VOCABULARY + b"\n" else content.count(b"\n")
    return sizes


def first_tokens(transform_fn: Path, table: str, number: int) -> list[bytes]:
    """Returns the first tokens of the vocabulary of a table."""
    with (transform_fn / "assets" / vocabulary_file(table)).open("rb") as lines:
        return [line.removesuffix(b"\n") for line in islice(lines, number)]


def all_table_rows(spec: FeatureSpec, sizes: dict[str, int]) -> dict[str, int]:
    """Returns the rows of every embedding table."""
    return {table: encoding.num_rows(sizes.get(table, 0)) for table, encoding in spec.tables.items()}
