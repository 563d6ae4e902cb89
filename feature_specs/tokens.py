"""Features that look tokens up in a table."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, PrivateAttr, model_validator

from feature_specs.base import Column, RawType
from feature_specs.encodings import Buckets, Derivation, Encoding, Extract, Hour, Identity, Pretrained, Vocabulary, Weekday
from feature_specs.kinds import Combiner, TableFeature
from feature_specs.patterns import extracts_from, problem_of

DEFAULT_HASH_KEY = 0xDECAFCAFFE  # of tf.feature_column.crossed_column


class TokenFeature(TableFeature):
    """What the kinds that look tokens up in a table share.

    Attributes:
        dtype: Type of the raw value. An integer of -1 and an empty string are missing.
        encoding: How tokens become ids. Left out where the feature shares the `table` of another.
        derive: Computed from the raw value, in the transform graph, before the encoding.
        default: Raw value that stands for a missing one.
        pretrained: Vectors that the table begins with; needs a vocabulary.
    """

    dtype: Literal["string", "int64"] = "string"
    encoding: Encoding | None = None
    derive: Derivation | None = None
    default: str | int | None = None
    pretrained: Pretrained | None = None

    @property
    def raw_type(self) -> RawType:
        """Type of a raw value."""
        return self.dtype

    @property
    def table_encoding(self) -> Encoding | None:
        """How ids are made; None where another feature of the table says it."""
        return self.encoding

    @model_validator(mode="after")
    def _types_fit(self) -> TokenFeature:
        wants = "int64" if isinstance(self.derive, Hour | Weekday) else "string"
        if self.derive and self.dtype != wants:
            raise ValueError(f"feature {self.name!r}: derive {self.derive.type!r} takes dtype {wants!r}. Received: {self.dtype!r}.")
        if isinstance(self.encoding, Identity) and self.dtype == "string":
            raise ValueError(
                f"feature {self.name!r}: encoding 'identity' takes dtype 'int64'. Received: 'string'. Use 'hash' or "
                "'vocabulary' for strings."
            )
        if self.default is not None and not isinstance(self.default, str if self.dtype == "string" else int):
            raise ValueError(f"feature {self.name!r}: default should be of dtype {self.dtype!r}. Received: {self.default!r}.")
        if isinstance(self.derive, Extract):
            if problem := problem_of(self.derive.pattern):
                raise ValueError(f"feature {self.name!r}: derive 'extract': {problem}")
            if isinstance(self.default, str) and not extracts_from(self.derive.pattern, self.default):
                raise ValueError(
                    f"feature {self.name!r}: default is a raw value, from which {self.derive.pattern!r} should extract something. "
                    f"Received: {self.default!r}."
                )
        if self.pretrained is not None and not isinstance(self.encoding, Vocabulary):
            raise ValueError(
                f"feature {self.name!r}: pretrained vectors are aligned with a vocabulary. Give it `encoding: {{type: vocabulary}}`."
            )
        return self


class CategoricalFeature(TokenFeature):
    """One token a row."""

    kind: Literal["categorical"] = "categorical"


class MultiValuedFeature(TokenFeature):
    """Several tokens a row, without order.

    Attributes:
        delimiter: Separates the values in a text file; ignored where the source has lists.
        max_length: Keep at most this many values, those that `keep` says.
        keep: "first" or "last".
        combiner: How a model that wants one vector a field pools the values; "attention" learns how much each counts.
        weights: Raw column with one number a value, separated in the same way; a missing number counts as 1.
    """

    kind: Literal["multi_valued"] = "multi_valued"
    delimiter: str = Field(default="|", min_length=1)
    max_length: PositiveInt | None = None
    keep: Literal["first", "last"] = "first"
    combiner: Combiner = "mean"
    weights: str | None = None

    @property
    def is_list(self) -> bool:
        """Whether one row holds any number of values."""
        return True

    @property
    def weights_name(self) -> str:
        """Name of the column of weights in raw and transformed examples."""
        return f"{self.name}_weights"

    @property
    def raw_inputs(self) -> tuple[Column, ...]:
        """What the transform graph takes for the feature."""
        return (Column(self.name, self.dtype, "list"), *self._weights)

    @property
    def _outputs(self) -> tuple[Column, ...]:
        return (Column(self.name, "int64", "list"), *self._weights)

    @property
    def _weights(self) -> tuple[Column, ...]:
        return (Column(self.weights_name, "float32", "list"),) if self.weights else ()

    @model_validator(mode="after")
    def _combiner_fits(self) -> MultiValuedFeature:
        if self.weights and self.combiner == "attention":
            raise ValueError(f"feature {self.name!r}: given weights and learned ones exclude each other. Use combiner sum, mean or sqrtn.")
        if self.weights and self.only_crossed:
            raise ValueError(f"feature {self.name!r}: a cross has no use for weights. Leave out `weights`.")
        return self


class SequenceFeature(TokenFeature):
    """Several tokens a row, in order of time, the most recent last.

    Attributes:
        history_of: Name of the categorical feature whose earlier values, of the same user and in the training split, make the
            sequence. Without it the raw column holds the sequence itself, separated by `delimiter`.
        delimiter: Separates the steps in a text file; ignored where the source has lists.
        value_delimiter: Separates several values of one step; where given, a source with lists has lists of lists.
        max_length: Keep at most this many steps, those that `keep` says.
        keep: "last" keeps the most recent ones.
        padding: On which side the input layer pads `[B, T, D]` with zeros.
        combiner: How a model that wants one vector a field pools the steps; the values of one step are pooled by it too ("attention" pools
            the values of a step by their mean).
    """

    kind: Literal["sequence"] = "sequence"
    history_of: str | None = None
    delimiter: str = Field(default="|", min_length=1)
    value_delimiter: str | None = Field(default=None, min_length=1)
    max_length: PositiveInt = 50
    keep: Literal["first", "last"] = "last"
    padding: Literal["left", "right"] = "right"
    combiner: Combiner = "mean"

    @property
    def is_list(self) -> bool:
        """Whether one row holds any number of values."""
        return True

    @property
    def is_history(self) -> bool:
        """Whether the preprocessing job builds the values from the user's earlier rows."""
        return self.history_of is not None

    @property
    def steps_name(self) -> str:
        """Name of the column that says which step each value belongs to, in raw and transformed examples."""
        return f"{self.name}_steps"

    @property
    def raw_inputs(self) -> tuple[Column, ...]:
        """What the transform graph takes for the feature."""
        return (Column(self.name, self.dtype, "list"), *self._steps)

    @property
    def _outputs(self) -> tuple[Column, ...]:
        return (Column(self.name, "int64", "list"), *self._steps)

    @property
    def _steps(self) -> tuple[Column, ...]:
        return (Column(self.steps_name, "int64", "list"),) if self.value_delimiter else ()

    @model_validator(mode="after")
    def _parts_fit(self) -> SequenceFeature:
        if self.value_delimiter is not None and self.value_delimiter == self.delimiter:
            raise ValueError(f"feature {self.name!r}: value_delimiter and delimiter are both {self.delimiter!r}. Make them different.")
        if self.history_of is not None and (self.keep == "first" or self.value_delimiter):
            raise ValueError(f"feature {self.name!r}: a history has one value a step and keeps the last. Leave out the other option.")
        if self.only_crossed:
            raise ValueError(f"feature {self.name!r}: a sequence cannot be crossed. Make it `multi_valued`.")
        return self


class CrossedFeature(TableFeature):
    """Every combination of its inputs' values, by hash: an example has the product of its inputs' numbers of values.

    The buckets are those of `tf.feature_column.crossed_column`: 0 is missing, then 1 + bucket.

    Attributes:
        inputs: Names of two or more categorical, multi-valued or bucketized features. Tokens enter as they are, buckets by their number.
        num_buckets: Of the hash.
        by_id: Inputs that enter by their place in a vocabulary or range, as they do where TensorFlow's column crosses columns, not keys.
        hash_key: Of the hash.
    """

    kind: Literal["crossed"] = "crossed"
    inputs: tuple[str, ...] = Field(min_length=2)
    num_buckets: PositiveInt
    by_id: tuple[str, ...] = ()
    hash_key: Annotated[int, Field(ge=0, lt=2**63)] = DEFAULT_HASH_KEY
    combiner: Literal["sum", "mean", "sqrtn"] = "mean"
    _crosses_lists: bool = PrivateAttr(default=False)  # the spec knows its inputs

    @property
    def raw_type(self) -> RawType:
        """Type of its ids: a cross has no raw value of its own."""
        return "int64"

    @property
    def table_encoding(self) -> Buckets:
        """How ids are made."""
        return Buckets(num_buckets=self.num_buckets)

    @property
    def raw_inputs(self) -> tuple[Column, ...]:
        """Nothing: its inputs bring the values."""
        return ()

    @property
    def is_list(self) -> bool:
        """Whether any of its inputs is a list; the spec knows."""
        return self._crosses_lists

    @model_validator(mode="after")
    def _parts_fit(self) -> CrossedFeature:
        if self.table is not None or self.only_crossed or self.column is not None:
            raise ValueError(f"feature {self.name!r}: a cross has a table of its own, is read from no column and crosses no further.")
        if len(set(self.inputs)) != len(self.inputs) or not set(self.by_id) <= set(self.inputs):
            raise ValueError(f"feature {self.name!r}: inputs should be different, and by_id some of them. Received: {list(self.inputs)}.")
        return self
