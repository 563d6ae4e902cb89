"""What a model receives: the way to make its input layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from feature_specs import FeatureSpec
from trainer.layers.fields import FieldEmbeddings, FieldsAndFirstOrder, FirstOrder, Flat
from trainer.layers.plan import field_names
from trainer.layers.sequence_features import SequenceFeatures


@dataclass(frozen=True)
class Inputs:
    """Makes input layers for the features of a spec; a model names no feature itself. No two layers share weights.

    Attributes:
        spec: The features.
        table_rows: Rows of each table, padding and OOV included; needed for tables with a vocabulary.
        pretrained: Files with the vectors that tables begin with, by table, as the preprocessing job writes them.
    """

    spec: FeatureSpec
    table_rows: Mapping[str, int] = field(default_factory=dict)
    pretrained: Mapping[str, str | Path] = field(default_factory=dict)

    def sequences(self, embedding_dim: int, name: str = "sequences") -> SequenceFeatures:
        """Returns a layer from features to `{name: [B, T, D]}` and lengths `{name: [B]}`."""
        return SequenceFeatures(
            self.spec, table_rows=self.table_rows, embedding_dim=embedding_dim, pretrained=self.pretrained, name=name
        )

    def fields(self, embedding_dim: int, name: str = "fields") -> FieldEmbeddings:
        """Returns a layer from features to one vector a field, `[B, F, D]`; all widths must be equal."""
        return FieldEmbeddings(self.spec, table_rows=self.table_rows, embedding_dim=embedding_dim, pretrained=self.pretrained, name=name)

    def fields_and_first_order(self, embedding_dim: int, name: str = "fields") -> FieldsAndFirstOrder:
        """Returns a layer from features to both `[B, F, D]` and the linear term `[B]`, by one look-up."""
        return FieldsAndFirstOrder(
            self.spec, table_rows=self.table_rows, embedding_dim=embedding_dim, pretrained=self.pretrained, name=name
        )

    def flat(self, embedding_dim: int, name: str = "flat") -> Flat:
        """Returns a layer from features to all fields side by side, `[B, W]`; widths may differ."""
        return Flat(self.spec, table_rows=self.table_rows, embedding_dim=embedding_dim, pretrained=self.pretrained, name=name)

    def first_order(self, use_bias: bool = False, name: str = "first_order") -> FirstOrder:
        """Returns a layer from features to the linear term `[B]`."""
        return FirstOrder(self.spec, table_rows=self.table_rows, use_bias=use_bias, name=name)

    @property
    def field_names(self) -> tuple[str, ...]:
        """The name of each field of `fields`, in order."""
        return field_names(self.spec)
