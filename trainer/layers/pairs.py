"""Products of all pairs of fields."""

from __future__ import annotations

import itertools
from collections.abc import Collection

import keras
import tensorflow as tf

from feature_specs import ColonnadeError
from trainer.layers.checks import check_rates


def check_pairs(model: str, names: Collection[str]) -> None:
    """Raises a ColonnadeError where there are no two vectors to be paired."""
    if len(names) < 2:
        raise ColonnadeError(
            f"{model} pairs fields: it needs two or more. Received: {', '.join(names) or 'none'}. Declare another feature, or use a model "
            "without pairs, such as mlp."
        )


def pair_places(fields: int) -> tuple[list[int], list[int]]:
    """Returns the places i and j of all pairs i < j of `fields` fields."""
    pairs = list(itertools.combinations(range(fields), 2))
    return [i for i, _ in pairs], [j for _, j in pairs]


def pair_products(fields: tf.Tensor) -> tf.Tensor:
    """Returns v_i * v_j of all pairs i < j, `[B, F, D]` to `[B, F (F - 1) / 2, D]`."""
    left, right = pair_places(fields.shape[1])
    return tf.gather(fields, left, axis=1) * tf.gather(fields, right, axis=1)


def inner_products(fields: tf.Tensor) -> tf.Tensor:
    """Returns v_i . v_j of all pairs i < j, `[B, F, D]` to `[B, F (F - 1) / 2]`, by one product of matrices."""
    count = fields.shape[1]
    left, right = pair_places(count)
    gram = tf.reshape(tf.matmul(fields, fields, transpose_b=True), [-1, count * count])
    return tf.gather(gram, [i * count + j for i, j in zip(left, right, strict=True)], axis=1)


class FactorizedInnerProducts(keras.layers.Layer):
    """sum_ij theta^n_i theta^n_j v_i . v_j = |sum_i theta^n_i v_i|^2 for each of N units: `[B, F, D]` to `[B, N]`.

    Qu et al., "Product-based Neural Networks for User Response Prediction", ICDM 2016, https://arxiv.org/abs/1611.00144, equation 9: what
    inner products with weights of rank one add to a unit. Pairs of a field with itself count too.

    Args:
        units: N.
        name: Name of the layer.
    """

    def __init__(self, units: int, name: str | None = None) -> None:
        super().__init__(name=name)
        if units < 1:
            raise ColonnadeError("Factorized products are added to the first hidden layer. Give hidden_units one width or more.")
        self.units = units

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes theta, `[F, N]`."""
        self.theta = self.add_weight(shape=(input_shape[1], self.units), initializer="glorot_normal", name="theta")
        self.built = True

    def call(self, fields: tf.Tensor) -> tf.Tensor:
        """Returns `[B, N]`."""
        return tf.reduce_sum(tf.square(tf.einsum("bfd,fn->bnd", fields, self.theta.value)), axis=2)


class AttentionalPooling(keras.layers.Layer):
    """Pools the products of pairs: a_ij = softmax(h . ReLU(W p_ij + b)), sum_ij a_ij p_ij.

    Xiao et al., "Attentional Factorization Machines", IJCAI 2017, https://arxiv.org/abs/1708.04617, equations 4 to 6.

    Args:
        attention_units: Width of the attention network.
        dropout: Rate on the shares.
        name: Name of the layer.
    """

    def __init__(self, attention_units: int, dropout: float = 0.0, name: str | None = None) -> None:
        super().__init__(name=name)
        check_rates(dropout=dropout)
        self.hidden = keras.layers.Dense(attention_units, activation="relu", name="hidden")
        self.score = keras.layers.Dense(1, use_bias=False, name="score")
        self.dropout = keras.layers.Dropout(dropout, name="dropout")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the attention network."""
        self.hidden.build(input_shape)
        self.score.build((*input_shape[:-1], self.hidden.units))
        self.built = True

    def call(self, pairs: tf.Tensor) -> tf.Tensor:
        """Returns `[B, D]` for `[B, P, D]`."""
        scores = tf.cast(self.score(self.hidden(pairs)), tf.float32)
        shares = tf.cast(tf.nn.softmax(scores, axis=1), pairs.dtype)
        return tf.reduce_sum(self.dropout(shares) * pairs, axis=1)


class OuterProducts(keras.layers.Layer):
    """p_ij = v_i^T K_ij v_j of all pairs i < j: `[B, F, D]` to `[B, F (F - 1) / 2]`.

    Qu et al., "Product-based Neural Networks for User Response Prediction over Multi-field Categorical Data", TOIS 2018,
    https://arxiv.org/abs/1807.00311, section 4.3: the kernel product with a matrix ("matrix") or its diagonal ("vector") a pair.

    Args:
        kernel: "matrix" or "vector".
        name: Name of the layer.
    """

    def __init__(self, kernel: str, name: str | None = None) -> None:
        super().__init__(name=name)
        self.kernel_type = kernel

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes one kernel a pair."""
        fields, dim = int(input_shape[1] or 0), input_shape[2]
        pairs = fields * (fields - 1) // 2
        shape = (pairs, dim, dim) if self.kernel_type == "matrix" else (pairs, dim)
        self.kernel = self.add_weight(shape=shape, initializer="glorot_normal", name="kernel")
        self.built = True

    def call(self, fields: tf.Tensor) -> tf.Tensor:
        """Returns `[B, P]` for `[B, F, D]`."""
        left, right = (tf.gather(fields, places, axis=1) for places in pair_places(fields.shape[1]))
        if self.kernel_type == "vector":
            return tf.einsum("bpd,pd,bpd->bp", left, self.kernel.value, right)
        return tf.reduce_sum(tf.einsum("bpd,pde->bpe", left, self.kernel.value) * right, axis=2)
