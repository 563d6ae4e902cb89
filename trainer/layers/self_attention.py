"""Multi-head self-attention over fields."""

from __future__ import annotations

import keras
import tensorflow as tf

from feature_specs import ColonnadeError


class FieldAttention(keras.layers.Layer):
    """Fields that look at each other: relu(concat_h softmax(Q_h K_h^T) V_h + R e), `[B, F, D]` to `[B, F, units]`.

    Where D is `units` the residual is e itself, else it is projected.

    Song et al., "AutoInt: Automatic Feature Interaction Learning via Self-Attentive Neural Networks", CIKM 2019,
    https://arxiv.org/abs/1810.11921, equations 5 to 8.

    Args:
        units: Width of the output, all heads together.
        num_heads: Heads; they divide `units`.
        scale: Whether scores are divided by the square root of a head's width (the paper does not).
        layer_norm: Whether the output is normalised before the activation.
        name: Name of the layer.
    """

    def __init__(self, units: int, num_heads: int, *, scale: bool = False, layer_norm: bool = False, name: str | None = None) -> None:
        super().__init__(name=name)
        if num_heads < 1 or units % num_heads:
            raise ColonnadeError(f"attention_units should be a multiple of num_heads. Received: {units} and {num_heads}.")
        self.units, self.num_heads, self.scale = units, num_heads, scale
        self.norm = keras.layers.LayerNormalization(epsilon=1e-5, name="norm") if layer_norm else None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the projections, side by side in one matrix."""
        parts = 3 if input_shape[-1] == self.units else 4
        # Each part begins as a Glorot matrix of its own would.
        limit = (6.0 / (int(input_shape[-1] or 0) + self.units)) ** 0.5
        initializer = keras.initializers.RandomUniform(-limit, limit)
        self.kernel = self.add_weight(shape=(input_shape[-1], parts * self.units), initializer=initializer, name="kernel")
        if self.norm is not None:
            self.norm.build((*input_shape[:-1], self.units))
        self.built = True

    def call(self, fields: tf.Tensor) -> tf.Tensor:
        """Returns `[B, F, units]`."""
        count, width = fields.shape[1], self.units // self.num_heads
        # One product of matrices: `tf.matmul` of three and two dimensions has a kernel an example in its gradient.
        projected = tf.matmul(tf.reshape(fields, [-1, fields.shape[2]]), self.kernel.value)
        parts = tf.transpose(tf.reshape(projected, [-1, count, self.kernel.shape[1] // width, width]), [0, 2, 1, 3])
        query, key, value, *added = tf.split(parts, self.kernel.shape[1] // self.units, axis=1)  # each [B, heads, F, width]
        scores = tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32)
        attended = tf.matmul(tf.cast(tf.nn.softmax(scores / width**0.5 if self.scale else scores), fields.dtype), value)
        attended = tf.transpose(attended + added[0] if added else attended, [0, 2, 1, 3])
        attended = tf.reshape(attended, [-1, count, self.units])
        attended = attended if added else attended + fields
        return tf.nn.relu(attended if self.norm is None else self.norm(attended))


class FieldAttentionStack(keras.layers.Layer):
    """Several layers of `FieldAttention`, one after the other; where the width changes, the residual is projected.

    Args:
        num_layers: How many.
        units: Width of each, all heads together.
        num_heads: Heads of each.
        scale: Whether scores are divided by the square root of a head's width.
        layer_norm: Whether outputs are normalised.
        name: Name of the layer.
    """

    def __init__(
        self, num_layers: int, units: int, num_heads: int, *, scale: bool = False, layer_norm: bool = False, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.layers = [
            FieldAttention(units, num_heads, scale=scale, layer_norm=layer_norm, name=f"attention_{i}") for i in range(num_layers)
        ]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the layers."""
        for layer in self.layers:
            layer.build(input_shape)
            input_shape = (*input_shape[:-1], layer.units)
        self.built = True

    def call(self, fields: tf.Tensor) -> tf.Tensor:
        """Returns `[B, F, units]` for `[B, F, D]`."""
        for layer in self.layers:
            fields = layer(fields)
        return fields
