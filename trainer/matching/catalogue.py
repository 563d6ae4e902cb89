"""The items of a matching data set, as `items.parquet` has them. An item's number is its row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs.errors import ColonnadeError
from feature_specs.spec import FeatureSpec
from trainer.data import Lists, to_numpy

FILE = "items.parquet"


@dataclass(frozen=True)
class Catalogue:
    """All items, by number.

    Attributes:
        raw_ids: As the raw data has them, `[C]` bytes.
        counts: Training interactions, int64 `[C]`.
        features: Item-side features, transformed: `[C]`, `[C, size]`, or for lists `[C, L]`, padded.
        item: Name of the item feature.
    """

    raw_ids: tuple[bytes, ...]
    counts: NDArray[np.int64]
    features: Mapping[str, NDArray]
    item: str

    @classmethod
    def load(cls, folder: str | Path, spec: FeatureSpec) -> Catalogue:
        """Reads `items.parquet` of a data or run directory.

        Raises:
            ColonnadeError: It is missing, damaged or of another spec.
        """
        path = Path(folder) / FILE
        columns = [c for f in spec.features if f.name in spec.item_names for c in f.outputs]
        try:
            table = pq.read_table(path, columns=["_item", "_count", *(c.name for c in columns)])
            sizes = {c.name: c.size for c in columns if c.layout == "vector"}
            read = {c.name: to_numpy(table[c.name], sizes.get(c.name)) for c in columns}
        except (OSError, KeyError, pa.ArrowException) as error:
            problem = " ".join(str(error).split()).rstrip(".")
            raise ColonnadeError(f"The items in {str(path)!r} cannot be read: {problem}. Preprocess again with this spec.") from error
        padding = spec.paddings
        features = {name: v.padded(padding[name]) if isinstance(v, Lists) else v for name, v in read.items()}
        return cls(tuple(table["_item"].to_pylist()), table["_count"].to_numpy(), features, spec.item_feature.name)

    @property
    def num_items(self) -> int:
        """C."""
        return len(self.counts)

    @property
    def ids(self) -> NDArray[np.int64]:
        """The id of each item in the item feature's table, `[C]`; several items that training has not seen share one."""
        return self.features[self.item]

    def by_id(self, rows: int) -> dict[str, NDArray]:
        """Returns the side features of each of the `rows` rows of the item feature's table; none for rows of no item or of several."""
        found = {}
        numbers, counts = np.unique(self.ids, return_counts=True)
        shared = np.isin(self.ids, numbers[counts > 1])
        for name, values in self.features.items():
            if name == self.item:
                continue
            empty = np.nan if np.issubdtype(values.dtype, np.floating) else 0
            found[name] = np.full((rows, *values.shape[1:]), empty, values.dtype)
            found[name][self.ids[~shared]] = values[~shared]
        return found

    def tensors(self) -> dict[str, tf.Tensor]:
        """Returns the features as tensors."""
        return {name: tf.constant(values) for name, values in self.features.items()}

    def take(self, numbers: tf.Tensor, tensors: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the features of the items `numbers`, of any shape; `tensors` are those of all."""
        return {name: tf.gather(values, numbers) for name, values in tensors.items()}
