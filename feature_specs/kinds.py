"""What all kinds of feature share."""

from __future__ import annotations

import keyword
import re
from abc import ABC, abstractmethod
from typing import Literal

from pydantic import PositiveFloat, field_validator

from feature_specs.base import Column, Frozen, RawType
from feature_specs.encodings import AnyEncoding, TableOptions

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
RESERVED_NAMES = frozenset({"self", "label", "examples"})
Combiner = Literal["sum", "mean", "sqrtn", "attention"]


class Feature(Frozen, ABC):
    """What all kinds share.

    Attributes:
        name: Name in the model and in serving signatures: a letter, then letters, digits and underscores; unique ignoring case.
        column: The raw column's own name, where it differs from `name`.
        on_invalid: What becomes of a raw value that cannot be read as `dtype`: the row is rejected, or the value is missing.
        only_crossed: The model has no field for this feature; it is an input of crossed features alone.
    """

    name: str
    column: str | None = None
    on_invalid: Literal["reject", "missing"] = "reject"
    only_crossed: bool = False

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
        """Whether one row holds any number of values."""
        return False

    @property
    def raw_inputs(self) -> tuple[Column, ...]:
        """What the transform graph takes for the feature."""
        return (Column(self.name, self.raw_type, "list" if self.is_list else "single"),)

    @property
    def outputs(self) -> tuple[Column, ...]:
        """What the transform graph gives for the feature."""
        return () if self.only_crossed else self._outputs

    @property
    def fields(self) -> tuple[str, ...]:
        """The names under which the input layer gives vectors of the feature."""
        return () if self.only_crossed else (self.name,)

    @property
    @abstractmethod
    def raw_type(self) -> RawType:
        """Type of a raw value."""

    @property
    def _outputs(self) -> tuple[Column, ...]:
        return (Column(self.name, "int64", "list" if self.is_list else "single"),)


class TableFeature(Feature, TableOptions):
    """What the kinds whose ids index a table share.

    Attributes:
        table: Name of the embedding table; the feature's own name where not given.
        representation: A learned vector ("embedding"), or how often each id occurs ("indicator": one-hot for a single value).
        max_norm: Vectors are scaled down to this length when they are looked up; the table keeps them as they are.
    """

    table: str | None = None
    representation: Literal["embedding", "indicator"] = "embedding"
    max_norm: PositiveFloat | None = None

    @property
    def table_name(self) -> str:
        """Name of the table that the feature's ids index."""
        return self.table or self.name

    @property
    @abstractmethod
    def table_encoding(self) -> AnyEncoding | None:
        """How ids are made; None where another feature of the table says it."""
