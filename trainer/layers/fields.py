"""One vector a field: what models without sequences are built on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from feature_specs import ColonnadeError, FeatureSpec
from trainer.layers.spec_input import SpecInput, field_names


class FieldEmbeddings(keras.layers.Layer):
    """Embeds every feature as one vector: `[B, F, D]`.

    Lists are pooled by their feature's combiner with their mask; an empty list and a missing value are zero. The fields are in the
    order of `field_names`: single values, lists, numbers.

    Args:
        spec: The features; the widths of all must be equal.
        table_rows: Rows of the tables, padding and OOV included.
        embedding_dim: Width of the tables that declare none.
        initializer: Keras initializer; RandomNormal(stddev=0.01) where not given.
        name: Name of the layer.

    Attributes:
        field_names: The feature of each field, in order.
    """

    _extra_columns = 0

    def __init__(
        self,
        spec: FeatureSpec,
        *,
        table_rows: Mapping[str, int] | None = None,
        embedding_dim: int | None = None,
        initializer: keras.initializers.Initializer | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, autocast=False)
        initializer = initializer or keras.initializers.RandomNormal(stddev=0.01)
        if self._extra_columns:
            initializer = _ZeroLastColumn(initializer)
        with keras.name_scope(self.name):
            self._input = SpecInput(spec, table_rows, embedding_dim, initializer, extra_columns=self._extra_columns)
        by_width: dict[int, list[str]] = {}
        for feature, width in self._input.widths.items():
            by_width.setdefault(width - self._extra_columns, []).append(feature)
        if len(by_width) > 1:
            received = "; ".join(f"{width} ({', '.join(names)})" for width, names in by_width.items())
            raise ColonnadeError(
                f"One vector a field needs equal widths. Received: {received}. Leave `embedding_dim` out of the spec, or use a model on "
                "sequences."
            )
        self.field_names = field_names(spec)
        self._tables = self._input.layers
        self.built = True

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> tf.Tensor:
        """Returns `[B, F, D]`."""
        return tf.cast(self._input.pool(features, training), self.compute_dtype)


class FieldsAndFirstOrder(FieldEmbeddings):
    """`FieldEmbeddings` and `FirstOrder` as one look-up: a token's weight is the last column of its row.

    Both read the same rows, and on large tables a step is bound by how often it goes to memory.
    """

    _extra_columns = 1

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the vectors `[B, F, D]` and the linear term `[B]`, which stays float32 under mixed precision."""
        pooled = self._input.pool(features, training)
        vectors, weights = tf.split(pooled, [pooled.shape[-1] - 1, 1], axis=2)
        return tf.cast(vectors, self.compute_dtype), tf.reduce_sum(weights, axis=[1, 2])


class _ZeroLastColumn(keras.initializers.Initializer):
    """Another initializer's numbers, and zeros in the last column."""

    def __init__(self, initializer: keras.initializers.Initializer) -> None:
        self.initializer = initializer

    def __call__(self, shape: tuple[int, int], dtype: str | None = None) -> tf.Tensor:
        vectors = self.initializer((shape[0], shape[1] - 1), dtype=dtype)
        return tf.pad(vectors, [[0, 0], [0, 1]])

    def clone(self) -> _ZeroLastColumn:
        """Returns a copy that draws other numbers."""
        return _ZeroLastColumn(self.initializer.clone())


class FirstOrder(keras.layers.Layer):
    """The linear term: the sum over the fields of one weight a token, pooled for lists, and w * x for numbers.

    It starts at zero and stays float32 under mixed precision: it is a part of the logits.

    Args:
        spec: The features; widths that it declares are not used.
        table_rows: Rows of the tables, padding and OOV included.
        use_bias: Whether to add a global bias.
        name: Name of the layer.
    """

    def __init__(
        self, spec: FeatureSpec, *, table_rows: Mapping[str, int] | None = None, use_bias: bool = False, name: str | None = None
    ) -> None:
        super().__init__(name=name, autocast=False)
        features = tuple(feature.model_copy(update={"embedding_dim": None}) for feature in spec.features)
        with keras.name_scope(self.name):
            self._input = SpecInput(spec.model_copy(update={"features": features}), table_rows, 1, "zeros")
        self._tables = self._input.layers
        self.bias = self.add_weight(shape=(), initializer="zeros", dtype="float32", autocast=False, name="bias") if use_bias else None
        self.built = True

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> tf.Tensor:
        """Returns `[B]`, float32."""
        total = tf.reduce_sum(self._input.pool(features, training), axis=[1, 2])
        return total if self.bias is None else total + self.bias.value
