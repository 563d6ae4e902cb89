"""Neural Matrix Factorization (NeuMF).

He et al., "Neural Collaborative Filtering", WWW 2017, https://arxiv.org/abs/1708.05031, section 3.4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs import ColonnadeError
from trainer.layers import Inputs, OutputWeights, PairMLP, check_sizes
from trainer.models.base import MatchingModel, inner_product
from trainer.models.registry import register


@register("neumf")
class NeuMF(MatchingModel):
    """GMF and an MLP side by side under one output layer, each with vectors of its own (equation 12).

    The vectors of both lie in one table, so that a user and an item are looked up once each.

    Args:
        inputs: The shared input layers of the data set.
        gmf_dim, mlp_dim: Widths of the vectors of GMF and of the MLP.
        hidden_units: Widths of the MLP's hidden layers.
        dropout: Rate after each of them.
    """

    loss, num_negatives = "bce", 4

    def __init__(
        self, inputs: Inputs, *, gmf_dim: int = 8, mlp_dim: int = 32, hidden_units: tuple[int, ...] = (32, 16, 8), dropout: float = 0.0
    ) -> None:
        super().__init__()
        check_sizes(gmf_dim=gmf_dim, mlp_dim=mlp_dim)
        self.widths = [gmf_dim, mlp_dim]
        self.users, self.items = inputs.users_and_items(gmf_dim + mlp_dim, keras.initializers.RandomNormal(stddev=0.01))
        self.tower = PairMLP(mlp_dim, hidden_units, dropout=dropout, name="tower")
        self.projection = OutputWeights(gmf_dim + hidden_units[-1], name="projection")

    def query(self, features: Mapping[str, tf.Tensor], all_positions: bool = False) -> tf.Tensor:
        """Returns [h * u, W_u v + b], `[B, gmf_dim + H]`."""
        del all_positions  # a user is the same at every moment
        gmf, mlp = tf.split(self.users(features), self.widths, axis=1)
        return tf.concat([gmf * tf.cast(self.projection.kernel[: self.widths[0], 0], gmf.dtype), self.tower.user(mlp)], axis=1)

    def candidates(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns [i, W_i j], `[C, gmf_dim + H]`."""
        gmf, mlp = tf.split(self.items(features), self.widths, axis=1)
        return tf.concat([gmf, self.tower.item(mlp)], axis=1)

    def score(self, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Returns GMF's weighted product, the MLP's weighted output and the bias, `[B, C]`."""
        (ours, users), (theirs, items) = (tf.split(side, [self.widths[0], self.tower.width], axis=-1) for side in (query, candidates))
        deep = self.tower(users, items, self.projection.kernel[self.widths[0] :, 0])
        return tf.cast(inner_product(ours, theirs), tf.float32) + deep + self.projection.bias

    def take_weights(self, runs: Sequence[Mapping[str, NDArray]]) -> list[str]:
        """Begins with a run of GMF and one of the MLP, half of the output's weights from each (equation 13), or with one of NeuMF."""
        have = ["tower/user/kernel" in run for run in runs]
        if have == [True]:
            return super().take_weights(runs)
        if sorted(have) != [False, True] or not all("projection/bias" in run for run in runs):
            raise ColonnadeError("NeuMF begins with a run of gmf and one of mlp_ncf, in any order, or with one of neumf. Name such runs.")
        gmf, mlp = runs[have.index(False)], runs[have.index(True)]
        first, second = ({re.sub(r"_\d+/", "/", name): v for name, v in run.items()} for run in (gmf, mlp))  # tables are called by width
        found = {name: value for name, value in mlp.items() if name.startswith("tower/")}
        found["projection/bias"] = 0.5 * (gmf["projection/bias"] + mlp["projection/bias"])
        for path in (variable.path for variable in self.trainable_variables):
            name = re.sub(r"_\d+/", "/", path)
            if name in first and name in second and first[name].ndim == 2:
                axis, weight = (0, 0.5) if name == "projection/kernel" else (1, 1.0)
                found[path] = weight * np.concatenate([first[name], second[name]], axis)
        return super().take_weights([found])
