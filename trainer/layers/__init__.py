"""Input layers and what models share."""

from trainer.layers.causal_attention import CausalBlock
from trainer.layers.checks import check_positive, check_rates, check_sizes, check_widths
from trainer.layers.column_inputs import ColumnInputs
from trainer.layers.convolutions import WindowConvolutions
from trainer.layers.distances import clipped, negative_squared_distance
from trainer.layers.dropout import Dropout
from trainer.layers.fields import FieldEmbeddings, FieldsAndFirstOrder, FirstOrder, Flat
from trainer.layers.initializers import ZeroLastColumn
from trainer.layers.inputs import Inputs
from trainer.layers.interactions import bi_interaction, pair_sum, side_by_side
from trainer.layers.item_regression import item_regression
from trainer.layers.matching import recent
from trainer.layers.mlp import MLP
from trainer.layers.packing import Packing
from trainer.layers.pair_mlp import PairMLP
from trainer.layers.projections import Bias, OutputWeights, PartsProjection, output_layer
from trainer.layers.sequence_features import SequenceFeatures
from trainer.layers.tables import StackedTable
from trainer.layers.tower import Tower
from trainer.layers.window_attention import WindowAttention
from trainer.layers.windows import after_last, windows

__all__ = [
    "MLP",
    "Bias",
    "CausalBlock",
    "ColumnInputs",
    "Dropout",
    "FieldEmbeddings",
    "FieldsAndFirstOrder",
    "FirstOrder",
    "Flat",
    "Inputs",
    "OutputWeights",
    "Packing",
    "PairMLP",
    "PartsProjection",
    "SequenceFeatures",
    "StackedTable",
    "Tower",
    "WindowAttention",
    "WindowConvolutions",
    "ZeroLastColumn",
    "after_last",
    "bi_interaction",
    "check_positive",
    "check_rates",
    "check_sizes",
    "check_widths",
    "clipped",
    "item_regression",
    "negative_squared_distance",
    "output_layer",
    "pair_sum",
    "recent",
    "side_by_side",
    "windows",
]
