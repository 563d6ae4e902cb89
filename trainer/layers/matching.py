"""The two sides of matching: a vector of each item, and one of each user."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs import ColonnadeError, FeatureSpec, SequenceFeature, Vocabulary
from trainer.layers.features import dense_ids, received
from trainer.layers.fields import FieldEmbeddings, Flat
from trainer.layers.plan import rows_of_tables

# The `max_length` of a model that reads all of a history, however little of it an export passes on; a run's result says what that changes.
WHOLE_HISTORY = 2**31 - 1


class ItemVectors(keras.layers.Layer):
    """One vector an item: the sum of the vectors of its fields, `[C, D]`.

    An item that training has not seen has its side features alone.

    Args:
        spec: Of matching data.
        flat: Whether the fields' vectors lie side by side instead of being summed; then their widths may differ.
        by_id: The side features of each row of the item feature's table, by feature: `[rows, ...]`; items of a history have these.
        table_rows: Rows of the tables, padding and OOV included.
        embedding_dim: Width of the tables that declare none.
        initializer: Keras initializer of the tables that declare none; RandomNormal(stddev=0.01) where not given.
        pretrained: Files with the vectors that tables begin with, by table.
        name: Name of the layer.

    Attributes:
        width: D.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        by_id: Mapping[str, NDArray],
        *,
        flat: bool = False,
        table_rows: Mapping[str, int] | None = None,
        embedding_dim: int | None = None,
        initializer: keras.initializers.Initializer | None = None,
        pretrained: Mapping[str, str | Path] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, autocast=False)
        self._spec, self._item = spec, spec.item_feature
        # Rows of no item: padding is what no value of a list looks like, and a single number is never missing.
        known = {column: np.asarray(v) if column in spec.paddings else np.nan_to_num(v) for column, v in by_id.items()}
        # Variables, not constants: a graph holds no more than 2 GB.
        self._by_id = {column: self._kept(f"{column}_by_id", values) for column, values in known.items()}
        fields = [field for feature in spec.features if feature.name in spec.item_names for field in feature.fields]
        with keras.name_scope(self.name):
            self._fields = (Flat if flat else FieldEmbeddings)(
                spec,
                table_rows=table_rows,
                embedding_dim=embedding_dim,
                initializer=initializer,
                pretrained=pretrained,
                only=fields,
                name="fields",
            )
        self.width = self._fields.width
        self._oov = oov_ids(spec, table_rows, self._item.name)
        self.built = True

    def call(self, features: Mapping[str, Any]) -> tf.Tensor:
        """Returns `[C, D]` for the item-side features of C items."""
        ids = without_oov(dense_ids(features, self._item), self._oov)
        vectors = self._fields({**features, self._item.name: ids})
        return _one(vectors)

    def of_ids(self, ids: tf.Tensor) -> tf.Tensor:
        """Returns the vectors of item ids of any shape, `[..., D]`; zero for padding, 0."""
        flat = tf.reshape(ids, [-1])
        sides = {name: tf.gather(values.value, flat) for name, values in self._by_id.items()}
        vectors = self({**sides, self._item.name: flat})
        if sides:
            vectors *= tf.cast(flat > 0, vectors.dtype)[:, tf.newaxis]
        return tf.reshape(vectors, tf.concat([tf.shape(ids), [self.width]], 0))

    def _kept(self, name: str, values: NDArray) -> keras.Variable:
        return self.add_weight(
            shape=values.shape, initializer=lambda *_, **__: values, dtype=values.dtype.name, trainable=False, autocast=False, name=name
        )

    def history(self, features: Mapping[str, Any], max_length: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the last `max_length` items of each user's history, `[B, T, D]`, zero in their padding, and their number, `[B]` int32.

        The most recent item of row b is at its number less 1: padding is on the right.
        """
        ids, lengths = self.recent_ids(features, max_length)
        return tf.ensure_shape(self.of_ids(ids), [None, None, self.width]), lengths

    def recent_ids(self, features: Mapping[str, Any], max_length: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the ids of each user's last `max_length` items, `[B, T]` int64 with 0 on the right, and their number, `[B]` int32."""
        return recent(self.history_ids(features), max_length)

    def history_ids(self, features: Mapping[str, Any]) -> tf.Tensor:
        """Returns the ids of each user's history, `[B, T]` int64."""
        return dense_ids(features, history_of(self._spec))


class UserVectors(keras.layers.Layer):
    """One vector a user: the sum of the vectors of the user-side fields, `[B, D]`.

    A user whom training has not seen has no vector. Where that leaves a model without anything to go by (`needs_users`), such a user is
    an error; elsewhere the vector is zero, or that of the other fields.

    Args:
        spec: Of matching data.
        flat: Whether the fields' vectors lie side by side instead of being summed; then their widths may differ.
        needs_users: Whether every user has to be known.
        table_rows: Rows of the tables, padding and OOV included.
        embedding_dim: Width of the tables that declare none.
        initializer: Keras initializer of the tables that declare none; RandomNormal(stddev=0.01) where not given.
        pretrained: Files with the vectors that tables begin with, by table.
        name: Name of the layer.

    Attributes:
        width: D.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        *,
        needs_users: bool,
        flat: bool = False,
        table_rows: Mapping[str, int] | None = None,
        embedding_dim: int | None = None,
        initializer: keras.initializers.Initializer | None = None,
        pretrained: Mapping[str, str | Path] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, autocast=False)
        fields = [field for feature in spec.features if feature.name in spec.user_names for field in feature.fields]
        if not fields:
            raise ColonnadeError(
                "This model has a vector of each user, and the spec has no feature on the user's side. Add one that reads the column "
                f"{spec.keys.user!r}, such as {{kind: categorical, name: user, column: {spec.keys.user}, encoding: {{type: vocabulary}}}}."
            )
        with keras.name_scope(self.name):
            self._fields = (Flat if flat else FieldEmbeddings)(
                spec,
                table_rows=table_rows,
                embedding_dim=embedding_dim,
                initializer=initializer,
                pretrained=pretrained,
                only=fields,
                name="fields",
            )
        self.width = self._fields.width
        users = [f for f in spec.token_features if f.name in spec.user_names and not f.is_list and f.raw_column == spec.keys.user]
        self._users = {feature.name: oov_ids(spec, table_rows, feature.name) for feature in users if not feature.derive}
        # With other features of the user there is something to go by.
        self.needs_users = needs_users and len(fields) == len(self._users)
        self.built = True

    def call(self, features: Mapping[str, Any]) -> tf.Tensor:
        """Returns `[B, D]`."""
        known = dict(features)
        for name, oov in self._users.items():
            ids = tf.cast(received(features, name), tf.int64)
            known[name] = without_oov(ids, oov)
            if self.needs_users:
                missing = tf.reduce_sum(tf.cast(known[name] == 0, tf.int32))
                tf.debugging.Assert(missing == 0, [unknown_users(), missing])
        vectors = self._fields(known)
        return _one(vectors)


class ItemIds:
    """The ids of items, for models that have no vectors of them.

    Args:
        spec: Of matching data.
        table_rows: Rows of the tables, padding and OOV included.

    Attributes:
        rows: Of the item feature's table: ids are in `[0, rows)`.
    """

    def __init__(self, spec: FeatureSpec, table_rows: Mapping[str, int] | None = None) -> None:
        self._spec = spec
        self.rows = rows_of_tables(spec, table_rows)[spec.item_feature.table_name]

    def of_items(self, features: Mapping[str, Any]) -> tf.Tensor:
        """Returns the ids of items, int64 `[C]`."""
        return dense_ids(features, self._spec.item_feature)

    def of_history(self, features: Mapping[str, Any]) -> tf.Tensor:
        """Returns the ids of each user's history, int64 `[B, T]`, 0 for padding."""
        return dense_ids(features, history_of(self._spec))


def unknown_users() -> str:
    """Returns what is said where a model knows users by their id alone and is given others."""
    return (
        "This model knows a user by the vector that training gave them, and has none for users whom training has not seen. Use a model "
        "that reads the history (sasrec, gru4rec, caser, attrec) or features of users (two_tower). Unknown users in the batch:"
    )


def recent(ids: tf.Tensor, max_length: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the last `max_length` ids of each row of `[B, T]`, padded on the right, and their number `[B]` int32."""
    lengths = tf.reduce_sum(tf.cast(ids > 0, tf.int32), axis=1)
    kept = tf.minimum(lengths, max_length)
    width = tf.maximum(tf.reduce_max(tf.pad(kept, [[0, 1]])), 1)
    places = (lengths - kept)[:, tf.newaxis] + tf.range(width)
    within = tf.range(width) < kept[:, tf.newaxis]
    places = tf.where(within, places, 0)
    padded = tf.pad(ids, [[0, 0], [0, 1]])  # T may be 0
    return tf.where(within, tf.gather(padded, places, batch_dims=1), 0), kept


def oov_ids(spec: FeatureSpec, table_rows: Mapping[str, int] | None, name: str) -> tuple[int, int]:
    """Returns the ids `[first, end)` of a feature's table that no training row has: its OOV buckets, where none of its tokens is there."""
    feature = next(f for f in spec.table_features if f.name == name)
    encoding = spec.tables[feature.table_name]
    if not isinstance(encoding, Vocabulary) or encoding.min_count > 1 or encoding.max_size is not None or encoding.tokens is not None:
        return 0, 0
    rows = rows_of_tables(spec, table_rows)[feature.table_name]
    return rows - encoding.num_oov_buckets, rows


def without_oov(ids: tf.Tensor, oov: tuple[int, int]) -> tf.Tensor:
    """Returns the ids, 0 in place of those in `[first, end)`: a vector that was never trained is no vector."""
    return ids if oov[0] == oov[1] else tf.where((ids >= oov[0]) & (ids < oov[1]), tf.zeros_like(ids), ids)


def _one(vectors: tf.Tensor) -> tf.Tensor:
    """Returns one vector an example: the sum of its fields' `[B, F, D]`, or those side by side, `[B, W]`, as they are."""
    if vectors.shape.rank == 2:
        return vectors
    return tf.reduce_sum(vectors, axis=1) if vectors.shape[1] != 1 else tf.squeeze(vectors, 1)


def history_of(spec: FeatureSpec) -> SequenceFeature:
    """Returns the history.

    Raises:
        ColonnadeError: There is none.
    """
    if spec.history is None:
        item = spec.item_feature
        raise ColonnadeError(
            f"This model reads what a user did before, and the spec has no history of {item.name!r}. Add a feature such as "
            f"{{kind: sequence, name: history, history_of: {item.name}, table: {item.table_name}}}."
        )
    return spec.history
