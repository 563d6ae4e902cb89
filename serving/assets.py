"""How large the assets of an export are, stated inside `saved_model.pb`: a vocabulary cut off in the middle loads without an error.

The graph's `MetaInfoDef.any_info`, "user-defined" to TensorFlow, which reads nothing of it, holds `{"asset_bytes": {file name: size}}`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

_KEY = "asset_bytes"


def state_sizes(graph: Any, assets: Path) -> None:  # noqa: ANN401 (a protocol buffer)
    """Writes the sizes of its assets into a MetaGraphDef; of those that are there, the others are the export's own check to find."""
    from google.protobuf.struct_pb2 import Struct

    stated = Struct()
    files = [assets / asset.filename for asset in graph.asset_file_def]
    stated.update({_KEY: {file.name: file.stat().st_size for file in files if file.is_file()}})
    graph.meta_info_def.any_info.Pack(stated, deterministic=True)


def stated_sizes(graph: Any) -> dict[str, int]:  # noqa: ANN401 (a protocol buffer)
    """Returns the sizes of assets in bytes that a MetaGraphDef states; none where another program has written it."""
    from google.protobuf.struct_pb2 import Struct

    stated = Struct()
    if not graph.meta_info_def.any_info.Unpack(stated):
        return {}
    return {name: int(size.number_value) for name, size in stated.fields[_KEY].struct_value.fields.items()}
