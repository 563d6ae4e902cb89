"""Self-attention in which every step of a sequence sees itself and what came before."""

from __future__ import annotations

import keras
import tensorflow as tf

from feature_specs import ColonnadeError
from trainer.layers.dropout import Dropout

_CHUNKS = 4
_HIDDEN = -1e9


def causal_attention(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, dropout: keras.layers.Layer) -> tf.Tensor:
    """Returns softmax(Q K^T) V of steps that see no later ones, `[N, T, D]` for three such; `dropout` is on the shares.

    Steps go in a few chunks, each against the keys up to its end: of the `T` x `T` shares, which cost most, three in eight are never
    computed.
    """
    length = tf.shape(query)[1]
    size = -(-length // _CHUNKS)
    sizes = [tf.clip_by_value(length - number * size, 0, size) for number in range(_CHUNKS)]
    # Not slices: the gradient of a split is one concatenation, that of slices a padded copy each.
    queries, keys, values = (tf.split(each, sizes, axis=1, num=_CHUNKS) for each in (query, key, value))
    attended = []
    for number, each in enumerate(queries):
        until = number + 1
        seen = tf.concat(keys[:until], axis=1) if number else keys[0]
        known = tf.concat(values[:until], axis=1) if number else values[0]
        step = number * size + tf.range(sizes[number])
        mask = tf.where(tf.range(tf.shape(seen)[1]) <= step[:, tf.newaxis], 0.0, _HIDDEN)
        shares = tf.nn.softmax(tf.cast(tf.matmul(each, seen, transpose_b=True), tf.float32) + mask)
        attended.append(tf.matmul(dropout(tf.cast(shares, value.dtype)), known))
    return tf.concat(attended, axis=1)


class CausalBlock(keras.layers.Layer):
    """One block of SASRec: attention to the steps so far, then a small network at each step, `[B, T, D]` to `[B, T, D]`.

    As in the authors' program, layer normalisation comes before the query and not before key and value, and the residuals start from
    what is normalised: with q = norm(x),

        a = q + softmax((q W_Q) (x W_K)^T / sqrt(D / heads)) (x W_V),    h = norm(a),    y = h + relu(h W_1 + b_1) W_2 + b_2,

    with biases on Q, K and V. Steps of padding are expected on the right, where no others see them.

    Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, https://arxiv.org/abs/1808.09781, sections III-B and III-C.

    Args:
        width: D.
        num_heads: Heads; they divide D.
        dropout: Rate, of the shares of attention and after both layers of the network.
        name: Name of the layer.
    """

    def __init__(self, width: int, num_heads: int = 1, dropout: float = 0.0, name: str | None = None) -> None:
        super().__init__(name=name)
        if num_heads < 1 or width % num_heads:
            raise ColonnadeError(f"The width of the items' vectors should be a multiple of num_heads. Received: {width} and {num_heads}.")
        self.width, self.num_heads = width, num_heads
        self.query_norm = keras.layers.LayerNormalization(epsilon=1e-8, name="query_norm")
        self.hidden_norm = keras.layers.LayerNormalization(epsilon=1e-8, name="hidden_norm")
        self.query = keras.layers.Dense(width, name="query")
        limit = (3.0 / width) ** 0.5  # each half begins as a Glorot matrix of its own would
        self.key_value = keras.layers.Dense(2 * width, kernel_initializer=keras.initializers.RandomUniform(-limit, limit), name="key_value")
        self.hidden = keras.layers.Dense(width, activation="relu", name="hidden")
        self.back = keras.layers.Dense(width, name="back")
        self.share_dropout = Dropout(dropout, name="share_dropout")
        self.hidden_dropout = Dropout(dropout, name="hidden_dropout")
        self.output_dropout = Dropout(dropout, name="output_dropout")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the norms and projections; those of key and value are side by side in one matrix."""
        for layer in (self.query_norm, self.query, self.key_value, self.hidden_norm, self.hidden, self.back):
            layer.build((None, input_shape[-1]))
        self.built = True

    def call(self, steps: tf.Tensor, last: tf.Tensor | None = None) -> tf.Tensor:
        """Returns `[B, T, D]`; with `last`, which step of each row is wanted, `[B]`, that step alone: `[B, 1, D]`."""
        batch, length = tf.shape(steps)[0], tf.shape(steps)[1]
        flat = tf.reshape(steps, [-1, self.width])  # products of two matrices: those of three and two dimensions have slow gradients
        normed = self.query_norm(flat if last is None else tf.gather(steps, last, batch_dims=1))
        key, value = (self._heads(each, batch, length) for each in tf.split(self.key_value(flat), 2, axis=1))
        asking = length if last is None else 1
        query = self._heads(self.query(normed) * (self.width // self.num_heads) ** -0.5, batch, asking)
        if last is None:
            attended = causal_attention(query, key, value, self.share_dropout)
        else:
            attended = self._at(query, key, value, tf.repeat(last, self.num_heads))
        hidden = self.hidden_norm(normed + self._joined(attended, batch, asking))
        output = hidden + self.output_dropout(self.back(self.hidden_dropout(self.hidden(hidden))))
        return tf.reshape(output, [batch, asking, self.width])

    def _at(self, query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
        """Returns what one step each attends to, `[B * heads, 1, D / heads]`."""
        mask = tf.where(tf.range(tf.shape(key)[1]) <= last[:, tf.newaxis], 0.0, _HIDDEN)[:, tf.newaxis]
        shares = tf.nn.softmax(tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32) + mask)
        return tf.matmul(self.share_dropout(tf.cast(shares, value.dtype)), value)

    def _heads(self, flat: tf.Tensor, batch: tf.Tensor, length: tf.Tensor | int) -> tf.Tensor:
        """Returns `[B * heads, T, D / heads]` for `[B * T, D]`."""
        each = self.width // self.num_heads
        split = tf.reshape(flat, [batch, length, self.num_heads, each])
        # One head lies as it should.
        split = tf.transpose(split, [0, 2, 1, 3]) if self.num_heads > 1 else split
        return tf.reshape(split, [batch * self.num_heads, length, each])

    def _joined(self, attended: tf.Tensor, batch: tf.Tensor, length: tf.Tensor | int) -> tf.Tensor:
        """Returns `[B * T, D]` for `[B * heads, T, D / heads]`."""
        if self.num_heads > 1:
            attended = tf.reshape(attended, [batch, self.num_heads, length, self.width // self.num_heads])
            attended = tf.transpose(attended, [0, 2, 1, 3])
        return tf.reshape(attended, [-1, self.width])
