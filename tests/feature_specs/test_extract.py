"""Patterns of `derive: {type: extract}`: what only one of the two languages of regular expressions knows is refused, with the fix."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pydantic import ValidationError

from feature_specs import CategoricalFeature, ColonnadeError, Extract, FeatureSpec, Vocabulary
from feature_specs.patterns import problem_of

GOOD = [
    r"\((\d{4})\)$", r"(?P<year>\d+)", r"(?i)(a)", r"(?s-i:a)(b)", r"\(?=(a)", r"[(?=]([a)])", r"([^]x]+)", r"(a{1000})", "(é)", r"(\x41)",
    r"(?:a|b)(c)", r"([\w.-]+)@", r"(a*?)b", r"^([^:]+):", r"\A(a)", r"(a){2,}", r"(\.)", r"({)", r"(?m)^(\w+)$", r"(a|)", r"([\0\]])",
]  # fmt: skip
ONLY_PYTHON = [
    (r"(?=a)(b)", "lookaround"),
    (r"(?<!a)(b)", "lookaround"),
    (r"(a)\1", "backreference"),
    (r"(?P<x>a)(?P=x)", "backreference"),
    (r"(a)?(?(1)b|c)", "condition on a group"),
    (r"(a)++", "possessive"),
    (r"(a{2}+)", "possessive"),
    (r"(?>a)(b)", "atomic group"),
    (r"(?x)(a)", "flag other than i, m and s"),
    (r"(?#c)(a)", "comment"),
    (r"(a)\Z", "escape"),
    (r"(\u0041)", "escape"),
    (r"(\é)", "escape"),
    (r"(a){1001}", "repeats more than 1000 times"),
    (r"([\b])", "in the set"),
]
OTHERWISE = [
    (r"(a){,3}", r"Write \{0,n\}"),
    (r"([a[:x])", "in the set"),
    (r"a", "one group.* Received: 0 groups"),
    (r"(a)(b)", r"one group.* Received: 2 groups. Write \(\?:...\)"),
    (r"(a", "is no regular expression: missing \\)"),
    (r"([[a])", "is no regular expression: Possible nested set"),
    (r"(a)\C", r"bad escape \\C"),
]


def _re2_reads(pattern: str) -> bool:
    try:
        pc.match_substring_regex(pa.array(["x"]), pattern)
    except pa.ArrowInvalid:
        return False
    return True


@pytest.mark.parametrize("pattern", GOOD)
def test_what_both_languages_read_is_taken(pattern: str) -> None:
    assert problem_of(pattern) is None
    assert _re2_reads(pattern)
    assert _re2_reads(Extract(pattern=pattern).whole)


@pytest.mark.parametrize(("pattern", "message"), ONLY_PYTHON)
def test_what_python_alone_reads_is_refused(pattern: str, message: str) -> None:
    re.compile(pattern)
    assert not _re2_reads(pattern)
    assert re.search(message, str(problem_of(pattern)))


@pytest.mark.parametrize(("pattern", "message"), OTHERWISE)
def test_what_is_broken_or_ambiguous_is_refused(pattern: str, message: str) -> None:
    assert re.search(message, str(problem_of(pattern)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int64", "derive": {"type": "extract", "pattern": "(a)"}}, "'f': derive 'extract' takes dtype 'string'"),
        ({"derive": {"type": "extract", "pattern": "(?=a)(b)"}}, r"'f': derive 'extract': '\(\?=' in the pattern '.*' is not read by RE2"),
        ({"derive": {"type": "extract", "pattern": "(a)"}, "default": "x"}, "'f': default .* should extract something. Received: 'x'"),
    ],
)
def test_errors_name_the_feature(options: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CategoricalFeature(name="f", encoding=Vocabulary(), **options)


def test_yaml_and_json_keep_the_pattern() -> None:
    line = r"{kind: categorical, name: year, derive: {type: extract, pattern: '\((\d{4})\)$'}, encoding: {type: vocabulary}}"
    spec = FeatureSpec.from_yaml(f"name: x\nfeatures: [{line}]\nlabel: {{column: y}}")
    assert spec.token_features[0].derive == Extract(pattern=r"\((\d{4})\)$")
    assert FeatureSpec.from_yaml(spec.to_yaml()) == FeatureSpec.from_json(spec.to_json()) == spec
    with pytest.raises(ColonnadeError, match="feature 'year': derive 'extract': the pattern 'a' should have one group"):
        FeatureSpec.from_yaml(spec.to_yaml().replace(r"\((\d{4})\)$", "a"))
