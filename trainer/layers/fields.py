"""One vector a field: what models without sequences are built on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from feature_specs import ColonnadeError, FeatureSpec
from trainer.layers.number_input import ValueInput
from trainer.layers.plan import check_equal_widths, first_order_spec, value_names
from trainer.layers.spec_input import SpecInput
from trainer.layers.token_input import Block


class PooledFields(keras.layers.Layer):
    """What the layers that pool every field have in common.

    Args:
        spec: The features.
        table_rows: Rows of the tables, padding and OOV included.
        embedding_dim: Width of the tables that declare none.
        initializer: Keras initializer; RandomNormal(stddev=0.01) where not given.
        pretrained: Files with the vectors that tables begin with, by table.
        only: Names of the fields that are wanted; all where not given.
        kept: Names of the lists of ids that are not pooled.
        name: Name of the layer.
    """

    _with_weights = False

    def __init__(
        self,
        spec: FeatureSpec,
        *,
        table_rows: Mapping[str, int] | None = None,
        embedding_dim: int | None = None,
        initializer: keras.initializers.Initializer | None = None,
        pretrained: Mapping[str, str | Path] | None = None,
        only: Collection[str] | None = None,
        kept: Collection[str] = (),
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, autocast=False)
        with keras.name_scope(self.name):
            self._input = SpecInput(
                spec, table_rows, embedding_dim, initializer, pretrained, pools=True, with_weights=self._with_weights, only=only, kept=kept
            )
            self._tables = self._input.layers
            self._add_layers(table_rows)
        self.built = True

    def _add_layers(self, table_rows: Mapping[str, int] | None) -> None:
        """Makes what else the layer holds."""

    @property
    def field_names(self) -> tuple[str, ...]:
        """The name of each field, in order."""
        return tuple(name for group in self._input.groups for name in group.names)


class FieldEmbeddings(PooledFields):
    """Embeds every field as one vector: `[B, F, D]`.

    Lists are pooled by their feature's combiner with their mask, weighted ones by their weights too; an empty list and a missing value
    are zero. The fields are in the order of `field_names`: single values, lists, numbers, then frozen tables, numbers as they are and
    indicators. The widths of all must be equal. Arguments are those of the base class.

    Attributes:
        width: D: `embedding_dim`, or what the spec declares for all fields.
    """

    def _add_layers(self, table_rows: Mapping[str, int] | None) -> None:
        del table_rows
        if all(field.kind == "value" for field in self._input.fields):
            values = ", ".join(value_names(self._input.spec))
            raise ColonnadeError(
                f"The model multiplies vectors, and there are none. Received numbers as they are: {values}. Leave `representation: value` "
                "out of the spec, add a feature with a table, or use lr or mlp."
            )
        check_equal_widths(self._input.fields)
        self.width = self._input.fields[0].width

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> tf.Tensor:
        """Returns `[B, F, D]`."""
        _, blocks = self._input.pool(features, training)
        return tf.cast(_concat(blocks), self.compute_dtype)


class FieldsAndFirstOrder(FieldEmbeddings):
    """`FieldEmbeddings` and `FirstOrder` as one look-up: a token's weight is the last column of its row.

    Both read the same rows, and on large tables a step is bound by how often it goes to memory. Frozen tables, numbers as they are and
    indicators have their weights apart, which are trained. Numbers as they are have first-order weights even where `only` leaves them out.
    """

    _with_weights = True

    def _add_layers(self, table_rows: Mapping[str, int] | None) -> None:
        super()._add_layers(table_rows)
        spec = self._input.spec
        apart = {*self._input.names_apart, *value_names(spec)}
        self._weights_apart = FirstOrder(spec, table_rows=table_rows, only=apart, name="weights_apart") if apart else None

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the vectors `[B, F, D]` and the linear term `[B]`, which stays float32 under mixed precision."""
        blocks, apart = self._input.pool(features, training)
        vectors: list[tf.Tensor] = []
        first_order: list[tf.Tensor] = []
        if blocks:
            pooled = _concat(blocks)
            both = tf.split(pooled, [pooled.shape[-1] - 1, 1], axis=2)
            vectors.append(both[0])
            first_order.append(tf.reduce_sum(both[1], axis=[1, 2]))
        if self._weights_apart is not None:
            vectors += [block.vectors for block in apart]
            first_order.append(self._weights_apart(features, training=training))
        joined = vectors[0] if len(vectors) == 1 else tf.concat(vectors, axis=1)
        return tf.cast(joined, self.compute_dtype), first_order[0] if len(first_order) == 1 else tf.add_n(first_order)


class Flat(PooledFields):
    """Every field as one vector, all of them side by side: `[B, W]`.

    Lists are pooled as in `FieldEmbeddings`; widths may differ. Numbers with representation `value` enter as they are, indicators as
    counts. Arguments are those of the base class.

    Attributes:
        width: W.
    """

    def _add_layers(self, table_rows: Mapping[str, int] | None) -> None:
        del table_rows
        self.width = sum(field.width for field in self._input.fields)

    @property
    def slices(self) -> dict[str, slice]:
        """Which columns belong to each field."""
        widths = {field.name: field.width for field in self._input.fields}
        found: dict[str, slice] = {}
        start = 0
        for name in self.field_names:
            found[name] = slice(start, start + widths[name])
            start += widths[name]
        return found

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> tf.Tensor:
        """Returns `[B, W]`."""
        _, blocks = self._input.pool(features, training)
        flat = [tf.reshape(block.vectors, [-1, len(block.names) * block.vectors.shape[-1]]) for block in blocks]
        return tf.cast(flat[0] if len(flat) == 1 else tf.concat(flat, axis=1), self.compute_dtype)


class Values(PooledFields):
    """The numbers as they are, for an MLP to take beside vectors; lists are pooled by their combiner.

    Arguments are those of the base class; `only` names the fields, which are numbers as they are.
    """

    def call(self, features: Mapping[str, Any]) -> list[tf.Tensor]:
        """Returns all of them side by side, `[B, N]`, as the one entry of a list, which `side_by_side` takes."""
        numbers = [each for group in self._input.groups if isinstance(group, ValueInput) for each in group.pooled(features)]
        return [tf.cast(numbers[0] if len(numbers) == 1 else tf.concat(numbers, axis=1), self.compute_dtype)]


class FieldsAndHistories(PooledFields):
    """Every field apart, `{name: [B, 1, D]}` in the order of the spec; the lists that are `kept` are `[B, T, D]`, zero in their padding.

    All else is as in `Flat`. Arguments are those of the base class.
    """

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> dict[str, tf.Tensor]:
        """Returns the vectors by field."""
        found: dict[str, tf.Tensor] = {}
        for names, vectors in self._input.pool(features, training)[1]:
            found |= zip(names, tf.split(vectors, len(names), axis=1) if len(names) > 1 else [vectors], strict=True)
        return {name: tf.cast(found[name], self.compute_dtype) for name in self._input.names}


class FirstOrder(keras.layers.Layer):
    """The linear term: the sum over the fields of one weight an id, pooled for lists, and w * x for numbers.

    It starts at zero and stays float32 under mixed precision: it is a part of the logits. Every weight is trained, also those of frozen
    tables; an indicator's ids have one weight each, as those of an embedding.

    Args:
        spec: The features; what it declares of widths, initializers and representations is not used.
        table_rows: Rows of the tables, padding and OOV included.
        use_bias: Whether to add a global bias.
        only: Names of the fields that are wanted; all where not given.
        name: Name of the layer.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        *,
        table_rows: Mapping[str, int] | None = None,
        use_bias: bool = False,
        only: Collection[str] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, autocast=False)
        with keras.name_scope(self.name):
            self._input = SpecInput(first_order_spec(spec), table_rows, 1, "zeros", pools=True, only=only)
        self._tables = self._input.layers
        self.bias = self.add_weight(shape=(), initializer="zeros", dtype="float32", autocast=False, name="bias") if use_bias else None
        self.built = True

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> tf.Tensor:
        """Returns `[B]`, float32."""
        total = tf.reduce_sum(_concat(self._input.pool(features, training)[1]), axis=[1, 2])
        return total if self.bias is None else total + self.bias.value


def _concat(blocks: Sequence[Block]) -> tf.Tensor:
    return blocks[0].vectors if len(blocks) == 1 else tf.concat([block.vectors for block in blocks], axis=1)
