"""The TF-Transform preprocessing function of a spec: raw examples to ids and scaled numbers.

Ids: 0 is padding or missing, then the vocabulary, then the OOV buckets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import tensorflow as tf
import tensorflow_transform as tft

from feature_specs import FeatureSpec, Hash, Hour, Identity, MultiValuedFeature, NumericFeature, Prefix, Vocabulary, Weekday
from feature_specs.features import TokenFeature
from preprocessing.analyzers import EMPTY_VOCABULARY, means_and_deviations, vocabularies

Values = Any  # a tf.Tensor [B] or, for lists, a tf.RaggedTensor [B, None]
PreprocessingFn = Callable[[dict[str, Values]], dict[str, Values]]
_SECONDS_A_DAY = 24 * 60 * 60


def vocabulary_file(table: str) -> str:
    """Returns the name, in `transform_fn/assets`, of the vocabulary of `table`: one token a line, in the order of ids."""
    return f"vocabulary-{quote(table, safe='')}"


def make_preprocessing_fn(spec: FeatureSpec) -> PreprocessingFn:
    """Returns the function that TF-Transform traces, analyzes and saves."""

    def preprocessing_fn(inputs: dict[str, Values]) -> dict[str, Values]:
        outputs = _scaled_numbers(spec.numeric_features, inputs)
        # Cut first: what a model never sees is not counted either.
        values = {f.name: _derived(f, _filled(f, _cut(f, inputs[f.name]))) for f in spec.token_features}
        by_table = {name: [f for f in spec.token_features if f.table_name == name] for name in spec.tables}
        files = _vocabulary_files(spec, values)
        for name, encoding in spec.tables.items():
            flats = [_flat(values[f.name]) for f in by_table[name]]
            for feature, ids in zip(by_table[name], _encode(flats, encoding, files.get(name)), strict=True):
                outputs[feature.name] = _with_flat(values[feature.name], ids)
        return {f.name: outputs[f.name] for f in spec.features}

    return preprocessing_fn


def _flat(values: Values) -> tf.Tensor:
    return values.flat_values if isinstance(values, tf.RaggedTensor) else values


def _with_flat(like: Values, flat: tf.Tensor) -> Values:
    return like.with_flat_values(flat) if isinstance(like, tf.RaggedTensor) else flat


def _cut(feature: TokenFeature, values: Values) -> Values:
    """Keeps the first values of a multi-valued feature, the last, most recent, of a sequence."""
    length = getattr(feature, "max_length", None)
    if not isinstance(values, tf.RaggedTensor) or length is None:
        return values
    return values[:, :length] if isinstance(feature, MultiValuedFeature) else values[:, -length:]


def _filled(feature: TokenFeature, values: Values) -> Values:
    """Puts the declared default where a value is missing: in place of "" and -1, and into empty lists."""
    if feature.default is None:
        return values
    default = tf.constant(feature.default, _flat(values).dtype)
    if not isinstance(values, tf.RaggedTensor):
        return tf.where(_is_missing(values), default, values)
    empty = values.row_lengths() == 0
    fill = tf.RaggedTensor.from_row_lengths(tf.fill([tf.reduce_sum(tf.cast(empty, tf.int64))], default), tf.cast(empty, tf.int64))
    return tf.concat([values, fill], axis=1)


def _is_missing(values: tf.Tensor) -> tf.Tensor:
    return values == tf.constant("" if values.dtype == tf.string else -1, values.dtype)


def _derived(feature: TokenFeature, values: Values) -> Values:
    flat = _flat(values)
    match feature.derive:
        case Prefix(length=length):
            derived = tf.strings.substr(flat, 0, length)
        case Hour():
            derived = tf.where(flat == -1, flat, flat % _SECONDS_A_DAY // 3600)
        case Weekday():
            # Day 0 of Unix time was a Thursday: 3, counted from Monday.
            derived = tf.where(flat == -1, flat, (flat // _SECONDS_A_DAY + 3) % 7)
        case _:
            return values
    return _with_flat(values, derived)


def _tokens(flat: tf.Tensor) -> tf.Tensor:
    """Returns strings, integers as decimals, "" for what is missing."""
    return flat if flat.dtype == tf.string else tf.where(flat == -1, "", tf.strings.as_string(flat))


def _vocabulary_files(spec: FeatureSpec, values: dict[str, Values]) -> dict[str, tf.Tensor]:
    """Analyzes the values of every feature of a table but the histories, which only repeat those of their target."""
    tables = {name: encoding for name, encoding in spec.tables.items() if isinstance(encoding, Vocabulary)}
    counted = [f for f in spec.token_features if f not in spec.histories]
    tokens = [tf.concat([_tokens(_flat(values[f.name])) for f in counted if f.table_name == name], axis=0) for name in tables]
    deferred = vocabularies(tokens, [(vocabulary_file(name), encoding) for name, encoding in tables.items()])
    return dict(zip(tables, deferred, strict=True))


def _encode(flats: Sequence[tf.Tensor], encoding: Vocabulary | Hash | Identity, file: tf.Tensor | None) -> list[tf.Tensor]:
    """Turns the values of all features of one table into ids; one lookup, so that the table exists once in the graph."""
    if isinstance(encoding, Identity):
        size = encoding.num_buckets
        return [tf.where(flat == -1, tf.zeros_like(flat), tf.where((flat >= 0) & (flat < size), flat + 1, size + 1)) for flat in flats]
    tokens = tf.concat([_tokens(flat) for flat in flats], axis=0)
    if isinstance(encoding, Hash):
        found = tf.strings.to_hash_bucket_fast(tokens, encoding.num_buckets)
    else:
        found = _looked_up(tokens, file, encoding.num_oov_buckets)
    ids = tf.where(tokens == "", tf.zeros_like(found), found + 1)
    return tf.split(ids, [tf.size(flat) for flat in flats])


def _looked_up(tokens: tf.Tensor, file: tf.Tensor | None, num_oov_buckets: int) -> tf.Tensor:
    """Returns places in the vocabulary, counted from 0, the OOV buckets after its end."""
    found = tft.apply_vocabulary(tf.concat([[EMPTY_VOCABULARY], tokens], axis=0), file, num_oov_buckets=num_oov_buckets)
    # The stand-in has place 0 only in a vocabulary without tokens: what follows it moves up.
    return found[1:] - tf.cast(found[0] == 0, tf.int64)


def _scaled_numbers(features: Sequence[NumericFeature], inputs: dict[str, Values]) -> dict[str, Values]:
    if not features:
        return {}
    nan = tf.constant(float("nan"), tf.float32)
    # Infinity would make every mean infinite; it counts as missing, here as in serving.
    columns = [tf.where(tf.math.is_finite(inputs[f.name]), inputs[f.name], nan) for f in features]
    means, deviations = means_and_deviations(tf.stack(columns, axis=1))
    scaled = {}
    for i, (feature, column) in enumerate(zip(features, columns, strict=True)):
        default = means[i] if feature.default is None else tf.constant(feature.default, tf.float32)
        number = tf.where(tf.math.is_nan(column), default, column)
        if feature.scaling == "z_score":
            # A constant column has no deviation to divide by.
            number = (number - means[i]) / tf.where(deviations[i] > 0, deviations[i], 1.0)
        elif feature.scaling == "log1p":
            number = tf.math.log1p(tf.maximum(number, 0.0))
        scaled[feature.name] = number
    return scaled
