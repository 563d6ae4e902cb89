"""Batches from input_fns: checked, and with labels in one form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from feature_specs.errors import ColonnadeError, did_you_mean
from trainer.pipelines import untuned

_EXPECTED = "a tf.data.Dataset of batches (features, labels) or (features, labels, weights), features being a dictionary"


class InputFnBatches:
    """The batches of one input_fn, `(features, labels)` or `(features, labels, weights)`; labels and weights are `[B]` float32.

    Args:
        input_fn: Returns the dataset; called once a pass.
        parsing_spec: The features that columns read; others are left out. Those of any length come as SparseTensors, as parsed tf.Examples
            hold them, whatever the dataset has: without the "" and -1 of dense tensors. A cross would put the same tokens into other
            buckets where some of its inputs are dense.
        weights: The key of the values that each key of weights belongs to.
        task: What labels may be.
        limit: Batches, at most; all where not given.
        labelled: Whether labels are needed; otherwise they are NaN where there are none.

    Raises:
        ColonnadeError: It returns something else, or its features are not what the columns read.
    """

    def __init__(
        self,
        input_fn: Callable[[], Any],
        parsing_spec: Mapping[str, Any],
        weights: Mapping[str, str],
        *,
        task: str,
        limit: int | None = None,
        labelled: bool = True,
    ) -> None:
        self.input_fn, self.parsing_spec, self.weights, self.task = input_fn, parsing_spec, weights, task
        self.limit, self.labelled = -1 if limit is None else limit, labelled

    def dataset(self, epoch: int = 0, start_batch: int = 0) -> tf.data.Dataset:  # noqa: ARG002 (all passes are alike)
        """Returns the batches of one pass from `start_batch` on."""
        dataset = self._made()
        features, labels, *weights = _parts(dataset, self.labelled)
        _check_features(features, self.parsing_spec)
        if labels is not None or self.labelled:
            _check_column("Labels", labels)
        for each in weights:
            _check_column("Weights", each)
        keys = list(self.parsing_spec)

        def prepared(features: Mapping[str, Any], labels: Any = None, *weights: Any) -> tuple[Any, ...]:  # noqa: ANN401
            beside = self._labels(labels, features), *(_row_weights(each) for each in weights)
            return {key: self._as_parsed(key, features) for key in keys}, *beside

        prepare = prepared if isinstance(dataset.element_spec, tuple) else lambda features: prepared(features)
        # Skipped before it is prepared: bad labels in batches that are done with are nobody's business.
        rest = dataset.skip(start_batch).take(self.limit)
        return untuned(rest.map(prepare, num_parallel_calls=2, deterministic=True).prefetch(2))

    @contextmanager
    def errors_of_reading(self) -> Iterator[None]:
        """Inside, an assertion about a batch (its labels, its ids) is one clear error."""
        try:
            yield
        except tf.errors.InvalidArgumentError as error:
            _, found, rest = str(error.message).partition("assertion failed: [")
            if not found:
                raise
            raise ColonnadeError(f"A batch of {_name(self.input_fn)} cannot be used: {rest.partition(']')[0]}") from error

    def read_column(self, name: str) -> None:  # noqa: ARG002 (datasets have no groups)
        """Returns nothing: a dataset has no columns beside features and labels."""
        return

    def _made(self) -> tf.data.Dataset:
        if not callable(self.input_fn):
            raise ColonnadeError(f"input_fn should be a function that returns {_EXPECTED}. Received: {type(self.input_fn).__name__}.")
        dataset = self.input_fn()
        if not isinstance(dataset, tf.data.Dataset):
            hint = " Wrap tensors: tf.data.Dataset.from_tensor_slices((features, labels)).batch(...)." if isinstance(dataset, tuple) else ""
            raise ColonnadeError(f"{_name(self.input_fn)} should return {_EXPECTED}. Received: {type(dataset).__name__}.{hint}")
        return dataset

    def _as_parsed(self, key: str, features: Mapping[str, Any]) -> Any:  # noqa: ANN401 (any kind of tensor)
        value = features[key]
        if isinstance(value, tf.RaggedTensor):
            return value.to_sparse()
        if isinstance(value, tf.SparseTensor) or not isinstance(self.parsing_spec[key], tf.io.VarLenFeature):
            return value
        owner = features[self.weights.get(key, key)]
        value = value[:, tf.newaxis] if value.shape.rank == 1 else value
        if not isinstance(owner, tf.Tensor) or owner.dtype.is_floating:
            present = tf.ones_like(value, tf.bool)
        else:
            present = tf.reshape(owner, tf.shape(value)) != ("" if owner.dtype == tf.string else tf.constant(-1, owner.dtype))
        return tf.SparseTensor(tf.where(present), tf.boolean_mask(value, present), tf.shape(value, tf.int64))

    def _labels(self, labels: Any, features: Mapping[str, Any]) -> tf.Tensor:  # noqa: ANN401
        if labels is None:
            feature = features[next(iter(self.parsing_spec))]
            rows = feature.dense_shape[0] if isinstance(feature, tf.SparseTensor) else feature.shape[0] or tf.shape(feature)[0]
            return tf.fill([rows], float("nan"))
        flat = _flat(labels)
        valid = (flat == 0) | (flat == 1) if self.task == "binary" else tf.math.is_finite(flat)
        return _checked(flat, valid, f"labels should be {'0 or 1' if self.task == 'binary' else 'finite numbers'}")


def _row_weights(weights: Any) -> tf.Tensor:  # noqa: ANN401
    flat = _flat(weights)
    return _checked(flat, tf.math.is_finite(flat) & (flat >= 0), "weights should be finite numbers of 0 or more")


def _flat(column: Any) -> tf.Tensor:  # noqa: ANN401
    return tf.reshape(tf.cast(tf.ensure_shape(column, [None, 1]) if column.shape.rank == 2 else column, tf.float32), [-1])


def _checked(column: tf.Tensor, valid: tf.Tensor, expected: str) -> tf.Tensor:
    check = tf.debugging.Assert(tf.reduce_all(valid), [f"{expected}. Received a batch with others"], summarize=8)
    with tf.control_dependencies([check] if check is not None else []):
        return tf.identity(column)


def _parts(dataset: tf.data.Dataset, labelled: bool) -> tuple[Any, ...]:
    element = dataset.element_spec
    features, labels, *weights = element if isinstance(element, tuple) and len(element) in (2, 3) else (element, None)
    if not isinstance(features, Mapping):
        raise ColonnadeError(f"input_fn should give {_EXPECTED}. Received elements: {element}.")
    if labels is None and labelled:
        raise ColonnadeError("input_fn gives features without labels. Return a dataset of (features, labels).")
    return features, labels, *weights


def _check_features(features: Mapping[str, Any], parsing_spec: Mapping[str, Any]) -> None:
    for key, wanted in parsing_spec.items():
        if key not in features:
            raise ColonnadeError(
                f"Feature {key!r} is missing.{did_you_mean(key, features)} The input_fn gives: {', '.join(map(str, features)) or 'none'}. "
                "Add it to the dictionary of features, or leave its column out."
            )
        spec = features[key]
        if (spec.dtype == tf.string) != (wanted.dtype == tf.string):
            raise ColonnadeError(
                f"Feature {key!r} should be of dtype {wanted.dtype.name}. Received: {spec.dtype.name}. Convert it in the input_fn, or give "
                "its column another dtype."
            )
        if spec.shape.rank == 0:
            raise ColonnadeError(f"Feature {key!r} is not batched. Call .batch(...) on the dataset in the input_fn.")


def _check_column(what: str, column: Any) -> None:  # noqa: ANN401 (whatever the dataset holds)
    if not isinstance(column, tf.TensorSpec):
        raise ColonnadeError(f"{what} should be one dense tensor, [B] or [B, 1]. Received: {column}.")
    if column.dtype == tf.string:
        how = 'tf.cast(labels == ">50K", tf.float32)' if what == "Labels" else "tf.strings.to_number(weights)"
        raise ColonnadeError(f"{what} should be numbers. Received: string. Convert them in the input_fn, as in {how}.")
    rank = column.shape.rank
    if rank is not None and (rank not in (1, 2) or (rank == 2 and column.shape[1] not in (1, None))):
        hint = " Call .batch(...) on the dataset in the input_fn." if rank == 0 else ""
        raise ColonnadeError(f"{what} should have shape [B] or [B, 1]. Received: {column.shape}.{hint}")


def _name(input_fn: Callable[..., Any]) -> str:
    return f"input_fn {getattr(input_fn, '__name__', type(input_fn).__name__)!r}"
