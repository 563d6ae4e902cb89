"""What a model receives in place of `Inputs` where its features are `tf.feature_column` columns: the same methods, over columns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from feature_specs import ColonnadeError
from trainer.layers.column_ids import EMBEDDINGS, NUMBERS, Column, is_sequence, kind, nested, unwrapped
from trainer.layers.column_linear import ColumnFirstOrder, as_linear
from trainer.layers.feature_columns import ColumnInput, check_dense, table_of
from trainer.layers.inputs import no_values
from trainer.layers.spec_input import Vectors

_DENSE = (*EMBEDDINGS, *NUMBERS, "IndicatorColumn")


class ColumnInputs:
    """Makes input layers for columns; a model names no column itself. No two layers share weights.

    Given one list, bare categorical columns make the linear term, embeddings and indicators the vectors, numbers and buckets both.
    Given two, `linear_columns` make the linear term and `columns` the vectors, as in TensorFlow's DNNLinearCombined estimators.

    Args:
        columns: `tf.feature_column` columns.
        linear_columns: Those of the linear term; an empty list leaves it out.

    Attributes:
        dense: The columns that give vectors.
        linear: The columns of the linear term.
        parsing_spec: How tf.Examples with all of their features are parsed.
        resources: What holds the vocabularies of the layers made so far.
        files: The vocabulary files that columns read.
        weights: The key of the values that each key of weights belongs to.
    """

    def __init__(self, columns: Sequence[Column], linear_columns: Sequence[Column] | None = None) -> None:
        self.dense, self.linear = list(columns), list(linear_columns or [])
        if linear_columns is None:
            self.dense = [column for column in columns if kind(column) in _DENSE]
            self.linear = [c for c in columns if kind(c) not in _DENSE or kind(c) in ("NumericColumn", "BucketizedColumn")]
        for column in self.dense:
            check_dense(column)
        as_linear(self.linear)
        self._optional_linear = linear_columns is not None
        self.parsing_spec = _parsing_spec([*self.dense, *self.linear])
        self.resources: list[tf.Module] = []
        every = [inner for column in [*self.dense, *self.linear] for inner in nested(column)]
        self.files = sorted({inner.vocabulary_file for inner in every if kind(inner) == "VocabularyFileCategoricalColumn"})
        weighted = [inner for inner in every if kind(inner) == "WeightedCategoricalColumn"]
        self.weights = {each.weight_feature_key: next(iter(unwrapped(each).parse_example_spec)) for each in weighted}

    def sequences(self, embedding_dim: int, name: str = "sequences") -> ColumnSequences:
        """Returns a layer from features to `{name: [B, T, D]}` and lengths `{name: [B]}`."""
        return self._keep(ColumnSequences(self._columns(), embedding_dim, name=name))

    def fields_and_histories(self, embedding_dim: int, name: str = "fields") -> ColumnFieldsAndHistories:
        """Returns a layer from features to `{name: [B, 1, D]}`, and for the sequences of `targets` `{name: [B, T, D]}`."""
        return self._keep(ColumnFieldsAndHistories(self._columns(), embedding_dim, self.targets, name=name))

    def fields(
        self, embedding_dim: int, only: Collection[str] | None = None, name: str = "fields", *, values_apart: bool = False
    ) -> ColumnFields:
        """Returns a layer from features to one vector a column (of those named in `only`), `[B, F, D]`; numbers have one in any case."""
        del values_apart
        return self._keep(ColumnFields(self._columns(only), embedding_dim, name=name))

    def fields_and_first_order(self, embedding_dim: int, name: str = "fields", *, values_apart: bool = False) -> ColumnFieldsAndFirstOrder:
        """Returns a layer from features to both `[B, F, D]` and the linear term `[B]`."""
        return ColumnFieldsAndFirstOrder(self.fields(embedding_dim, values_apart=values_apart), self.first_order(), name=name)

    def flat(self, embedding_dim: int, only: Collection[str] | None = None, name: str = "flat") -> ColumnFlat:  # noqa: ARG002
        """Returns a layer from features to the vectors of all columns (of those named in `only`) side by side, `[B, W]`.

        The columns declare their widths; numbers are as they are.
        """
        return self._keep(ColumnFlat(self._columns(only), name=name))

    def values(self, name: str = "values") -> Callable[[Mapping[str, tf.Tensor]], list[tf.Tensor]]:  # noqa: ARG002
        """Returns what gives no numbers: they are among `fields`."""
        return no_values

    def numbers(self, name: str = "numbers") -> ColumnFlat:
        """Returns a layer from features to the numbers of `number_names`, side by side, `[B, N]`."""
        return self.flat(1, self.number_names, name)

    def first_order(self, use_bias: bool = False, name: str = "first_order") -> ColumnFirstOrder:
        """Returns a layer from features to the linear term `[B]`."""
        if not self.linear and not self._optional_linear:
            raise ColonnadeError(
                "The model has a linear term, and no column is for it. Pass linear_columns=[...], such as categorical columns without "
                "embedding_column around them, or linear_columns=[] to leave the term out."
            )
        return self._keep(ColumnFirstOrder(self.linear, use_bias, name=name))

    @property
    def field_names(self) -> tuple[str, ...]:
        """The column of each field of `fields`, in order."""
        return tuple(column.name for column in self.dense)

    vector_names = field_names

    @property
    def uncrossed_names(self) -> tuple[str, ...]:
        """All fields: crossed columns are among them only where they were given as vectors."""
        return self.field_names

    @property
    def number_names(self) -> tuple[str, ...]:
        """The columns of numbers."""
        return tuple(column.name for column in self.dense if kind(column) == "NumericColumn")

    @property
    def targets(self) -> dict[str, str]:
        """For each sequence that shares its table with a single value: that value's column."""
        tables: dict[str, list[Column]] = {}
        for column in self.dense:
            if kind(column) == "SharedEmbeddingColumn":
                tables.setdefault(table_of(column).name, []).append(column)
        singles = {table: next((c.name for c in members if not is_sequence(c)), None) for table, members in tables.items()}
        pairs = {c.name: singles[table] for table, members in tables.items() for c in members if is_sequence(c)}
        return {sequence: single for sequence, single in pairs.items() if single is not None}

    @property
    def fields_of_keys(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Nothing: no column says that it is the user's or the item's."""
        return (), ()

    @property
    def embedding_dim(self) -> int | None:
        """The width of the embedding columns, where all have the same."""
        widths = {column.variable_shape.num_elements() for column in self.dense if kind(column) in EMBEDDINGS}
        return widths.pop() if len(widths) == 1 else None

    def _columns(self, only: Collection[str] | None = None) -> list[Column]:
        if not self.dense:
            raise ColonnadeError(
                "The model takes vectors, and no column gives any. Pass columns such as embedding_column, indicator_column or "
                "numeric_column."
            )
        return [column for column in self.dense if only is None or column.name in only]

    def _keep(self, layer: Any) -> Any:  # noqa: ANN401 (one of the layers of this file)
        self.resources.append(layer.lookups)
        return layer


class _ColumnLayer(keras.layers.Layer):
    """What the layers over columns that give vectors share."""

    def __init__(self, columns: Sequence[Column], *, name: str | None = None) -> None:
        super().__init__(name=name, autocast=False)
        with keras.name_scope(self.name):
            self._input = ColumnInput(columns)
        self._tables = self._input.layers  # an attribute, so that Keras tracks them
        self.lookups = self._input.lookups.module
        self._sequences = {column.name for column in columns if is_sequence(column)}
        self.built = True

    def _pooled(self, name: str, vectors: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Returns the mean of a row's steps, `[B, D]` for `[B, T, D]`; zero where there is none."""
        if name not in self._sequences:
            return vectors[:, 0]
        mask = tf.sequence_mask(lengths, tf.shape(vectors)[1], vectors.dtype)[:, :, tf.newaxis]
        return tf.math.divide_no_nan(tf.reduce_sum(vectors * mask, 1), tf.cast(lengths, vectors.dtype)[:, tf.newaxis])


class ColumnFlat(_ColumnLayer):
    """All columns' vectors side by side, `[B, W]`, in the order given: what TensorFlow's DenseFeatures gives, and means of sequences.

    Args:
        columns: Columns that give vectors.
        name: Name of the layer.
    """

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> tf.Tensor:
        """Returns `[B, W]`."""
        vectors, lengths = self._input.embed(features, training)
        pooled = tf.concat([self._pooled(name, vectors[name], lengths[name]) for name in self._input.names], axis=1)
        return tf.cast(tf.ensure_shape(pooled, [None, sum(self._input.widths.values())]), self.compute_dtype)


class ColumnSequences(_ColumnLayer):
    """All columns as sequences of one width: numbers and buckets x as x @ V, with one learned V a column.

    Args:
        columns: Columns that give vectors; the widths of embeddings and indicators must be `embedding_dim`.
        embedding_dim: D.
        name: Name of the layer.
    """

    def __init__(self, columns: Sequence[Column], embedding_dim: int, *, name: str | None = None) -> None:
        super().__init__(columns, name=name)
        projected = {column.name for column in columns if kind(column) in NUMBERS}
        others = {name: width for name, width in self._input.widths.items() if name not in projected and width != embedding_dim}
        if others:
            received = ", ".join(f"{name} {width}" for name, width in others.items())
            raise ColonnadeError(
                f"The model takes vectors of one width, embedding_dim={embedding_dim}. Received columns with others: {received}. Give all "
                "embedding columns one `dimension`, or use a model that takes any widths, such as wide_deep. (The width of ffm's vectors "
                "depends on the number of fields: it takes a spec.)"
            )
        self.width = embedding_dim
        self._kernels = {}
        for number, name_ in enumerate(name for name in self._input.names if name in projected):
            self._kernels[name_] = self.add_weight(
                shape=(self._input.widths[name_], embedding_dim),
                initializer=keras.initializers.RandomNormal(stddev=0.01),
                dtype="float32",
                autocast=False,
                name=f"vectors_{number}",
            )

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> Vectors:
        """Returns `{name: [B, T, D]}` and `{name: [B]}`."""
        vectors, lengths = self._input.embed(features, training)
        for name, kernel in self._kernels.items():
            mask = tf.sequence_mask(lengths[name], tf.shape(vectors[name])[1], tf.float32)[:, :, tf.newaxis]
            # Not `tf.matmul`, which has a kernel an example in its gradient.
            vectors[name] = tf.einsum("btw,wd->btd", vectors[name], kernel.value) * mask
        return {name: tf.cast(each, self.compute_dtype) for name, each in vectors.items()}, lengths


class ColumnFieldsAndHistories(ColumnSequences):
    """Every column apart: of a sequence the mean of its steps, `{name: [B, 1, D]}`, but for the histories, `{name: [B, T, D]}`.

    Args:
        columns: As for ColumnSequences.
        embedding_dim: D.
        histories: Names of the columns that are not pooled.
        name: Name of the layer.
    """

    def __init__(self, columns: Sequence[Column], embedding_dim: int, histories: Collection[str], *, name: str | None = None) -> None:
        super().__init__(columns, embedding_dim, name=name)
        self._histories = frozenset(histories)

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> dict[str, tf.Tensor]:  # type: ignore[override]
        """Returns the vectors by column."""
        vectors, lengths = super().call(features, training)
        pooled = [name for name in self._input.names if name not in self._histories]
        vectors |= {name: self._pooled(name, vectors[name], lengths[name])[:, tf.newaxis] for name in pooled}
        return {name: vectors[name] for name in self._input.names}


class ColumnFields(ColumnSequences):
    """One vector a column, `[B, F, D]`; of a sequence, the mean of its steps.

    Args:
        columns: As for ColumnSequences.
        embedding_dim: D.
        name: Name of the layer.
    """

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> tf.Tensor:
        """Returns `[B, F, D]`."""
        vectors, lengths = super().call(features, training)
        return tf.stack([self._pooled(name, vectors[name], lengths[name]) for name in self._input.names], axis=1)

    @property
    def field_names(self) -> tuple[str, ...]:
        """The column of each field, in order."""
        return self._input.names


class ColumnFieldsAndFirstOrder(keras.layers.Layer):
    """Vectors and the linear term, each of its own columns.

    Args:
        fields: Gives the vectors.
        first_order: Gives the linear term.
        name: Name of the layer.
    """

    def __init__(self, fields: ColumnFields, first_order: ColumnFirstOrder, *, name: str | None = None) -> None:
        super().__init__(name=name, autocast=False)
        self.fields, self.first_order, self.width = fields, first_order, fields.width
        self.built = True

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns `[B, F, D]` and `[B]`."""
        return self.fields(features, training=training), self.first_order(features, training=training)

    @property
    def field_names(self) -> tuple[str, ...]:
        """The column of each field, in order."""
        return self.fields.field_names


def _parsing_spec(columns: Sequence[Column]) -> dict[str, Any]:
    if not columns:
        raise ColonnadeError("`columns` is empty. Pass tf.feature_column columns.")
    try:
        return tf.feature_column.make_parse_example_spec(columns)
    except ValueError as error:
        raise ColonnadeError(f"The columns read one feature in two ways: {error}") from error
