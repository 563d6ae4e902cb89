"""What clients send, as functions of the spec: the inputs of `predict`, the parsing of tf.Examples, and the way from both to raw examples.

A raw example has one entry a feature, keyed by its name: `[B]` for a single value, where a marker stands for a missing one ("", -1,
NaN), and a RaggedTensor `[B, None]` for a list, which holds no markers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from feature_specs.spec import FeatureSpec

MISSING: dict[str, Any] = {"string": "", "int64": -1, "float32": float("nan")}
RawExamples = Mapping[str, tf.Tensor | tf.RaggedTensor]


def missing_marker(dtype: tf.DType) -> Any:  # noqa: ANN401 (str, int or float)
    """Returns what stands for a missing value of `dtype`, and pads lists of it."""
    return MISSING[dtype.name]


def raw_specs(spec: FeatureSpec) -> dict[str, tf.TensorSpec]:
    """Returns the inputs of `predict`: `[B]` for single values, `[B, T]` for lists."""
    return {f.name: tf.TensorSpec([None, None] if f.is_list else [None], f.dtype, name=f.name) for f in spec.features}


def parsing_spec(spec: FeatureSpec) -> dict[str, tf.io.RaggedFeature]:
    """Returns how tf.Examples are parsed: every feature as a list, so that an absent one and an empty list are the same."""
    return {f.name: tf.io.RaggedFeature(tf.as_dtype(f.dtype), row_splits_dtype=tf.int64) for f in spec.features}


def taking_raw_tensors(spec: FeatureSpec, function: Callable[[dict[str, tf.Tensor]], Any]) -> Any:  # noqa: ANN401 (a tf.function)
    """Returns `function` as a tf.function with one argument a feature, all of them optional.

    The default of each argument is a missing value, of shape `[1]` or `[1, 1]`: a SavedModel keeps these as SignatureDef defaults.
    TensorFlow only keeps those of positional arguments, hence the made-up signature.
    """
    specs = raw_specs(spec)

    def call(*args: tf.Tensor) -> Any:  # noqa: ANN401 (whatever `function` returns)
        return function(dict(zip(specs, args, strict=True)))

    defaults = {name: tf.fill([1] * s.shape.rank, tf.constant(missing_marker(s.dtype), s.dtype)) for name, s in specs.items()}
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, positional, default=default) for name, default in defaults.items()]
    )
    return tf.function(call, input_signature=list(specs.values()))


def from_tensors(spec: FeatureSpec, tensors: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    """Returns the raw examples in the inputs of `predict`; a tensor of one row counts for every row."""
    sizes = tf.stack([tf.shape(tensors[f.name])[0] for f in spec.features])
    batch = sizes[tf.argmax(tf.cast(sizes != 1, tf.int32))]
    agree = tf.reduce_all((sizes == 1) | (sizes == batch))
    names = ", ".join(f.name for f in spec.features)
    check = tf.debugging.Assert(agree, [f"Every feature should have the same number of rows, or one. Received, for {names}:", sizes], 1000)
    raw = {}
    with tf.control_dependencies([check] if check is not None else []):
        for feature in spec.features:
            values = tensors[feature.name]
            shape = tf.concat([[batch], tf.shape(values)[1:]], axis=0)
            values = tf.broadcast_to(values, shape)
            raw[feature.name] = tf.ragged.boolean_mask(values, _is_present(values)) if feature.is_list else values
    return raw


def from_examples(spec: FeatureSpec, serialized: tf.Tensor) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    """Returns the raw examples in serialized tf.Examples `[B]`."""
    parsed = tf.io.parse_example(serialized, parsing_spec(spec))
    raw = {}
    for feature in spec.features:
        values = parsed[feature.name]
        if feature.is_list:
            raw[feature.name] = tf.ragged.boolean_mask(values, values.with_values(_is_present(values.values)))
            continue
        most = tf.reduce_max(values.row_lengths())
        check = tf.debugging.Assert(most <= 1, [f"Feature {feature.name!r} should hold one value an example. Received at most:", most])
        with tf.control_dependencies([check] if check is not None else []):
            raw[feature.name] = values.to_tensor(missing_marker(values.dtype), shape=[None, 1])[:, 0]
    return raw


def to_tensors(raw: RawExamples) -> dict[str, tf.Tensor]:
    """Returns raw examples as inputs of `predict`: lists `[B, T]`, padded on the right with the missing marker."""
    return {
        name: values.to_tensor(missing_marker(values.dtype)) if isinstance(values, tf.RaggedTensor) else values
        for name, values in raw.items()
    }


def to_examples(raw: RawExamples) -> tf.Tensor:
    """Returns raw examples as serialized tf.Examples `[B]`, without the missing values. For checks and clients: it goes row by row."""
    fields = {"string": "bytes_list", "int64": "int64_list", "float32": "float_list"}
    columns = []
    for name, values in raw.items():
        if not isinstance(values, tf.RaggedTensor):
            values = tf.ragged.boolean_mask(values[:, tf.newaxis], _is_present(values)[:, tf.newaxis])
        columns.append((name, fields[values.dtype.name], values.flat_values.numpy().tolist(), values.row_splits.numpy().tolist()))
    serialized = []
    for row in range(len(columns[0][3]) - 1):
        example = tf.train.Example()
        for name, kind, flat, splits in columns:
            if splits[row] < splits[row + 1]:
                getattr(example.features.feature[name], kind).value.extend(flat[splits[row] : splits[row + 1]])
        serialized.append(example.SerializeToString())
    return tf.constant(serialized, tf.string)


def to_scorer_inputs(spec: FeatureSpec, transformed: RawExamples) -> dict[str, tf.Tensor]:
    """Returns the transform graph's outputs as a scorer takes them: ids `[B]` or `[B, T]`, padded with 0, T >= 1; numbers `[B]`."""
    dense = {}
    for feature in spec.features:
        values = transformed[feature.name]
        if feature.is_list:
            # A batch of empty lists has T = 0, where a maximum or a softmax over time is undefined; one column of padding is not.
            values = values.to_tensor(0, shape=[None, None])
            values = tf.pad(values, [[0, 0], [0, tf.maximum(1 - tf.shape(values)[1], 0)]])
        dense[feature.name] = values
    return dense


def _is_present(values: tf.Tensor) -> tf.Tensor:
    return ~tf.math.is_nan(values) if values.dtype.is_floating else tf.not_equal(values, missing_marker(values.dtype))
