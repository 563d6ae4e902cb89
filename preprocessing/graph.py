"""The transform graph as everything downstream uses it: raw tensors in, transformed tensors out, plain TensorFlow.

This is the only place that knows how `transform_fn/` is loaded and called. It imports neither TF-Transform nor Beam.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf


class TransformGraph(tf.Module):
    """A loaded `transform_fn/`.

    Keep it as an attribute of a module to export it: it brings its vocabulary files along as assets. The folder must still
    exist at that moment, because assets are copied from there.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(name="transform_graph")
        self._loaded = tf.saved_model.load(str(path))

    def __call__(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Transforms a batch of raw examples.

        Args:
            raw: By feature name: dense [B], or for lists a RaggedTensor [B, None] with int64 row splits; of the feature's `dtype`.

        Returns:
            By feature name: ids int64 [B], numbers float32 [B], or for lists a RaggedTensor of ids int64 [B, None].
        """
        return dict(self._loaded.transform_fn(dict(raw)))


def load_transform(path: str | Path) -> TransformGraph:
    """Loads the SavedModel in `path`, such as DATA_DIR/transform_fn."""
    return TransformGraph(path)
