"""What the job computes from the training rows before it traces the transform graph, where all of it is constant.

Stock TF-Transform finds its analyzers by tracing, builds several Beam stages a column, traces again and saves twice: 39 columns take 10 s
and a pass over the rows through TensorFlow. Here tokens are counted and numbers summarised while rows are read (`counting`), so that
`preprocessing_fn` is traced once, with results in place of analyzers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import tensorflow as tf

from preprocessing.sketches import Numbers


@dataclass(frozen=True)
class Analysis:
    """Results of the analysis.

    Attributes:
        vocabularies: Path of the vocabulary file of each table that has one, given ones too: one token a line, in the order of ids.
        sizes: Number of its tokens; a file without any holds the line `EMPTY_VOCABULARY`.
        numbers: Of each numeric, bucketized or numeric sequence feature, a sketch for each of its numbers (one, but for vectors): count,
            `low`, `high`, `mean_and_deviation`, and `quantiles` where the spec asks for them. NaN and infinities are left out; sequences
            are cut as the model sees them.
        warnings: What a person should know of it, a line each.
    """

    vocabularies: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    numbers: Mapping[str, Sequence[Numbers]] = field(default_factory=dict)
    warnings: Sequence[str] = ()

    def vocabulary(self, table: str) -> tf.Tensor:
        """Returns the name of a vocabulary file as a tensor, and makes the file an asset of the graph that is being traced."""
        with tf.init_scope():
            # An eager tensor: SavedModel replaces it by the asset.
            path = tf.constant(self.vocabularies[table])
        tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.ASSET_FILEPATHS, path)
        return path
