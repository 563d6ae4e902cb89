"""Input layers and what models share."""

from trainer.layers.column_inputs import ColumnInputs
from trainer.layers.distances import clipped, negative_squared_distance
from trainer.layers.fields import FieldEmbeddings, FieldsAndFirstOrder, FirstOrder, Flat
from trainer.layers.inputs import Inputs
from trainer.layers.interactions import bi_interaction, side_by_side
from trainer.layers.mlp import MLP
from trainer.layers.projections import Bias, PartsProjection
from trainer.layers.sequence_features import SequenceFeatures
from trainer.layers.tables import StackedTable

__all__ = [
    "MLP",
    "Bias",
    "ColumnInputs",
    "FieldEmbeddings",
    "FieldsAndFirstOrder",
    "FirstOrder",
    "Flat",
    "Inputs",
    "PartsProjection",
    "SequenceFeatures",
    "StackedTable",
    "bi_interaction",
    "clipped",
    "negative_squared_distance",
    "side_by_side",
]
