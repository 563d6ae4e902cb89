"""What every part of a spec is made of."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

RawType = Literal["string", "int64", "float32"]


class Frozen(BaseModel):
    """Base of every part of a spec: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_serializer(mode="wrap")
    def _keep_tag(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Writes the tag that tells kinds apart first, also where defaults are left out."""
        tags = {tag: getattr(self, tag) for tag in ("kind", "type", "format") if tag in type(self).model_fields}
        return {**tags, **serialize(self)}


class Column(NamedTuple):
    """One column of raw or transformed examples; whatever handles examples in general goes by these, not by the kinds of feature.

    Attributes:
        name: Of the column; the feature's own, or one that begins with it.
        dtype: Of one value.
        layout: "single" is `[B]`; "vector" is `[B, size]`; "list" is `[B, None]`, and holds no missing values.
        size: Values of a vector; 1 for the others.
    """

    name: str
    dtype: RawType
    layout: Literal["single", "vector", "list"] = "single"
    size: int = 1
