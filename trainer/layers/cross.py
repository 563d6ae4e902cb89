"""Cross layers: explicit feature interactions of bounded degree."""

from __future__ import annotations

import keras
import tensorflow as tf

from feature_specs import ColonnadeError
from trainer.layers.checks import check_sizes


class CrossNetwork(keras.layers.Layer):
    """x_{l+1} = x_0 (x_l . w_l) + b_l + x_l; without layers it is the identity.

    Wang et al., "Deep & Cross Network for Ad Click Predictions", ADKDD 2017, https://arxiv.org/abs/1708.05123, equation 3.

    Args:
        num_layers: Depth, L; the output holds crosses of up to L + 1 features.
        name: Name of the layer.
    """

    def __init__(self, num_layers: int, name: str | None = None) -> None:
        super().__init__(name=name)
        check_sizes(0, num_layers=num_layers)
        self.num_layers = num_layers

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes one vector and one bias a layer."""
        width = input_shape[-1]
        self.kernels = [self.add_weight(shape=(width, 1), initializer="glorot_normal", name=f"kernel_{i}") for i in range(self.num_layers)]
        self.biases = [self.add_weight(shape=(width,), initializer="zeros", name=f"bias_{i}") for i in range(self.num_layers)]
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns `[B, W]` for `[B, W]`."""
        crossed = inputs
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            crossed = inputs * tf.matmul(crossed, kernel.value) + bias.value + crossed
        return crossed


class CrossNetworkV2(keras.layers.Layer):
    """x_{l+1} = x_0 * (W_l x_l + b_l) + x_l, with full or low-rank W, or a gated mixture of low-rank experts.

    Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to Rank Systems", WWW 2021,
    https://arxiv.org/abs/2008.13535, equations 1 (full), 2 (W = U V^T) and 3 to 4 (mixture; tanh in the subspace, softmax gates).

    Args:
        num_layers: Depth.
        low_rank: Rank r of W; 0 for full matrices.
        num_experts: Experts of a mixture; more than 1 needs a rank.
        name: Name of the layer.
    """

    def __init__(self, num_layers: int, *, low_rank: int = 0, num_experts: int = 1, name: str | None = None) -> None:
        super().__init__(name=name)
        if min(num_layers, low_rank) < 0 or num_experts < 1:
            raise ColonnadeError(
                "num_layers and low_rank should be at least 0, num_experts at least 1. Received: "
                f"{num_layers}, {low_rank} and {num_experts}."
            )
        if num_experts > 1 and not low_rank:
            raise ColonnadeError(f"A mixture of {num_experts} experts is one of low-rank crosses. Give low_rank a value above 0.")
        self.num_layers, self.low_rank, self.num_experts = num_layers, low_rank, num_experts

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the matrices of every layer."""
        width, rank, experts = input_shape[-1], self.low_rank, self.num_experts
        shapes: dict[str, tuple[int | None, ...]] = {"kernel": (width, width)}
        if rank:
            shapes = {"down": (experts, width, rank), "up": (experts, rank, width)}
        if experts > 1:
            shapes |= {"inner": (experts, rank, rank), "gate": (width, experts)}
        self.kernels = [
            {name: self.add_weight(shape=shape, initializer="glorot_normal", name=f"{name}_{i}") for name, shape in shapes.items()}
            for i in range(self.num_layers)
        ]
        self.biases = [self.add_weight(shape=(width,), initializer="zeros", name=f"bias_{i}") for i in range(self.num_layers)]
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns `[B, W]` for `[B, W]`."""
        crossed = inputs
        for kernels, bias in zip(self.kernels, self.biases, strict=True):
            values = {name: kernel.value for name, kernel in kernels.items()}
            crossed += (
                inputs * self._projected(crossed, values, bias.value)
                if self.num_experts == 1
                else self._mixed(inputs, crossed, values, bias.value)
            )
        return crossed

    def _projected(self, crossed: tf.Tensor, values: dict[str, tf.Tensor], bias: tf.Tensor) -> tf.Tensor:
        if not self.low_rank:
            return tf.matmul(crossed, values["kernel"]) + bias
        return tf.matmul(tf.matmul(crossed, values["down"][0]), values["up"][0]) + bias

    def _mixed(self, inputs: tf.Tensor, crossed: tf.Tensor, values: dict[str, tf.Tensor], bias: tf.Tensor) -> tf.Tensor:
        gates = tf.nn.softmax(tf.matmul(crossed, values["gate"]))
        hidden = tf.tanh(tf.einsum("bw,ewr->ber", crossed, values["down"]))
        hidden = tf.tanh(tf.einsum("ber,ers->bes", hidden, values["inner"]))
        # The gates add up to 1, so that the bias is added once.
        experts = tf.einsum("be,ber,erw->bw", gates, hidden, values["up"])
        return inputs * (experts + bias)
