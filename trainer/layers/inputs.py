"""What a model receives: the way to make its input layers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import keras
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs import CategoricalFeature, ColonnadeError, CrossedFeature, FeatureSpec, NumericFeature, SequenceFeature
from trainer.layers.fields import FieldEmbeddings, FieldsAndFirstOrder, FieldsAndHistories, FirstOrder, Flat, Values
from trainer.layers.matching import ItemIds, ItemVectors, UserVectors
from trainer.layers.plan import field_names, value_names
from trainer.layers.sequence_features import SequenceFeatures


@dataclass(frozen=True)
class Inputs:
    """Makes input layers for the features of a spec; a model names no feature itself. No two layers share weights.

    Attributes:
        spec: The features.
        table_rows: Rows of each table, padding and OOV included; needed for tables with a vocabulary.
        pretrained: Files with the vectors that tables begin with, by table, as the preprocessing job writes them.
        items_by_id: Of matching data, the side features of each row of the item feature's table, `[rows, ...]` by feature.
    """

    spec: FeatureSpec
    table_rows: Mapping[str, int] = field(default_factory=dict)
    pretrained: Mapping[str, str | Path] = field(default_factory=dict)
    items_by_id: Mapping[str, NDArray] = field(default_factory=dict)

    def items(
        self, embedding_dim: int, initializer: keras.initializers.Initializer | None = None, *, flat: bool = False, name: str = "items"
    ) -> ItemVectors:
        """Returns a layer from item-side features to one vector an item, `[C, D]`, and from histories to `[B, T, D]`.

        It is the sum of the fields' vectors, or all of them side by side (`flat`).
        """
        return ItemVectors(
            self.spec,
            self.items_by_id,
            flat=flat,
            table_rows=self.table_rows,
            embedding_dim=embedding_dim,
            initializer=initializer,
            pretrained=self.pretrained,
            name=name,
        )

    def users(
        self,
        embedding_dim: int,
        *,
        needs_users: bool = False,
        initializer: keras.initializers.Initializer | None = None,
        flat: bool = False,
        name: str = "users",
    ) -> UserVectors:
        """Returns a layer from user-side features to one vector a user, `[B, D]`; an unknown user is an error, where all are needed.

        It is the sum of the fields' vectors, or all of them side by side (`flat`).
        """
        return UserVectors(
            self.spec,
            needs_users=needs_users,
            flat=flat,
            table_rows=self.table_rows,
            embedding_dim=embedding_dim,
            initializer=initializer,
            pretrained=self.pretrained,
            name=name,
        )

    def users_and_items(
        self, embedding_dim: int, initializer: keras.initializers.Initializer | None = None
    ) -> tuple[UserVectors, ItemVectors]:
        """Returns `users`, whom training has to have seen, and `items`, both of width `embedding_dim`.

        Raises:
            ColonnadeError: The spec says another width.
        """
        users = self.users(embedding_dim, needs_users=True, initializer=initializer)
        items = self.items(embedding_dim, initializer)
        if {users.width, items.width} != {embedding_dim}:
            raise ColonnadeError(
                f"The vectors of users and items should be {embedding_dim} wide. Received: {users.width} and {items.width}, as the spec or "
                "pretrained vectors have it. Leave embedding_dim out of the spec, or give the model that width."
            )
        return users, items

    def item_ids(self) -> ItemIds:
        """Returns what reads the ids of items and of histories, without any vectors."""
        return ItemIds(self.spec, self.table_rows)

    def sequences(self, embedding_dim: int, name: str = "sequences") -> SequenceFeatures:
        """Returns a layer from features to `{name: [B, T, D]}` and lengths `{name: [B]}`."""
        return SequenceFeatures(self.spec, table_rows=self.table_rows, embedding_dim=embedding_dim, pretrained=self.pretrained, name=name)

    def fields_and_histories(self, embedding_dim: int, name: str = "fields") -> FieldsAndHistories:
        """Returns a layer from features to `{name: [B, 1, D]}`, and for the sequences of `targets` `{name: [B, T, D]}`."""
        return FieldsAndHistories(
            self.spec, table_rows=self.table_rows, embedding_dim=embedding_dim, pretrained=self.pretrained, kept=self.targets, name=name
        )

    def fields(
        self, embedding_dim: int, only: Collection[str] | None = None, name: str = "fields", *, values_apart: bool = False
    ) -> FieldEmbeddings:
        """Returns a layer from features to one vector a field (of those named in `only`), `[B, F, D]`; all widths must be equal.

        With `values_apart`, numbers as they are are not among them: `values` gives them.
        """
        if values_apart:
            only = [each for each in self.vector_names if only is None or each in only]
        return FieldEmbeddings(
            self.spec, table_rows=self.table_rows, embedding_dim=embedding_dim, pretrained=self.pretrained, only=only, name=name
        )

    def fields_and_first_order(self, embedding_dim: int, name: str = "fields", *, values_apart: bool = False) -> FieldsAndFirstOrder:
        """Returns a layer from features to both `[B, F, D]` and the linear term `[B]`, by one look-up.

        With `values_apart`, numbers as they are have their place in the linear term alone: `values` gives them.
        """
        return FieldsAndFirstOrder(
            self.spec,
            table_rows=self.table_rows,
            embedding_dim=embedding_dim,
            pretrained=self.pretrained,
            only=self.vector_names if values_apart else None,
            name=name,
        )

    def values(self, name: str = "values") -> Callable[[Mapping[str, tf.Tensor]], list[tf.Tensor]]:
        """Returns a layer from features to the numbers as they are, a list of `[B, N]` that is empty where the spec has none."""
        names = value_names(self.spec)
        return Values(self.spec, table_rows=self.table_rows, embedding_dim=1, only=names, name=name) if names else no_values

    def flat(self, embedding_dim: int, only: Collection[str] | None = None, name: str = "flat") -> Flat:
        """Returns a layer from features to all fields (of those named in `only`) side by side, `[B, W]`; widths may differ."""
        return Flat(self.spec, table_rows=self.table_rows, embedding_dim=embedding_dim, pretrained=self.pretrained, only=only, name=name)

    def numbers(self, name: str = "numbers") -> Flat:
        """Returns a layer from features to the fields of `number_names` as they are, side by side, `[B, N]`."""
        features = (f.model_copy(update={"representation": "value"} if isinstance(f, NumericFeature) else {}) for f in self.spec.features)
        return Flat(
            self.spec.model_copy(update={"features": tuple(features)}),
            table_rows=self.table_rows,
            embedding_dim=1,
            pretrained=self.pretrained,
            only=self.number_names,
            name=name,
        )

    def first_order(self, use_bias: bool = False, name: str = "first_order") -> FirstOrder:
        """Returns a layer from features to the linear term `[B]`."""
        return FirstOrder(self.spec, table_rows=self.table_rows, use_bias=use_bias, name=name)

    @property
    def field_names(self) -> tuple[str, ...]:
        """The name of each field of `fields`, in order."""
        return field_names(self.spec)

    @property
    def vector_names(self) -> tuple[str, ...]:
        """The name of each field of `fields` with `values_apart`, in order."""
        values = value_names(self.spec)
        return tuple(name for name in self.field_names if name not in values)

    @property
    def uncrossed_names(self) -> tuple[str, ...]:
        """The fields of all features but crossed ones; of all where there are no others."""
        names = tuple(name for f in self.spec.features if not isinstance(f, CrossedFeature) for name in f.fields)
        return names or self.field_names

    @property
    def number_names(self) -> tuple[str, ...]:
        """The fields of numeric features, and numeric sequences as they are."""
        numeric = (name for feature in self.spec.numeric_features for name in feature.fields)
        return tuple(dict.fromkeys((*numeric, *value_names(self.spec))))

    @property
    def targets(self) -> dict[str, str]:
        """For each sequence of tokens whose table a single-valued feature has too: that feature, the sequence's target."""
        embedded = [f for f in self.spec.table_features if f.representation == "embedding" and f.fields]
        singles = {f.table_name: f.name for f in reversed(embedded) if isinstance(f, CategoricalFeature)}
        sequences = [f for f in embedded if isinstance(f, SequenceFeature)]
        return {f.name: singles[f.table_name] for f in sequences if f.table_name in singles}

    @property
    def fields_of_keys(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The fields that read the raw column of the user, and those that read the item's, by the spec's keys."""
        singles = [f for f in self.spec.table_features if f.raw_inputs and not f.is_list]
        user, item = (tuple(f.name for f in singles if f.raw_column == key) for key in (self.spec.keys.user, self.spec.keys.item))
        return user, item


def no_values(features: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
    """Returns nothing: in place of `Values` where there are no numbers as they are, so that the model has no layer for them."""
    del features
    return []
