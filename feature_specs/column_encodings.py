"""How `tf.feature_column` columns number tokens and begin tables, as encodings and initializers of a spec."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NoReturn

from pydantic import ValidationError

from feature_specs.encodings import Constant, Encoding, Hash, Identity, Initializer, Normal, Uniform, Vocabulary
from feature_specs.errors import ColonnadeError

Column = Any  # a class that TensorFlow does not export


def kind(column: Column) -> str:
    """Returns the name of a column's class."""
    return type(column).__name__


def refuse(column: Column, what: str, instead: str) -> NoReturn:
    """Raises the error that a spec cannot declare something."""
    raise ColonnadeError(
        f"Column {getattr(column, 'name', column)!r} cannot be declared in a spec: {what}. {instead}; or keep the columns as they are: "
        "Estimator(columns=[...])."
    )


def encoding_of(column: Column, categorical: Column) -> tuple[Literal["string", "int64"], Encoding]:
    """Returns the dtype and the encoding of a categorical column; `column` is named in errors."""
    try:
        return _encoding(column, categorical)
    except ValidationError as error:
        refuse(column, str(error.errors()[0]["msg"]).removeprefix("Value error, ").rstrip("."), "Change the column")


def _encoding(column: Column, categorical: Column) -> tuple[Literal["string", "int64"], Encoding]:
    match kind(categorical):
        case "HashedCategoricalColumn":
            return _dtype(categorical), Hash(num_buckets=categorical.hash_bucket_size)
        case "IdentityCategoricalColumn":
            if categorical.default_value is not None:
                refuse(
                    column,
                    f"default_value={categorical.default_value} for values out of range",
                    "Leave it out: such values then have a row of their own (out_of_range: bucket)",
                )
            return "int64", Identity(num_buckets=categorical.number_buckets, out_of_range="reject")
        case "VocabularyListCategoricalColumn":
            tokens = tuple(token.decode() if isinstance(token, bytes) else token for token in categorical.vocabulary_list)
            plain = tuple(token if isinstance(token, str) else int(token) for token in tokens)
            return _dtype(categorical), _vocabulary(categorical, plain, {"tokens": plain})
        case "VocabularyFileCategoricalColumn":
            if categorical.file_format is not None:
                refuse(column, f"a vocabulary of format {categorical.file_format}", "Write it as text, one token a line")
            tokens = _lines(column, categorical) if categorical.default_value not in (None, -1) else ()
            options = {"file": str(categorical.vocabulary_file), "max_size": categorical.vocabulary_size}
            return _dtype(categorical), _vocabulary(categorical, tokens, options)
    raise ColonnadeError(
        f"Column {getattr(column, 'name', column)!r} cannot be converted. Received: {kind(categorical)}. Expected: what a function of "
        "tf.feature_column gives."
    )


def _vocabulary(categorical: Column, tokens: tuple[str | int, ...], options: dict[str, Any]) -> Vocabulary:
    unknown = categorical.default_value if categorical.default_value is not None else -1
    if categorical.num_oov_buckets == 0 and unknown >= 0:
        options["oov_token"] = tokens[unknown]
    return Vocabulary(**options, num_oov_buckets=categorical.num_oov_buckets)


def _lines(column: Column, categorical: Column) -> tuple[str, ...]:
    try:
        return tuple(Path(categorical.vocabulary_file).read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise ColonnadeError(
            f"Column {column.name!r}: vocabulary file {categorical.vocabulary_file!r} cannot be read: {error}. Its token at "
            f"default_value={categorical.default_value} is needed."
        ) from error


def _dtype(categorical: Column) -> Literal["string", "int64"]:
    return "int64" if categorical.dtype.is_integer else "string"


def initializer_of(column: Column, initializer: Any, usual_stddev: float) -> Initializer:  # noqa: ANN401 (any callable)
    """Returns the declaration of TensorFlow's and Keras' plain initializers."""
    if initializer is None:
        return Normal(stddev=usual_stddev, truncated=True)
    name, given = type(initializer).__name__, getattr(initializer, "__dict__", {})
    if name in ("TruncatedNormal", "RandomNormal") and given.get("mean") == 0:
        return Normal(stddev=given["stddev"], truncated=name == "TruncatedNormal")
    if name == "RandomUniform" and given.get("minval") == -given.get("maxval", 0):
        return Uniform(limit=given["maxval"])
    value = {"Zeros": 0.0, "Ones": 1.0, "Constant": given.get("value")}.get(name)
    if isinstance(value, int | float):
        return Constant(value=float(value))
    return refuse(column, f"initializer {name}", "Use a normal, uniform around 0 or constant one, or `pretrained` vectors")
