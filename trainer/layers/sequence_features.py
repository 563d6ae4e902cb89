"""SequenceFeatures: the only layer that knows features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from feature_specs import ColonnadeError, FeatureSpec
from trainer.layers.feature_columns import ColumnInput
from trainer.layers.spec_input import SpecInput, Vectors


class SequenceFeatures(keras.layers.Layer):
    """Embeds every feature as a sequence; a single value is a sequence of length one.

    `embeddings, lengths = layer(features)` gives `{name: [B, T, D]}` and `{name: [B]}` (int32), in the order of `columns`. Vectors at
    and after a row's length (before the last `length` positions, where a feature is padded on the left) are zero, so that a row depends
    on the other rows in its padding alone.

    With a FeatureSpec the keys are `spec.fields` and the features are transformed ones: ids as dense `[B]` or `[B, T]` (0 is missing),
    RaggedTensor or SparseTensor, padded on the right; numbers `[B]`, vectors of numbers `[B, size]`, lists of numbers `[B, T]` padded
    with NaN. A number x is embedded as x * v. A weighted value's vector is multiplied with its weight; the values of one step are pooled
    by the feature's combiner. With `tf.feature_column` columns the features are what these columns take; keys are the columns' names,
    and ids, hashing and combiners are TensorFlow's.

    Args:
        columns: A FeatureSpec, or `tf.feature_column` columns.
        table_rows: Rows of the spec's tables, padding and OOV included; needed for tables with a vocabulary.
        embedding_dim: Width of the spec's tables that declare none.
        initializer: Keras initializer of what declares none in the spec; RandomNormal(stddev=0.01) where not given.
        pretrained: Files with the vectors that tables of the spec begin with, by table.
        name: Name of the layer.

    Example:
        >>> spec = FeatureSpec.from_yaml('''
        ... name: clicks
        ... features:
        ... - {kind: categorical, name: ad, encoding: {type: hash, num_buckets: 9}}
        ... label: {column: clicked}
        ... ''')
        >>> embeddings, lengths = SequenceFeatures(spec, embedding_dim=4)({"ad": tf.constant([3, 0])})
        >>> embeddings["ad"].shape, lengths["ad"].numpy()
        (TensorShape([2, 1, 4]), array([1, 0], dtype=int32))
    """

    def __init__(
        self,
        columns: FeatureSpec | Iterable[Any],
        *,
        table_rows: Mapping[str, int] | None = None,
        embedding_dim: int | None = None,
        initializer: keras.initializers.Initializer | str | None = None,
        pretrained: Mapping[str, str | Path] | None = None,
        name: str | None = None,
    ) -> None:
        # Keras would cast raw numbers to the compute dtype before `call`; the vectors are cast instead.
        super().__init__(name=name, autocast=False)
        self._input: SpecInput | ColumnInput
        with keras.name_scope(self.name):
            if isinstance(columns, FeatureSpec):
                self._input = SpecInput(columns, table_rows, embedding_dim, initializer, pretrained)
            else:
                self._input = ColumnInput(columns)
                self._lookups = self._input.lookups.module  # an attribute, so that the tables are exported
        if isinstance(self._input, ColumnInput) and (table_rows, embedding_dim, initializer, pretrained) != (None,) * 4:
            raise ColonnadeError(
                "pretrained, table_rows, embedding_dim and initializer belong to a FeatureSpec; tf.feature_column columns declare their "
                "own. Leave them out."
            )
        self._tables = self._input.layers  # an attribute, so that Keras tracks them
        self.built = True

    @property
    def names(self) -> tuple[str, ...]:
        """Keys of both dictionaries, in order."""
        return self._input.names

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> Vectors:
        """Returns `{name: [B, T, D]}` and `{name: [B]}`."""
        embeddings, lengths = self._input.embed(features, training)
        return {name: tf.cast(vectors, self.compute_dtype) for name, vectors in embeddings.items()}, lengths
