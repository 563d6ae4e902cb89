"""Input layers and what models share."""

from trainer.layers.column_inputs import ColumnInputs
from trainer.layers.fields import FieldEmbeddings, FieldsAndFirstOrder, FirstOrder, Flat
from trainer.layers.inputs import Inputs
from trainer.layers.interactions import bi_interaction
from trainer.layers.mlp import MLP
from trainer.layers.sequence_features import SequenceFeatures
from trainer.layers.tables import StackedTable

__all__ = [
    "MLP",
    "ColumnInputs",
    "FieldEmbeddings",
    "FieldsAndFirstOrder",
    "FirstOrder",
    "Flat",
    "Inputs",
    "SequenceFeatures",
    "StackedTable",
    "bi_interaction",
]
