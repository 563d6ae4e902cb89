"""The best items by an index of the items' vectors (faiss): for catalogues where scoring all of them takes too long.

Items are sorted into cells around centres; a query looks into the cells that are nearest to it, and what it finds there is scored exactly.
How many cells is chosen on some of the users asked for, and the recall is measured on others.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from feature_specs.errors import ColonnadeError
from serving.retrieval import Geometry
from serving.signatures import RawExamples, to_tensors
from serving.versions import INDEX_FILE

_WANTED_RECALL = 0.95
_MEASURED_USERS = 512
_ITEMS_A_CELL = 39  # faiss warns below


class ApproximateIndex:
    """Answers batches of users like the signature `retrieve`.

    Args:
        version: The export's folder; keeps the index, and what was measured.
        model: The export, loaded.
        seen: Name of the list of items seen.
        k: Items a user.
        include_seen: Whether these may be among them.
    """

    def __init__(self, version: Path, model: Any, seen: str, k: int, include_seen: bool) -> None:  # noqa: ANN401 (TensorFlow gives no type)
        import faiss

        self._version, self._model, self._seen, self._include_seen, self._faiss = version, model, seen, include_seen, faiss
        self._geometry: Geometry = model.geometry.numpy().decode()
        if self._geometry == "other":
            raise ColonnadeError(
                f"The scores of {str(version)!r} are neither inner products nor distances, so there is no index of its items. Leave out "
                "--index approximate."
            )
        self._vectors: NDArray[np.float32] = model.candidate_vectors.numpy()
        self._ids: NDArray = model.item_ids.numpy()
        self._numbers = {raw_id: number for number, raw_id in enumerate(self._ids.tolist())}
        self._k = min(k, len(self._ids))
        self._index = self._open()
        self._is_measured = False

    def __call__(self, raw: RawExamples) -> Mapping[str, pa.Array]:
        """Returns the items and scores of some users."""
        from serving.jobs import as_lists

        if not self._is_measured:
            self._measure({name: values[:_MEASURED_USERS] for name, values in raw.items()})
        numbers, scores = self._search(raw)
        return as_lists(self._ids[numbers], scores)

    def _open(self) -> Any:  # noqa: ANN401 (faiss has no types)
        path = self._version / INDEX_FILE
        if path.is_file():
            return self._faiss.read_index(str(path))
        placed = self._placed(self._vectors, is_query=False)
        count, width = placed.shape
        cells = max(1, min(int(4 * count**0.5), count // _ITEMS_A_CELL))
        index = self._faiss.index_factory(width, f"IVF{cells},Flat")
        index.train(placed)
        index.add(placed)
        _write(path, lambda temporary: self._faiss.write_index(index, temporary))
        return index

    def _placed(self, vectors: NDArray[np.float32], is_query: bool) -> NDArray[np.float32]:
        """Returns vectors among which the nearest have the highest scores.

        For inner products one more coordinate makes all items equally long: then the nearest is the one with the largest product.
        """
        if self._geometry == "distance":
            return np.ascontiguousarray(vectors)
        squares = np.square(self._vectors).sum(axis=1)
        more = np.zeros(len(vectors)) if is_query else np.sqrt(np.maximum(squares.max() - squares, 0))
        return np.concatenate([vectors, more[:, np.newaxis]], axis=1).astype(np.float32)

    def _search(self, raw: RawExamples) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Returns numbers and scores `[B, k]`; a score of minus infinity where there are no more items."""
        users = {name: values for name, values in raw.items() if name in self._model.signatures["query"].structured_input_signature[1]}
        query = self._model.signatures["query"](**to_tensors(users))["embedding"].numpy()
        histories = [] if self._include_seen else raw[self._seen].to_list()
        seen = [[self._numbers[item] for item in history if item in self._numbers] for history in histories]
        wanted = min(self._k + max(map(len, seen), default=0), len(self._ids))
        _, numbers = self._index.search(self._placed(query, is_query=True), wanted)
        if self._geometry == "inner":
            # A query of zeros, such as of nobody's history, has the score 0 everywhere: of equals, the first items of the catalogue.
            numbers[~query.any(axis=1)] = np.arange(wanted)
        found = self._vectors[numbers]
        if self._geometry == "inner":
            scores = np.einsum("bd,bnd->bn", query, found)
        else:
            scores = -np.square(query[:, np.newaxis] - found).sum(axis=2)
        scores[numbers < 0] = -np.inf
        for row, items in enumerate(seen):
            scores[row, np.isin(numbers[row], items)] = -np.inf
        order = np.lexsort((numbers, -scores))[:, : self._k]
        return np.take_along_axis(numbers, order, axis=1), np.take_along_axis(scores, order, axis=1)

    def _measure(self, raw: RawExamples) -> None:
        """Chooses how many cells are looked into on every other user, and measures the recall on the rest."""
        exact = self._model.signatures["retrieve"](
            **to_tensors(raw), k=tf.constant(self._k), exclude_seen=tf.constant(not self._include_seen)
        )
        wanted = [
            set(ids[~np.isneginf(scores)].tolist()) for ids, scores in zip(*(exact[n].numpy() for n in ("item_ids", "scores")), strict=True)
        ]
        chosen, measured = (slice(0, None, 2), slice(1 if len(wanted) > 1 else 0, None, 2))
        self._index.nprobe = 1
        while self._recall(raw, wanted, chosen) < _WANTED_RECALL and self._index.nprobe < self._index.nlist:
            self._index.nprobe = min(2 * self._index.nprobe, self._index.nlist)
        recall = self._recall(raw, wanted, measured)
        told = {
            "index": f"faiss {self._faiss.__version__} IVF{self._index.nlist},Flat",
            "items": len(self._ids),
            "cells": self._index.nlist,
            "probed": self._index.nprobe,
            "k": self._k,
            "users": len(wanted[measured]),
            "recall": recall,
        }
        _write(
            self._version / INDEX_FILE.with_suffix(".json"), lambda temporary: Path(temporary).write_text(json.dumps(told, indent=2) + "\n")
        )
        looked = f"{self._index.nprobe} of {self._index.nlist} cells"
        tqdm.write(f"approximate: recall@{self._k} {recall:.4f} against exact, of {told['users']} users; {looked} are looked into")
        self._is_measured = True

    def _recall(self, raw: RawExamples, wanted: list[set], rows: slice) -> float:
        numbers, scores = self._search({name: values[rows] for name, values in raw.items()})
        found = [set(self._ids[one[~np.isneginf(few)]].tolist()) for one, few in zip(numbers, scores, strict=True)]
        hits = sum(len(one & other) for one, other in zip(found, wanted[rows], strict=True))
        return hits / max(1, sum(map(len, wanted[rows])))


def _write(path: Path, write: Any) -> None:  # noqa: ANN401 (any function of a path)
    """Writes a file that appears complete; an export that cannot be written to stays as it is."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    except OSError:
        return
    os.close(handle)
    write(temporary)
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
