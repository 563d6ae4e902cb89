"""The items of a matching export: their raw ids, and what their vectors are made of. An item's number is its row in `items.parquet`."""

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
from serving.samples import raw_rows, scorer_inputs
from serving.sides import item_side
from serving.signatures import RawExamples

_ITEM = "_item"


@dataclass(frozen=True)
class Items:
    """All items.

    Attributes:
        path: Where they were read.
        raw_ids: As the raw data has them, `[C]` bytes or int64, as the item feature's dtype says.
        features: The item's side, transformed: `[C]`, `[C, size]`, or `[C, L]` padded.
    """

    path: Path
    raw_ids: NDArray
    features: Mapping[str, tf.Tensor]

    @classmethod
    def read(cls, path: str | Path, spec: FeatureSpec) -> Items:
        """Reads `items.parquet`.

        Raises:
            ColonnadeError: It is missing, damaged, empty or of another spec.
        """
        side = item_side(spec)
        try:
            table = pq.read_table(path, columns=[_ITEM, *(column.name for column in side.outputs)])
        except (OSError, KeyError, pa.ArrowException) as error:
            problem = " ".join(str(error).split()).rstrip(".")
            raise ColonnadeError(f"The items in {str(path)!r} cannot be read: {problem}. Preprocess again with this spec.") from error
        if not table.num_rows:
            raise ColonnadeError(f"{str(path)!r} holds no items, so there is nothing to retrieve. Preprocess again.")
        ids = _typed(table[_ITEM].to_pylist(), spec.item_feature.dtype, path)
        whole = table.combine_chunks().to_batches(max_chunksize=table.num_rows)[0]
        return cls(Path(path), ids, scorer_inputs(side, whole))

    def described(self, spec: FeatureSpec) -> RawExamples:
        """Returns the raw item side of the first items, at most 4096."""
        return raw_rows(item_side(spec), self.path)

    @property
    def count(self) -> int:
        """C."""
        return len(self.raw_ids)

    def numbers(self) -> dict[bytes | int, int]:
        """Returns the number of each raw id."""
        return {raw_id: number for number, raw_id in enumerate(self.raw_ids.tolist())}


def _typed(raw_ids: list[bytes], dtype: str, path: str | Path) -> NDArray:
    try:
        typed = np.array(raw_ids, object) if dtype == "string" else np.array([int(raw_id) for raw_id in raw_ids], np.int64)
    except (ValueError, OverflowError) as error:
        raise ColonnadeError(f"Items in {str(path)!r} should be integers, as the item feature says: {error}. Preprocess again.") from error
    if len(set(typed.tolist())) < len(typed):
        raise ColonnadeError(f"{str(path)!r} holds an item twice. Preprocess again.")
    return typed
