"""Sketches as an Arrow table, one row an array, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def pack(tree: Any) -> pa.Table:  # noqa: ANN401 (dictionaries, lists and data classes of arrays and numbers)
    """Returns every array and number in `tree` as a row with its path, type and bytes."""
    arrays: dict[str, np.ndarray] = {}
    for path, value, _ in _leaves(tree, ""):
        if isinstance(value, pa.Array):
            if pa.types.is_binary(value.type):
                arrays[f"{path}/ends"] = np.cumsum(pc.binary_length(value).to_numpy().astype(np.int64))
                value = np.frombuffer(b"".join(value.to_pylist()), np.uint8)
            arrays[path] = np.asarray(value)
        elif value is not None:
            arrays[path] = np.asarray(value)
    contents = pa.array([array.tobytes() for array in arrays.values()], pa.binary())
    return pa.table({"path": list(arrays), "type": [array.dtype.str for array in arrays.values()], "content": contents})


def unpack(table: pa.Table, tree: Any) -> None:  # noqa: ANN401
    """Puts what `pack` returned into a tree of the same shape."""
    rows = zip(*(table[name].to_pylist() for name in ("path", "type", "content")), strict=True)
    arrays = {path: np.frombuffer(content, dtype) for path, dtype, content in rows}
    for path, value, owner in list(_leaves(tree, "")):
        if path not in arrays:
            continue
        found: Any = arrays[path]
        if isinstance(value, np.ndarray):
            found = found.reshape(*value.shape[:-1], -1).copy()
        elif f"{path}/ends" in arrays:
            ends = arrays[f"{path}/ends"]
            offsets = np.concatenate([[0], ends]).astype(np.int32)
            found = pa.Array.from_buffers(pa.binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(found)])
        else:
            found = pa.array(found) if value is None else type(value)(found.item())
        setattr(owner, path.rsplit("/", 1)[1], found)


def _leaves(value: Any, path: str, owner: Any = None) -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401
    """Yields path, value and the object whose attribute it is."""
    if is_dataclass(value):
        for part in fields(value):
            yield from _leaves(getattr(value, part.name), f"{path}/{part.name}", value)
    elif isinstance(value, dict | list):
        for key, element in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(element, f"{path}/{key}", owner)
    else:
        yield path, value, owner
