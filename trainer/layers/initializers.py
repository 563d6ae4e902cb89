"""How the rows of tables begin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from feature_specs import ColonnadeError, Constant, Normal, Uniform

Initializer = Callable[..., tf.Tensor]
# Drawing takes several times its numbers' size in memory, which the program keeps: large tables are drawn in small pieces.
_LARGE, _PIECE = 1 << 24, 1 << 20
_BY_ROW = (keras.initializers.RandomNormal, keras.initializers.RandomUniform, keras.initializers.TruncatedNormal)


def own(initializer: Initializer | str | None) -> Initializer:
    """Returns an initializer that no other variable uses: one object would give variables of equal shape equal numbers."""
    if initializer is None:
        return keras.initializers.RandomNormal(stddev=0.01)
    found: Any = keras.initializers.get(initializer)
    return found.clone() if isinstance(found, keras.initializers.Initializer) else found


def stacked(rows: Mapping[str, int], initializer: Initializer | str | Mapping[str, Initializer] | None) -> Initializer:
    """Returns the initializer of parts that lie one after the other, of so many rows each."""
    if not isinstance(initializer, Mapping):
        return own(initializer)
    by_part = {part: own(initializer[part]) for part in rows}

    def initial_value(shape: tuple[int, int], dtype: str) -> tf.Tensor:
        dtype = tf.as_dtype(dtype)
        return tf.concat([tf.cast(by_part[part]([count, shape[1]], dtype=dtype), dtype) for part, count in rows.items()], axis=0)

    return initial_value


def comes_in_pieces(rows: Mapping[str, int], dim: int, initializer: Initializer | str | Mapping[str, Initializer] | None) -> bool:
    """Whether a table is large, and each row's numbers depend neither on the shape nor on a seed of the initializer."""
    parts = initializer.values() if isinstance(initializer, Mapping) else [initializer]
    return sum(rows.values()) * dim > _LARGE and all(_is_by_row(own(part)) for part in parts)


def fill(table: tf.Variable, rows: Mapping[str, int], initializer: Initializer | str | Mapping[str, Initializer] | None) -> None:
    """Draws the rows of a table that `comes_in_pieces`, which has only been made, piece by piece."""
    at_once, begin = max(1, _PIECE // table.shape[1]), 0
    for part, count in rows.items():
        for first in range(begin, begin + count, at_once):
            last = min(first + at_once, begin + count)
            drawn = own(initializer[part] if isinstance(initializer, Mapping) else initializer)
            vectors = drawn([last - first, table.shape[1]], dtype=table.dtype.name)
            # Not an assignment to a slice, which reads the variable and so copies it.
            table.scatter_update(tf.IndexedSlices(vectors, tf.range(first, last)))
        begin += count


def _is_by_row(initializer: Initializer) -> bool:
    if isinstance(initializer, ZeroLastColumn):
        return _is_by_row(initializer.initializer)
    return isinstance(initializer, _BY_ROW) and initializer.get_config().get("seed") is None


def declared(initializer: Normal | Uniform | Constant) -> Initializer:
    """Returns what a spec declares, as a Keras initializer."""
    if isinstance(initializer, Constant):
        return keras.initializers.Constant(initializer.value)
    if isinstance(initializer, Uniform):
        return keras.initializers.RandomUniform(-initializer.limit, initializer.limit)
    kind = keras.initializers.TruncatedNormal if initializer.truncated else keras.initializers.RandomNormal
    return kind(stddev=initializer.stddev)


class ZeroLastColumn(keras.initializers.Initializer):
    """Another initializer's numbers, and zeros in the last column.

    Args:
        initializer: Gives the other columns.
    """

    def __init__(self, initializer: Initializer) -> None:
        self.initializer = initializer

    def __call__(self, shape: tuple[int, int], dtype: str | None = None) -> tf.Tensor:
        """Returns numbers of this shape."""
        vectors = self.initializer((shape[0], shape[1] - 1), dtype=dtype)
        return tf.pad(vectors, [[0, 0], [0, 1]])

    def clone(self) -> ZeroLastColumn:
        """Returns a copy that draws other numbers."""
        return ZeroLastColumn(own(self.initializer))


class PretrainedRows(keras.initializers.Initializer):
    """The rows of a `.npy` file `[rows, D]`; a row of NaN there is one that `otherwise` gives.

    Args:
        path: The file, as the preprocessing job writes it.
        otherwise: Gives the rows that have no vector.
    """

    def __init__(self, path: str | Path, otherwise: Initializer) -> None:
        self.path, self.otherwise = Path(path), otherwise

    def __call__(self, shape: tuple[int, int], dtype: str | None = None) -> tf.Tensor:
        """Returns the vectors, of this shape.

        Raises:
            ColonnadeError: They have another one.
        """
        vectors = _load(self.path)
        if list(vectors.shape) != list(shape):
            raise ColonnadeError(
                f"{str(self.path)!r} should hold vectors of shape {list(shape)}. Received: {list(vectors.shape)}. Preprocess again."
            )
        return tf.where(tf.math.is_nan(vectors[:, :1]), self.otherwise(shape, dtype=dtype), tf.constant(vectors, dtype))

    def clone(self) -> PretrainedRows:
        """Returns a copy that draws other numbers."""
        return PretrainedRows(self.path, own(self.otherwise))


def pretrained_width(path: str | Path) -> int:
    """Returns the width of the vectors in a `.npy` file."""
    return int(_load(Path(path)).shape[1])


def _load(path: Path) -> np.ndarray:
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ColonnadeError(f"Pretrained vectors {str(path)!r} cannot be read: {error}. Preprocess again.") from error
    if vectors.ndim != 2:
        raise ColonnadeError(f"Pretrained vectors {str(path)!r} should be [rows, D]. Received: {list(vectors.shape)}. Preprocess again.")
    return vectors
