"""The kinds of feature: what a raw column holds and what becomes of it.

Every kind answers the same three questions for the rest of the project: which raw column it reads (`raw_column`), of which type
(`dtype`, `is_list`), and which embedding table its ids index (`table_name`).
"""

from __future__ import annotations

import keyword
import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

RawType = Literal["string", "int64", "float32"]
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
RESERVED_NAMES = frozenset({"self", "label", "examples"})


class Frozen(BaseModel):
    """Base of every part of a spec: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_serializer(mode="wrap")
    def _keep_tag(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Writes the tag that tells kinds apart first, also where defaults are left out."""
        tags = {tag: getattr(self, tag) for tag in ("kind", "type") if tag in type(self).model_fields}
        return {**tags, **serialize(self)}


class Vocabulary(Frozen):
    """Ids by frequency in the training split: 0 is missing, then the vocabulary, then the OOV buckets.

    Attributes:
        min_count: Tokens seen fewer times than this in the training split go to the OOV buckets.
        max_size: Keep at most this many tokens, the most frequent ones.
        num_oov_buckets: Rows shared, by hash, by all tokens outside the vocabulary.
    """

    type: Literal["vocabulary"] = "vocabulary"
    min_count: PositiveInt = 1
    max_size: PositiveInt | None = None
    num_oov_buckets: PositiveInt = 1


class Hash(Frozen):
    """Ids by hash: 0 is missing, a token's id is 1 + FarmHash64(token) mod `num_buckets`."""

    type: Literal["hash"] = "hash"
    num_buckets: PositiveInt


class Identity(Frozen):
    """Integers in [0, num_buckets) are their own ids, plus one; 0 is missing; what is out of range shares one last row."""

    type: Literal["identity"] = "identity"
    num_buckets: PositiveInt


Encoding = Annotated[Vocabulary | Hash | Identity, Field(discriminator="type")]


class Hour(Frozen):
    """Hour of the day, 0 to 23, of a Unix time in seconds (UTC)."""

    type: Literal["hour"] = "hour"


class Weekday(Frozen):
    """Day of the week, Monday 0 to Sunday 6, of a Unix time in seconds (UTC)."""

    type: Literal["weekday"] = "weekday"


class Prefix(Frozen):
    """The first `length` bytes of a string."""

    type: Literal["prefix"] = "prefix"
    length: PositiveInt


Derivation = Annotated[Hour | Weekday | Prefix, Field(discriminator="type")]


class Feature(Frozen):
    """What all kinds share.

    Attributes:
        name: Name in the model and in serving signatures: a letter, then letters, digits and underscores; unique ignoring case.
        column: The raw column's own name, where it differs from `name`.
        on_invalid: What becomes of a raw value that cannot be read as `dtype`: the row is rejected, or the value is missing.
    """

    name: str
    column: str | None = None
    on_invalid: Literal["reject", "missing"] = "reject"

    @field_validator("name")
    @classmethod
    def _name_fits_a_signature(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"feature name {name!r} cannot be carried by a serving signature. Use a letter, then letters, digits and "
                "underscores; put the raw column's name in `column`."
            )
        if keyword.iskeyword(name) or name.lower() in RESERVED_NAMES:
            raise ValueError(f"feature name {name!r} is reserved. Choose another name and put {name!r} in `column`.")
        return name

    @property
    def raw_column(self) -> str:
        """Name of the raw column that the feature reads."""
        return self.column or self.name

    @property
    def is_list(self) -> bool:
        """Whether one row holds several values."""
        return False


class NumericFeature(Feature):
    """One number a row.

    Attributes:
        scaling: `z_score` and `log1p` (of the positive part) are computed in the transform graph from training statistics.
        default: Value of a missing number, before scaling; the training mean where not given.
    """

    kind: Literal["numeric"] = "numeric"
    dtype: Literal["float32"] = "float32"
    scaling: Literal["none", "z_score", "log1p"] = "z_score"
    default: float | None = None
    embedding_dim: PositiveInt | None = None


class TokenFeature(Feature):
    """What the kinds that look tokens up in a table share.

    Attributes:
        dtype: Type of the raw value. An integer of -1 and an empty string are missing.
        encoding: How tokens become ids. Left out where the feature shares the `table` of another.
        table: Name of the embedding table; the feature's own name where not given.
        embedding_dim: Width of the table; the model's `embedding_dim` where not given.
        derive: Computed from the raw value, in the transform graph, before the encoding.
        default: Raw value that stands for a missing one.
    """

    dtype: Literal["string", "int64"] = "string"
    encoding: Encoding | None = None
    table: str | None = None
    embedding_dim: PositiveInt | None = None
    derive: Derivation | None = None
    default: str | int | None = None

    @property
    def table_name(self) -> str:
        """Name of the table that the feature's ids index."""
        return self.table or self.name

    @model_validator(mode="after")
    def _types_fit(self) -> TokenFeature:
        wants = {"hour": "int64", "weekday": "int64", "prefix": "string"}.get(self.derive.type if self.derive else "", self.dtype)
        if self.dtype != wants and self.derive:
            raise ValueError(f"feature {self.name!r}: derive {self.derive.type!r} takes dtype {wants!r}. Received: {self.dtype!r}.")
        if isinstance(self.encoding, Identity) and self.dtype == "string":
            raise ValueError(
                f"feature {self.name!r}: encoding 'identity' takes dtype 'int64'. Received: 'string'. Use 'hash' or "
                "'vocabulary' for strings."
            )
        if self.default is not None and not isinstance(self.default, str if self.dtype == "string" else int):
            raise ValueError(f"feature {self.name!r}: default should be of dtype {self.dtype!r}. Received: {self.default!r}.")
        return self


class CategoricalFeature(TokenFeature):
    """One token a row."""

    kind: Literal["categorical"] = "categorical"


class MultiValuedFeature(TokenFeature):
    """Several tokens a row, without order.

    Attributes:
        delimiter: Separates the values in a text file; ignored where the source has lists.
        max_length: Keep at most this many values, the first ones.
        combiner: How a model that wants one vector a field pools the values.
    """

    kind: Literal["multi_valued"] = "multi_valued"
    delimiter: str = Field(default="|", min_length=1)
    max_length: PositiveInt | None = None
    combiner: Literal["sum", "mean", "sqrtn"] = "mean"

    @property
    def is_list(self) -> bool:
        """Whether one row holds several values."""
        return True


class SequenceFeature(TokenFeature):
    """Several tokens a row, in order of time, the most recent last.

    Attributes:
        history_of: Name of the categorical feature whose earlier values, of the same user and in the training split, make the
            sequence. Without it the raw column holds the sequence itself, separated by `delimiter`.
        max_length: Keep at most this many values, the most recent ones.
        combiner: How a model that wants one vector a field pools the values.
    """

    kind: Literal["sequence"] = "sequence"
    history_of: str | None = None
    delimiter: str = Field(default="|", min_length=1)
    max_length: PositiveInt = 50
    combiner: Literal["sum", "mean", "sqrtn"] = "mean"

    @property
    def is_list(self) -> bool:
        """Whether one row holds several values."""
        return True


AnyFeature = Annotated[NumericFeature | CategoricalFeature | MultiValuedFeature | SequenceFeature, Field(discriminator="kind")]
