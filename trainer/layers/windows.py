"""Histories cut into windows, and the states after their last item."""

from __future__ import annotations

import tensorflow as tf


def windows(ids: tf.Tensor, lengths: tf.Tensor, size: int, all_positions: bool = False) -> tf.Tensor:
    """Returns the last `size` ids of each history, with padding on the left: `[B, 1, size]`.

    Args:
        ids: `[B, T]`, padded with 0 on the right.
        lengths: How many there are, `[B]`.
        size: Of a window.
        all_positions: Whether there is to be a window that ends at each position, `[B, T, size]`.
    """
    ends = tf.range(tf.shape(ids)[1])[tf.newaxis, :, tf.newaxis] if all_positions else lengths[:, tf.newaxis, tf.newaxis] - 1
    places = ends + tf.range(1 - size, 1)
    places = tf.broadcast_to(places, tf.concat([tf.shape(ids)[:1], tf.shape(places)[1:]], 0))
    padded = tf.pad(ids, [[0, 0], [1, 0]])  # place -1, before the first
    return tf.gather(padded, tf.maximum(places, -1) + 1, batch_dims=1)


def after_last(states: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Returns the states `[B, T, Q]` after the last item of each history, `[B, Q]`; zero for an empty history."""
    return tf.gather(states, tf.maximum(lengths - 1, 0), batch_dims=1) * tf.cast(lengths > 0, states.dtype)[:, tf.newaxis]
