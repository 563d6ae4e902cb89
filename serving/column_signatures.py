"""What clients of a column export send: the inputs of its `predict`, as a function of the columns' parsing spec.

A key that is parsed with a fixed length is a dense tensor, `[B]` for one value and `[B, n]` for n. A key of any length is `[B, T]`, padded
on the right with "", -1 or NaN; a single value is `[B, 1]`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from feature_specs.errors import ColonnadeError
from serving.signatures import missing_marker

ParsingSpec = Mapping[str, Any]  # tf.io.FixedLenFeature or VarLenFeature by key


def input_names(parsing_spec: ParsingSpec) -> dict[str, str]:
    """Returns the name of each key in `predict`: the key, with what a signature cannot carry replaced by "_".

    Raises:
        ColonnadeError: Two keys would have one name.
    """
    names: dict[str, str] = {}
    for key in parsing_spec:
        name = re.sub(r"[^A-Za-z0-9_]", "_", key)
        name = name if name[:1].isalpha() else f"input_{name}"
        other = next((owner for owner, taken in names.items() if taken.lower() == name.lower()), None)
        if other is not None:
            raise ColonnadeError(f"Keys {other!r} and {key!r} would both be input {name!r} of the export. Rename one of them.")
        names[key] = name
    return names


def input_spec(key: str, feature: Any, name: str) -> tf.TensorSpec:  # noqa: ANN401 (of a parsing spec)
    """Returns the type of one input of `predict`.

    Raises:
        ColonnadeError: tf.Examples hold no such type.
    """
    if feature.dtype not in (tf.string, tf.int64, tf.float32):
        raise ColonnadeError(
            f"Feature {key!r} has dtype {feature.dtype.name}; tf.Examples hold string, int64 and float32. Give its column one of them."
        )
    if isinstance(feature, tf.io.VarLenFeature):
        return tf.TensorSpec([None, None], feature.dtype, name=name)
    shape = list(feature.shape)
    return tf.TensorSpec([None] if shape == [1] else [None, *shape], feature.dtype, name=name)


def taking_tensors(parsing_spec: ParsingSpec, function: Callable[[dict[str, Any]], Any]) -> Any:  # noqa: ANN401 (a tf.function)
    """Returns `function`, from features, as a tf.function with one argument a key.

    Arguments of any length, and those whose column has a default value, are optional: SignatureDef defaults of one row.
    """
    names = input_names(parsing_spec)
    specs = {key: input_spec(key, feature, names[key]) for key, feature in parsing_spec.items()}
    defaults = {key: _default(feature, specs[key]) for key, feature in parsing_spec.items()}
    order = sorted(specs, key=lambda key: defaults[key] is not None)  # arguments without a default come first

    def call(*args: tf.Tensor) -> Any:  # noqa: ANN401 (whatever `function` returns)
        return function(from_tensors(parsing_spec, dict(zip(order, args, strict=True))))

    parameter = inspect.Parameter
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            parameter(names[key], parameter.POSITIONAL_OR_KEYWORD, default=parameter.empty if defaults[key] is None else defaults[key])
            for key in order
        ]
    )
    return tf.function(call, input_signature=[specs[key] for key in order])


def _default(feature: Any, spec: tf.TensorSpec) -> tf.Tensor | None:  # noqa: ANN401 (of a parsing spec)
    if isinstance(feature, tf.io.VarLenFeature):
        return tf.fill([1, 1], tf.constant(missing_marker(feature.dtype), feature.dtype))
    if feature.default_value is None:
        return None
    shape = [1, *spec.shape[1:]]
    value = tf.constant(feature.default_value, feature.dtype)
    return tf.reshape(tf.broadcast_to(value, feature.shape) if value.shape.rank else tf.fill(feature.shape, value), shape)


def from_tensors(parsing_spec: ParsingSpec, tensors: Mapping[str, tf.Tensor]) -> dict[str, Any]:
    """Returns the features, as parsing would give them, in the inputs of `predict`; a tensor of one row counts for every row."""
    sizes = tf.stack([tf.shape(tensors[key])[0] for key in parsing_spec])
    batch = sizes[tf.argmax(tf.cast(sizes != 1, tf.int32))]
    agree = tf.reduce_all((sizes == 1) | (sizes == batch))
    message = f"Every feature should have the same number of rows, or one. Received, for {', '.join(parsing_spec)}:"
    check = tf.debugging.Assert(agree, [message, sizes], 1000)
    features: dict[str, Any] = {}
    with tf.control_dependencies([check] if check is not None else []):
        for key, feature in parsing_spec.items():
            values = tf.broadcast_to(tensors[key], tf.concat([[batch], tf.shape(tensors[key])[1:]], axis=0))
            if isinstance(feature, tf.io.VarLenFeature):
                present = is_present(values)
                features[key] = tf.SparseTensor(tf.where(present), tf.boolean_mask(values, present), tf.shape(values, tf.int64))
            else:
                features[key] = tf.reshape(values, tf.concat([[batch], feature.shape], axis=0))
    return features


def to_tensors(parsing_spec: ParsingSpec, features: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Returns parsed features as inputs of `predict`."""
    names = input_names(parsing_spec)
    tensors = {}
    for key, feature in parsing_spec.items():
        value = features[key]
        if isinstance(value, tf.SparseTensor):
            dense = tf.sparse.to_dense(value, missing_marker(value.dtype))
            # A column of padding where no row has a value: [B, 0] of one row would not say how many rows there are.
            value = tf.pad(dense, [[0, 0], [0, max(0, 1 - dense.shape[1])]], constant_values=missing_marker(value.dtype))
        tensors[names[key]] = tf.reshape(value, [-1]) if list(getattr(feature, "shape", [])) == [1] else value
    return tensors


def is_present(values: tf.Tensor) -> tf.Tensor:
    """Returns where values are no missing marker."""
    return ~tf.math.is_nan(values) if values.dtype.is_floating else tf.not_equal(values, missing_marker(values.dtype))
