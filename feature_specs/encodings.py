"""How raw values become ids, and how the table that these index begins."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from feature_specs.base import Frozen


class Vocabulary(Frozen):
    """Ids by frequency in the training split, or in a given order: 0 is missing, then the vocabulary, then the OOV buckets.

    Attributes:
        min_count: Tokens seen fewer times than this in the training split go to the OOV buckets.
        max_size: Keep at most this many tokens, the most frequent ones (of a given vocabulary: the first ones).
        num_oov_buckets: Rows shared, by hash, by all tokens outside the vocabulary. Only a given vocabulary may have none: unknown tokens
            are missing then.
        tokens: The vocabulary itself, in order; the job counts nothing.
        file: The vocabulary as a text file, one token a line, in order.
        oov_token: A token of a given vocabulary whose id stands for all unknown ones; takes no OOV bucket.
    """

    type: Literal["vocabulary"] = "vocabulary"
    min_count: PositiveInt = 1
    max_size: PositiveInt | None = None
    num_oov_buckets: NonNegativeInt = 1
    tokens: tuple[str | int, ...] | None = None
    file: str | None = None
    oov_token: str | int | None = None

    @field_validator("tokens", "oov_token", mode="before")
    @classmethod
    def _are_texts_or_integers(cls, given: Any) -> Any:  # noqa: ANN401 (what the user wrote)
        for token in given if isinstance(given, list | tuple) else [given]:
            if isinstance(token, bool | float):
                raise ValueError(
                    f"a token of a vocabulary is a text or an integer. Received: {token!r}. Put it in quotes, as in the raw data."
                )
        return given

    @property
    def is_given(self) -> bool:
        """Whether the spec names the tokens, so that the job need not count any."""
        return self.tokens is not None or self.file is not None

    def num_rows(self, vocabulary_size: int) -> int:
        """Returns the rows of the table: padding, tokens, OOV buckets."""
        return 1 + vocabulary_size + self.num_oov_buckets

    @model_validator(mode="after")
    def _parts_fit(self) -> Vocabulary:
        if self.tokens is not None and self.file is not None:
            raise ValueError("a vocabulary has `tokens` or a `file`, not both. Leave one out.")
        if self.tokens is not None:
            texts = [str(token) for token in self.tokens]
            repeated = sorted({text for text in texts if texts.count(text) > 1})
            if repeated or not texts:
                raise ValueError(f"`tokens` should be different and at least one. Received: {', '.join(repeated) or 'an empty list'}.")
            if any(not text or "\n" in text or "\r" in text for text in texts):
                raise ValueError("a token of `tokens` is empty or has a line end in it; an empty value is always missing. Leave it out.")
            if self.oov_token is not None and str(self.oov_token) not in texts:
                raise ValueError(f"oov_token should be one of `tokens`. Received: {self.oov_token!r}.")
        if self.is_given and self.min_count != 1:
            raise ValueError("min_count counts tokens of the training split; a given vocabulary is not counted. Leave it out.")
        if not self.is_given and self.num_oov_buckets == 0:
            raise ValueError("num_oov_buckets should be at least 1, unless `tokens` or `file` gives the vocabulary. Received: 0.")
        if self.oov_token is not None and not (self.is_given and self.num_oov_buckets == 0):
            raise ValueError("oov_token goes with `tokens` or `file` and num_oov_buckets: 0. Correct one of them.")
        return self


class Hash(Frozen):
    """Ids by hash: 0 is missing, a token's id is 1 + FarmHash64(token) mod `num_buckets`."""

    type: Literal["hash"] = "hash"
    num_buckets: PositiveInt

    def num_rows(self, vocabulary_size: int = 0) -> int:  # noqa: ARG002 (only vocabularies have one)
        """Returns the rows of the table."""
        return 1 + self.num_buckets


class Identity(Frozen):
    """Integers in [0, num_buckets) are their own ids, plus one; 0 is missing; what is out of range shares one last row.

    Attributes:
        num_buckets: The range.
        out_of_range: "bucket" gives such a value the last row; "reject" has the preprocessing job set its row aside.
    """

    type: Literal["identity"] = "identity"
    num_buckets: PositiveInt
    out_of_range: Literal["bucket", "reject"] = "bucket"

    def num_rows(self, vocabulary_size: int = 0) -> int:  # noqa: ARG002 (only vocabularies have one)
        """Returns the rows of the table."""
        return 1 + self.num_buckets + 1


class Buckets(Frozen):
    """Ids that the feature makes itself: 0 is missing, then the buckets. Bucketized and crossed features have it; no spec writes it.

    Attributes:
        num_buckets: How many.
    """

    type: Literal["buckets"] = "buckets"
    num_buckets: PositiveInt

    def num_rows(self, vocabulary_size: int = 0) -> int:  # noqa: ARG002 (only vocabularies have one)
        """Returns the rows of the table."""
        return 1 + self.num_buckets


Encoding = Annotated[Vocabulary | Hash | Identity, Field(discriminator="type")]
AnyEncoding = Vocabulary | Hash | Identity | Buckets


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


class Extract(Frozen):
    r"""The first group of the first match of a regular expression; missing where nothing matches, or the group is empty.

    It is read by RE2, so `\d`, `\w`, `\s` and `\b` are ASCII, `$` is the end of the text, and there are neither lookaround nor
    backreferences; a spec takes only what Python's `re` and RE2 both understand. A value without a match is a missing one in every
    respect: a `default` takes its place, a list leaves it out, and it is no event of a history.

    Attributes:
        pattern: The regular expression, with one group, such as `\((\d{4})\)$` for a year in brackets at the end.
    """

    type: Literal["extract"] = "extract"
    pattern: str

    @property
    def whole(self) -> str:
        """An RE2 pattern that takes any text in one match, of which the first group is what is extracted, or else empty."""
        # \C is one byte: text that is no UTF-8 may stand around the match.
        return rf"\A(?:\C*?(?:{self.pattern})\C*|\C*)\z"


Derivation = Annotated[Hour | Weekday | Prefix | Extract, Field(discriminator="type")]


class Normal(Frozen):
    """Normal numbers, mean 0.

    Attributes:
        stddev: Their standard deviation.
        truncated: Whether numbers beyond two deviations are drawn again, as `tf.feature_column` does.
    """

    type: Literal["normal"] = "normal"
    stddev: PositiveFloat = 0.01
    truncated: bool = False


class Uniform(Frozen):
    """Uniform numbers in [-limit, limit)."""

    type: Literal["uniform"] = "uniform"
    limit: PositiveFloat = 0.05


class Constant(Frozen):
    """The same number everywhere."""

    type: Literal["constant"] = "constant"
    value: float = 0.0


Initializer = Annotated[Normal | Uniform | Constant, Field(discriminator="type")]


class Pretrained(Frozen):
    """Vectors that a table begins with, aligned with its vocabulary by token.

    Attributes:
        file: A `.npy` array `[N, D]`, or a Parquet file.
        tokens: For `.npy`: a text file with the token of each row, one a line.
        token_column: For Parquet: the column of tokens.
        vector_column: For Parquet: the column of vectors, lists of one length.
    """

    file: str
    tokens: str | None = None
    token_column: str = "token"
    vector_column: str = "vector"

    @model_validator(mode="after")
    def _format_fits(self) -> Pretrained:
        if not self.file.endswith((".npy", ".parquet")):
            raise ValueError(f"pretrained vectors come from a .npy or .parquet file. Received: {self.file!r}.")
        if self.file.endswith(".npy") != (self.tokens is not None):
            raise ValueError("pretrained: a .npy file needs `tokens`, a text file with one token a line; a Parquet file has them itself.")
        return self


class TableOptions(Frozen):
    """What a feature says of the table that its values index; one feature of a shared table says it.

    Attributes:
        embedding_dim: Width of the table; the model's `embedding_dim` where not given.
        initializer: How the rows begin; the model's own way where not given.
        l2: lambda of (lambda / 2) * sum of squares over the rows that a step looks up; the run's `embedding_l2` where not given.
        trainable: Whether the rows are trained.
    """

    embedding_dim: PositiveInt | None = None
    initializer: Initializer | None = None
    l2: NonNegativeFloat | None = None
    trainable: bool = True
