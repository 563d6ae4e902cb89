"""The TF-Transform preprocessing function of a spec: raw examples to ids and scaled numbers.

Ids: 0 is padding or missing, then the vocabulary, then the OOV buckets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from feature_specs import CrossedFeature, FeatureSpec, Identity, Vocabulary
from feature_specs.features import AnyEncoding, TokenFeature
from preprocessing.analyzers import Analysis
from preprocessing.crosses import crossed
from preprocessing.scaling import transformed_numbers
from preprocessing.token_values import Prepared, as_strings, derived, filled, flat, prepared, with_flat
from preprocessing.vocabularies import EMPTY_VOCABULARY

Values = Any  # a tf.Tensor [B] or [B, size] or, for lists, a tf.RaggedTensor [B, None]
PreprocessingFn = Callable[[dict[str, Values]], dict[str, Values]]


def make_preprocessing_fn(spec: FeatureSpec, analysis: Analysis) -> PreprocessingFn:
    """Returns the function that TF-Transform traces and saves."""

    def preprocessing_fn(inputs: dict[str, Values]) -> dict[str, Values]:
        outputs = transformed_numbers(spec, inputs, analysis.numbers)
        tokens = {f.name: prepared(f, inputs) for f in spec.token_features}
        for name, found in _all_ids(spec, tokens, analysis).items():
            outputs[name] = found.values
            outputs.update(found.beside)
        by_name = {name: raw.values for name, raw in tokens.items()}
        for feature in spec.features:
            if isinstance(feature, CrossedFeature):
                outputs[feature.name] = crossed(feature, by_name, outputs)
        return {column.name: outputs[column.name] for column in spec.outputs}

    return preprocessing_fn


def tokens_of(feature: TokenFeature, values: tf.Tensor) -> tf.Tensor:
    """Returns what a feature looks up for raw values [N], as the graph makes it: strings, "" where missing."""
    return as_strings(filled(feature, derived(feature, values)))


def _all_ids(spec: FeatureSpec, tokens: dict[str, Prepared], analysis: Analysis) -> dict[str, Prepared]:
    """Returns the ids of every feature of tokens that has a table."""
    ids = {}
    for table, encoding in spec.tables.items():
        members = [f.name for f in spec.token_features if f.table_name == table]
        if not members:
            continue
        flats = [flat(tokens[name].values) for name in members]
        for name, found in zip(members, _encode(flats, table, encoding, analysis), strict=True):
            ids[name] = Prepared(with_flat(tokens[name].values, found), tokens[name].beside)
            # Unknown tokens are missing here, and a list holds no missing values.
            if isinstance(encoding, Vocabulary) and encoding.num_oov_buckets == 0 and isinstance(ids[name].values, tf.RaggedTensor):
                ids[name] = ids[name].where(found != 0)
    return ids


def _encode(flats: Sequence[tf.Tensor], table: str, encoding: AnyEncoding, analysis: Analysis) -> list[tf.Tensor]:
    """Turns the values of all features of one table into ids; one lookup, so that the table exists once in the graph."""
    if isinstance(encoding, Identity):
        size = encoding.num_buckets
        return [tf.where(v == -1, tf.zeros_like(v), tf.where((v >= 0) & (v < size), v + 1, size + 1)) for v in flats]
    tokens = tf.concat([as_strings(values) for values in flats], axis=0) if len(flats) > 1 else as_strings(flats[0])
    if isinstance(encoding, Vocabulary):
        found = _looked_up(tokens, encoding, analysis.vocabulary(table))
    else:
        found = tf.strings.to_hash_bucket_fast(tokens, encoding.num_buckets)
    ids = tf.where(tokens == "", tf.zeros_like(found), found + 1)
    return tf.split(ids, [tf.size(values) for values in flats]) if len(flats) > 1 else [ids]


def _looked_up(tokens: tf.Tensor, encoding: Vocabulary, file: tf.Tensor) -> tf.Tensor:
    """Returns places in the vocabulary, counted from 0, the OOV buckets after its end; -1 for what is unknown where there are none."""
    # What stands in a vocabulary without tokens has place 0 there, and unknown tokens may be those of another one.
    first = [EMPTY_VOCABULARY if encoding.oov_token is None else str(encoding.oov_token).encode()]
    found = tft.apply_vocabulary(tf.concat([first, tokens], axis=0), file, num_oov_buckets=encoding.num_oov_buckets)
    if encoding.oov_token is not None:
        return tf.where(found[1:] == -1, found[0], found[1:])
    # Ids move up over the stand-in.
    return found[1:] - tf.cast(found[0] == 0, tf.int64)
