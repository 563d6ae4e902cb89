"""What becomes of raw tokens before they get ids: derived, cut, filled. Plain TensorFlow, inside the transform graph."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from feature_specs import Extract, Hour, MultiValuedFeature, Prefix, SequenceFeature, Weekday
from feature_specs.features import TokenFeature

Values = Any  # a tf.Tensor [B] or, for lists, a tf.RaggedTensor [B, None]
_SECONDS_A_DAY = 24 * 60 * 60


class Prepared(NamedTuple):
    """The values of one feature.

    Attributes:
        values: Tokens: a tf.Tensor [B] or a tf.RaggedTensor [B, None].
        beside: A weight or a step for each value, of the same layout, by column name; at most one.
    """

    values: Values
    beside: dict[str, tf.RaggedTensor]

    def where(self, keep: tf.Tensor) -> Prepared:
        """Returns the values of lists for which `keep`, bool [values], holds, and what is beside them."""
        mask = self.values.with_flat_values(keep)
        return Prepared(
            tf.ragged.boolean_mask(self.values, mask), {name: tf.ragged.boolean_mask(b, mask) for name, b in self.beside.items()}
        )


def prepared(feature: TokenFeature, inputs: dict[str, Values]) -> Prepared:
    """Returns the values of a feature as they are looked up, counted and crossed."""
    values = inputs[feature.name]
    # With the very row splits of the values: what is beside them is aligned.
    beside = {column.name: values.with_flat_values(inputs[column.name].flat_values) for column in feature.raw_inputs[1:]}
    raw = Prepared(with_flat(values, derived(feature, flat(values))), beside)
    if isinstance(feature.derive, Extract) and isinstance(values, tf.RaggedTensor):
        # What does not match is missing, and a list holds no missing values.
        raw = raw.where(~is_missing(raw.values.flat_values))
    return _filled(feature, _cut(feature, raw))


def flat(values: Values) -> tf.Tensor:
    """Returns all values of a column in one row."""
    return values.flat_values if isinstance(values, tf.RaggedTensor) else values


def with_flat(like: Values, values: tf.Tensor) -> Values:
    """Returns a column of the rows of `like` with other values."""
    return like.with_flat_values(values) if isinstance(like, tf.RaggedTensor) else values


def is_missing(values: tf.Tensor) -> tf.Tensor:
    """Returns the mask of the values that are missing: "" and -1."""
    return values == tf.constant("" if values.dtype == tf.string else -1, values.dtype)


def as_strings(values: tf.Tensor) -> tf.Tensor:
    """Returns strings, integers as decimals, "" for what is missing."""
    return values if values.dtype == tf.string else tf.where(values == -1, "", tf.strings.as_string(values))


def _cut(feature: TokenFeature, raw: Prepared) -> Prepared:
    if not isinstance(feature, MultiValuedFeature | SequenceFeature):
        return raw
    if isinstance(feature, SequenceFeature) and feature.value_delimiter is not None:
        return _cut_steps(feature, raw)
    length = feature.max_length
    if length is None:
        return raw
    part = slice(None, length) if feature.keep == "first" else slice(-length, None)
    return Prepared(raw.values[:, part], {name: values[:, part] for name, values in raw.beside.items()})


def _cut_steps(feature: SequenceFeature, raw: Prepared) -> Prepared:
    """Keeps the values of `max_length` steps and numbers these from 0; a step without values is none."""
    rows, given = raw.values.value_rowids(), raw.beside[feature.steps_name].flat_values
    begins = tf.concat([tf.ones_like(rows[:1], tf.bool), (rows[1:] != rows[:-1]) | (given[1:] != given[:-1])], axis=0)
    number = tf.cumsum(tf.cast(begins, tf.int64))
    step = number - tf.gather(tf.math.segment_min(number, rows), rows)
    if feature.keep == "last":
        step -= tf.maximum(tf.gather(tf.math.segment_max(step, rows), rows) + 1 - feature.max_length, 0)
    kept = Prepared(raw.values, {feature.steps_name: raw.values.with_flat_values(step)})
    return kept.where((step >= 0) & (step < feature.max_length))


def _filled(feature: TokenFeature, raw: Prepared) -> Prepared:
    """Puts the declared default where a value is missing, into empty lists too (with weight 1, as step 0)."""
    if feature.default is None or not isinstance(raw.values, tf.RaggedTensor):
        return Prepared(filled(feature, raw.values), raw.beside)
    empty = tf.cast(raw.values.row_lengths() == 0, tf.int64)

    def fill(lists: tf.RaggedTensor, value: tf.Tensor) -> tf.RaggedTensor:
        return tf.concat([lists, tf.RaggedTensor.from_row_lengths(tf.fill([tf.reduce_sum(empty)], value), empty)], axis=1)

    values = fill(raw.values, _default(feature, raw.values.dtype))
    neutral = {name: tf.constant(1 if lists.dtype.is_floating else 0, lists.dtype) for name, lists in raw.beside.items()}
    beside = {name: values.with_flat_values(fill(lists, neutral[name]).flat_values) for name, lists in raw.beside.items()}
    return Prepared(values, beside)


def filled(feature: TokenFeature, values: tf.Tensor) -> tf.Tensor:
    """Puts what is derived from the declared default in place of "" and -1."""
    return values if feature.default is None else tf.where(is_missing(values), _default(feature, values.dtype), values)


def _default(feature: TokenFeature, dtype: tf.DType) -> tf.Tensor:
    """Returns the declared default, a raw value, as what is derived from it."""
    return derived(feature, tf.constant([feature.default], dtype))[0]


def derived(feature: TokenFeature, values: tf.Tensor) -> tf.Tensor:
    """Returns what is derived from raw values [N]; missing stays missing."""
    match feature.derive:
        case Prefix(length=length):
            return tf.strings.substr(values, 0, length)
        case Extract():
            return tf.strings.regex_replace(values, feature.derive.whole, r"\1", replace_global=False)
        case Hour():
            return tf.where(values == -1, values, values % _SECONDS_A_DAY // 3600)
        case Weekday():
            # Day 0 of Unix time was a Thursday: 3, counted from Monday.
            return tf.where(values == -1, values, (values // _SECONDS_A_DAY + 3) % 7)
    return values
