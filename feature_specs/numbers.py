"""Features that are read from numbers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from feature_specs.base import Column, RawType
from feature_specs.encodings import Buckets, Initializer
from feature_specs.kinds import Combiner, Feature, TableFeature

Scaling = Literal["none", "z_score", "log1p", "min_max", "quantile_normal"]


class NumericFeature(Feature):
    """One number a row, or a vector of `size` numbers.

    Attributes:
        size: Numbers a row. In a text file they are separated by `delimiter`; a row with another count is invalid.
        delimiter: Separates the numbers of a vector in a text file; ignored where the source has lists.
        scaling: Computed in the transform graph from training statistics: `z_score`; `log1p` (of the positive part); `min_max` to [0, 1];
            `quantile_normal`, the normal quantile of the value's rank. Each number of a vector is scaled on its own.
        default: Value of a missing number, before scaling; the training mean where not given.
        missing_indicator: Adds the field `<name>_missing`: 1 where the number (any number of a vector) was missing.
        representation: As x * v with learned vectors v ("embedding"), or the scaled number itself as a vector of its size ("value").
        embedding_dim: Width of v; the model's where not given.
        initializer: How v begins.
    """

    kind: Literal["numeric"] = "numeric"
    dtype: Literal["float32"] = "float32"
    size: PositiveInt = 1
    delimiter: str = Field(default="|", min_length=1)
    scaling: Scaling = "z_score"
    default: float | None = None
    missing_indicator: bool = False
    representation: Literal["embedding", "value"] = "embedding"
    embedding_dim: PositiveInt | None = None
    initializer: Initializer | None = None

    @property
    def raw_type(self) -> RawType:
        """Type of a raw value."""
        return self.dtype

    @property
    def raw_inputs(self) -> tuple[Column, ...]:
        """What the transform graph takes for the feature."""
        return (Column(self.name, "float32", "single" if self.size == 1 else "vector", self.size),)

    @property
    def indicator_name(self) -> str:
        """Name of the field that says where the number was missing."""
        return f"{self.name}_missing"

    @property
    def fields(self) -> tuple[str, ...]:
        """The names under which the input layer gives vectors of the feature."""
        return (*super().fields, *([self.indicator_name] if self.missing_indicator and not self.only_crossed else []))

    @property
    def _outputs(self) -> tuple[Column, ...]:
        return (*self.raw_inputs, *([Column(self.indicator_name, "float32")] if self.missing_indicator else []))

    @model_validator(mode="after")
    def _is_no_cross_input(self) -> NumericFeature:
        if self.only_crossed:
            raise ValueError(f"feature {self.name!r}: a number cannot be crossed. Make it `bucketized`.")
        return self


class NumericSequenceFeature(Feature):
    """Several numbers a row, in order of time, the most recent last.

    Attributes:
        history_of: Name of the numeric feature whose earlier values, of the same user and in the training split, make the sequence.
        time_gaps: The values are the seconds from each of the user's earlier rows (those that histories hold) to this row; the job computes
            them, and a served request brings them.
        delimiter: Separates the numbers in a text file; ignored where the source has lists.
        scaling: Of each number, from training statistics; see NumericFeature.
        max_length: Keep at most this many numbers, those that `keep` says.
        keep: "last" keeps the most recent ones.
        padding: On which side the input layer pads `[B, T, D]` with zeros.
        combiner: How a model that wants one vector a field pools the values.
        representation: As x * v with one learned vector v, or the scaled number itself as a vector of one.
        embedding_dim: Width of v; the model's where not given.
        initializer: How v begins.
    """

    kind: Literal["numeric_sequence"] = "numeric_sequence"
    dtype: Literal["float32"] = "float32"
    history_of: str | None = None
    time_gaps: bool = False
    delimiter: str = Field(default="|", min_length=1)
    scaling: Scaling = "z_score"
    max_length: PositiveInt = 50
    keep: Literal["first", "last"] = "last"
    padding: Literal["left", "right"] = "right"
    combiner: Combiner = "mean"
    representation: Literal["embedding", "value"] = "embedding"
    embedding_dim: PositiveInt | None = None
    initializer: Initializer | None = None

    @property
    def raw_type(self) -> RawType:
        """Type of a raw value."""
        return self.dtype

    @property
    def is_list(self) -> bool:
        """Whether one row holds any number of values."""
        return True

    @property
    def is_history(self) -> bool:
        """Whether the preprocessing job builds the values from the user's earlier rows."""
        return self.history_of is not None or self.time_gaps

    @property
    def _outputs(self) -> tuple[Column, ...]:
        return (Column(self.name, "float32", "list"),)

    @model_validator(mode="after")
    def _parts_fit(self) -> NumericSequenceFeature:
        if self.only_crossed:
            raise ValueError(f"feature {self.name!r}: a numeric sequence cannot be crossed.")
        if self.history_of is not None and self.time_gaps:
            raise ValueError(f"feature {self.name!r}: history_of and time_gaps exclude each other. Leave one out.")
        if self.is_history and self.keep == "first":
            raise ValueError(f"feature {self.name!r}: a history keeps the most recent values. Leave out `keep: first`.")
        return self


class BucketizedFeature(TableFeature):
    """One number a row, cut into ranges: 0 is missing, then 1 + the number of boundaries that are not above the value.

    Attributes:
        boundaries: Ascending; n of them make n + 1 buckets, half-open: [-inf, b0), [b0, b1), ..., [bn, inf).
        quantiles: Cut at the training quantiles into this many buckets; the job computes them.
        default: Raw value that stands for a missing one.
    """

    kind: Literal["bucketized"] = "bucketized"
    dtype: Literal["float32"] = "float32"
    boundaries: tuple[float, ...] | None = None
    quantiles: Annotated[int, Field(ge=2, le=10_000)] | None = None
    default: float | None = None

    @property
    def raw_type(self) -> RawType:
        """Type of a raw value."""
        return self.dtype

    @property
    def num_buckets(self) -> int:
        """Number of buckets; equal quantiles leave some of them empty."""
        return len(self.boundaries) + 1 if self.boundaries is not None else self.quantiles or 0

    @property
    def table_encoding(self) -> Buckets:
        """How ids are made."""
        return Buckets(num_buckets=self.num_buckets)

    @model_validator(mode="after")
    def _has_ranges(self) -> BucketizedFeature:
        if (self.boundaries is None) == (self.quantiles is None):
            raise ValueError(f"feature {self.name!r} should have `boundaries` or `quantiles`, one of them.")
        if self.boundaries is not None and (not self.boundaries or list(self.boundaries) != sorted(set(self.boundaries))):
            raise ValueError(f"feature {self.name!r}: boundaries should ascend, without repetition. Received: {list(self.boundaries)}.")
        if self.table is not None:
            raise ValueError(f"feature {self.name!r}: buckets have a table of their own. Leave out `table`.")
        return self
