"""Multi-head self-attention over fields."""

from __future__ import annotations

import keras
import tensorflow as tf

from feature_specs import ColonnadeError
from trainer.layers.checks import check_sizes


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
        if min(units, num_heads) < 1 or units % num_heads:
            raise ColonnadeError(f"attention_units should be at least 1, and a multiple of num_heads. Received: {units} and {num_heads}.")
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
        narrow = fields.shape[2] <= self.units // self.num_heads
        attended = self._looks_at_inputs(fields) if narrow else self._looks_at_projections(fields)
        return tf.nn.relu(attended if self.norm is None else self.norm(attended))

    def _looks_at_projections(self, fields: tf.Tensor) -> tf.Tensor:
        """Returns what the heads have found, and the residual, as the paper writes it: `[B, F, units]`."""
        count, heads = fields.shape[1], self.num_heads
        # Products of matrices: `tf.matmul` of three and two dimensions has a kernel an example in its gradient.
        flat = tf.reshape(fields, [-1, fields.shape[2]])
        query, key, value, *added = tf.split(self.kernel.value, self.kernel.shape[1] // self.units, axis=1)

        def by_head(kernel: tf.Tensor) -> tf.Tensor:
            projected = tf.reshape(tf.matmul(flat, kernel), [-1, count, heads, self.units // heads])
            return tf.transpose(projected, [0, 2, 1, 3])  # [B, heads, F, width]

        shares = self._shares(tf.matmul(by_head(query), by_head(key), transpose_b=True))
        attended = tf.reshape(tf.transpose(tf.matmul(shares, by_head(value)), [0, 2, 1, 3]), [-1, self.units])
        residual = tf.matmul(flat, added[0]) if added else flat
        return tf.reshape(attended + residual, [-1, count, self.units])

    def _looks_at_inputs(self, fields: tf.Tensor) -> tf.Tensor:
        """Returns the same where vectors are no wider than a head, in fewer operations and with nothing to transpose.

        Q K^T is X (W_q W_k^T) X^T, whose matrix in the middle is one for all examples, and A V is (A X) W_v.
        """
        (_, count, dim), heads = fields.shape, self.num_heads
        flat = tf.reshape(fields, [-1, dim])
        query, key, value, *added = tf.unstack(tf.reshape(self.kernel.value, [dim, -1, heads, self.units // heads]), axis=1)
        forms = tf.reshape(tf.einsum("dhw,ehw->dhe", query, key), [dim, heads * dim])
        scores = tf.matmul(tf.reshape(tf.matmul(flat, forms), [-1, count * heads, dim]), fields, transpose_b=True)
        seen = tf.reshape(tf.matmul(self._shares(scores), fields), [-1, heads * dim])
        # A head's values are of what it has seen alone: W_v of each in a block of its own.
        blocks = tf.reshape(tf.einsum("dhw,hg->hdgw", value, tf.eye(heads, dtype=fields.dtype)), [heads * dim, self.units])
        residual = tf.matmul(flat, tf.reshape(added[0], [dim, self.units])) if added else flat
        return tf.reshape(tf.matmul(seen, blocks) + residual, [-1, count, self.units])

    def _shares(self, scores: tf.Tensor) -> tf.Tensor:
        """Returns the softmax of scores over their last axis, made in float32."""
        scores32 = tf.cast(scores, tf.float32)
        return tf.cast(tf.nn.softmax(scores32 / (self.units // self.num_heads) ** 0.5 if self.scale else scores32), scores.dtype)


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
        check_sizes(num_layers=num_layers)
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
