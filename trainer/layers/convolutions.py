"""Convolutions over a window of items."""

from __future__ import annotations

import keras
import tensorflow as tf

from trainer.layers.checks import check_sizes


class WindowConvolutions(keras.layers.Layer):
    """Looks for patterns in a window of items, as if it were an image: `[N, L, D]` to `[N, D v + L h]`.

    Of each height i = 1..L there are h horizontal filters, i x D, which slide over the window: max over places of relu(<E_place.., F> + b)
    is one number each. The v vertical filters are L weights each, for weighted sums of the L rows, v D numbers.

    Tang and Wang, "Personalized Top-N Sequential Recommendation via Convolutional Sequence Embedding", WSDM 2018,
    https://arxiv.org/abs/1809.07426, equations 3 to 7. All horizontal filters at all places are one product of matrices, with each
    filter's kernel at each of its places in a column of its own.

    Args:
        horizontal_filters: h.
        vertical_filters: v.
        name: Name of the layer.
    """

    def __init__(self, horizontal_filters: int, vertical_filters: int, name: str | None = None) -> None:
        super().__init__(name=name)
        check_sizes(horizontal_filters=horizontal_filters, vertical_filters=vertical_filters)
        self.horizontal_filters, self.vertical_filters = horizontal_filters, vertical_filters

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the kernels for windows `[N, L, D]`."""
        _, length, width = (int(size or 0) for size in input_shape)
        self.kernels = [
            self.add_weight(shape=(height * width, self.horizontal_filters), initializer="glorot_uniform", name=f"horizontal_{height}")
            for height in range(1, length + 1)
        ]
        self.biases = self.add_weight(shape=(length, self.horizontal_filters), initializer="zeros", name="horizontal_bias")
        self.vertical = self.add_weight(shape=(length, self.vertical_filters), initializer="glorot_uniform", name="vertical")
        self.vertical_bias = self.add_weight(shape=(self.vertical_filters,), initializer="zeros", name="vertical_bias")
        self.built = True

    def call(self, windows: tf.Tensor) -> tf.Tensor:
        """Returns `[N, D v + L h]`: of each column the vertical filters, then of each height the horizontal ones."""
        length, width = windows.shape[1:]
        columns = tf.reshape(tf.transpose(windows, [0, 2, 1]), [-1, length])
        vertical = tf.matmul(columns, tf.convert_to_tensor(self.vertical)) + tf.convert_to_tensor(self.vertical_bias)
        places = tf.matmul(tf.reshape(windows, [-1, length * width]), self._at_all_places(length, width))
        counts = [length - height for height in range(length)]
        maxima = [
            tf.reduce_max(tf.reshape(part, [-1, count, self.horizontal_filters]), axis=1)
            for count, part in zip(counts, tf.split(places, [count * self.horizontal_filters for count in counts], axis=1), strict=True)
        ]
        # The bias is the same at all places and relu is monotone: both can wait until after the maximum.
        horizontal = tf.nn.relu(tf.concat(maxima, axis=1) + tf.reshape(tf.convert_to_tensor(self.biases), [-1]))
        return tf.concat([tf.reshape(vertical, [-1, width * self.vertical_filters]), horizontal], axis=1)

    def _at_all_places(self, length: int, width: int) -> tf.Tensor:
        """Returns the kernels, each at each of its places, as columns: `[L D, (L + ... + 1) h]`."""
        columns = []
        for height, kernel in enumerate(self.kernels, 1):
            for place in range(length - height + 1):
                above, below = place * width, (length - height - place) * width
                columns.append(tf.pad(tf.convert_to_tensor(kernel), [[above, below], [0, 0]]))
        return tf.concat(columns, axis=1)
