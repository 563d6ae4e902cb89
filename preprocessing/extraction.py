"""What `derive: {type: extract}` takes from raw values, in Arrow: the same RE2 pattern as in the transform graph. No TensorFlow here.

A value without a match is missing from the first: it is no event of a history, counts for no vocabulary and is in no list.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_specs import ColonnadeError, Extract, FeatureSpec
from feature_specs.features import AnyFeature, TokenFeature
from preprocessing.sources.casting import lists, numbered


def check_patterns(spec: FeatureSpec) -> None:
    """Has RE2 read every pattern, so that the job does not fail after it has read the rows.

    Raises:
        ColonnadeError: RE2 does not take a pattern.
    """
    for feature in spec.token_features:
        if isinstance(feature.derive, Extract):
            try:
                extracted(feature.derive, pa.array([b""], pa.binary()))
            except pa.ArrowInvalid as error:
                raise ColonnadeError(
                    f"feature {feature.name!r}: RE2 does not take the pattern {feature.derive.pattern!r}: {error}. Make it simpler."
                ) from error


def extracted(derive: Extract, values: pa.Array) -> pa.Array:
    """Returns what is extracted from values [N], binary; empty where nothing is."""
    # As text that nobody validates: of binary values Arrow has RE2 read bytes, not characters.
    text = values.view(pa.string())
    return pc.replace_substring_regex(text, derive.whole, r"\1", max_replacements=1).view(pa.binary())


def without_mismatches(feature: AnyFeature, columns: tuple[pa.Array, ...]) -> tuple[pa.Array, ...]:
    """Makes the raw values of a feature missing from which nothing is extracted, with what is beside them; leaves other features alone.

    Args:
        feature: Whose values they are.
        columns: Those of `feature.raw_inputs`, each [N].
    """
    if not isinstance(feature, TokenFeature) or not isinstance(feature.derive, Extract):
        return columns
    values = columns[0]
    coded = (values.flatten() if feature.is_list else values).dictionary_encode()
    matches = pc.greater(pc.binary_length(extracted(feature.derive, coded.dictionary)), 0).take(coded.indices)
    if not feature.is_list:
        return (pc.if_else(matches, values, pa.scalar(b"", pa.binary())),)
    rows = np.repeat(np.arange(len(values)), np.diff(values.offsets.to_numpy()))[matches.to_numpy(zero_copy_only=False)]
    kept = [column.flatten().filter(matches) for column in columns]
    # A step without values is none.
    steps = [pa.array(numbered(rows, c.to_numpy())) if pa.types.is_integer(c.type) else c for c in kept[1:]]
    return tuple(lists(rows, column, len(values)) for column in (kept[0], *steps))
