"""Vocabulary files: the counts of all shards added up, a table at a time. No TensorFlow here, so worker processes can do it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from feature_specs import FeatureSpec, Vocabulary
from feature_specs.features import TokenFeature
from preprocessing.counting import count_line_ends, counted_features, merged, ordered_vocabulary, read_counts, write_lines

# TensorFlow reads neither an empty file nor an empty line: this one stands in a file without tokens, and has no id.
EMPTY_VOCABULARY = b"\x00(no tokens)"
AsTokens = Callable[[TokenFeature, pa.Table, int], pa.Table]


def vocabulary_file(table: str) -> str:
    """Returns the name, in `transform_fn/assets`, of the vocabulary of `table`: one token a line, in the order of ids."""
    return f"vocabulary-{quote(table, safe='')}"


def with_stand_in(tokens: pa.Array) -> pa.Array:
    """Returns the lines of a vocabulary file."""
    return tokens if len(tokens) else pa.array([EMPTY_VOCABULARY], pa.binary())


@dataclass(frozen=True)
class VocabularyPlan:
    """What a worker has to know.

    Attributes:
        spec: The data set.
        staging: It has the folders `counts`, where shards left theirs, and `vocabularies`.
        shards: Numbers of the shards.
    """

    spec: FeatureSpec
    staging: str
    shards: tuple[int, ...]

    def path(self, table: str) -> str:
        """Returns where the vocabulary of a table is written."""
        return f"{self.staging}/vocabularies/{vocabulary_file(table)}"

    def members(self, table: str) -> list[TokenFeature]:
        """Returns the features whose tokens make the vocabulary of a table."""
        return [feature for feature in counted_features(self.spec) if feature.table_name == table]


def is_token(feature: TokenFeature) -> bool:
    """Whether raw values of a feature are its tokens as they are, without the transform graph."""
    return feature.dtype == "string" and feature.derive is None and feature.default is None


def write_vocabulary(plan: VocabularyPlan, table: str, as_tokens: AsTokens | None = None) -> dict[str, Any]:
    """Adds up the tokens of all features of a table over all shards, and writes them in the order of their ids.

    Args:
        plan: What there is.
        table: The table.
        as_tokens: Turns counts of raw values into counts of tokens, where these differ.
    """
    encoding = plan.spec.tables[table]
    assert isinstance(encoding, Vocabulary)  # noqa: S101 (for the type checker)
    paths = [f"{plan.staging}/counts/{shard:05d}.arrow" for shard in plan.shards]
    parts = []
    for feature in plan.members(table):
        counts, empty = read_counts(paths, feature)
        parts.append(counts if as_tokens is None or is_token(feature) else as_tokens(feature, counts, empty))
    counts = merged(parts)
    tokens = ordered_vocabulary(counts, encoding)
    write_lines(plan.path(table), with_stand_in(tokens))
    return {"table": table, "size": len(tokens), "line_ends": count_line_ends(counts)}
