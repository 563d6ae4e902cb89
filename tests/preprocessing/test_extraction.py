"""`derive: {type: extract}` from the raw rows to the ids: what does not match is missing everywhere, in the job and in the graph alike."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import example, given
from hypothesis import strategies as st

from feature_specs import CategoricalFeature, ColonnadeError, Extract, FeatureSpec, SequenceFeature, Vocabulary
from preprocessing.extraction import extracted, without_mismatches
from preprocessing.pipeline import build, transform_only
from preprocessing.token_values import derived

YEAR = Extract(pattern=r"\((\d{4})\)$")
SPEC = r"""
name: films
features:
- {kind: categorical, name: year, column: title, derive: {type: extract, pattern: '\((\d{4})\)$'}, encoding: {type: vocabulary}}
- {kind: categorical, name: filled, column: title, derive: {type: extract, pattern: '\((\d{4})\)$'}, default: Up (2009),
   encoding: {type: vocabulary, tokens: ['2009', '1999']}}
- {kind: sequence, name: years, history_of: year, table: year, derive: {type: extract, pattern: '\((\d{4})\)$'}, max_length: 3}
- {kind: multi_valued, name: shops, weights: amounts, derive: {type: extract, pattern: '^(\w+):'}, encoding: {type: vocabulary},
   max_length: 2}
- {kind: sequence, name: steps, derive: {type: extract, pattern: '^(\w+):'}, encoding: {type: hash, num_buckets: 9},
   value_delimiter: ',', max_length: 2}
- {kind: crossed, name: year_x_filled, inputs: [year, filled], num_buckets: 10}
label: {column: y}
keys: {user: u, time: t}
split: {fractions: [1, 0, 0]}
source: {rows: {format: json_lines}}
"""
TITLES = ["Up (2009)", "Café (1999)", "Two\nlines (1999)", "Up (2009)\n", "", "(1999) again", "none"]
SHOPS = [["a:1", "?", "b:2", "a:3"], ["?"], [], ["b:1"], ["a:1"], ["a:2"], ["a:3", "x"]]
AMOUNTS = [[1, 2, 3, 4], [5], [], [6], [7], [8], [9, 10]]
STEPS = [[["?"], ["a:1"], ["b:1", "?"]], [["?"]], [], [["c:1"]], [], [], []]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("films")
    columns = {"title": TITLES, "shops": SHOPS, "amounts": AMOUNTS, "steps": STEPS}
    cells = zip(*columns.values(), strict=True)
    rows = [dict(zip(columns, row, strict=True)) | {"y": i % 2, "u": "u", "t": i} for i, row in enumerate(cells)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return build(FeatureSpec.from_yaml(SPEC), folder / "data", [str(folder / "rows.jsonl")], show_progress=False), folder


def _by_time(paths: list[Path], column: str) -> list[Any]:
    table = pa.concat_tables(pq.read_table(path) for path in paths)
    return table.sort_by("_time")[column].to_pylist()


def _hashed(*tokens: str) -> list[int]:
    return [1 + int(tf.strings.to_hash_bucket_fast(token, 9)) for token in tokens]


def test_what_does_not_match_is_missing(built: tuple[Any, Path]) -> None:
    data, _ = built
    rows = data.shards("train")
    # 1999 twice, 2009 once: a line end after the bracket is no match, and neither is a bracket at the beginning.
    assert (data.transform_fn / "assets" / "vocabulary-year").read_bytes() == b"1999\n2009\n"
    assert _by_time(rows, "year") == [2, 1, 1, 0, 0, 0, 0]
    assert _by_time(rows, "filled") == [1, 2, 2, 1, 1, 1, 1]
    # A film without a year is no event.
    assert _by_time(rows, "years") == [[], [2], [2, 1], [2, 1, 1], [2, 1, 1], [2, 1, 1], [2, 1, 1]]
    # `?` is left out before the list is cut: of a, b, a the third value is not seen, so a and b are in 4 rows and in 2.
    assert _by_time(rows, "shops") == [[1, 2], [], [], [2], [1], [1], [1]]
    assert _by_time(rows, "shops_weights") == [[1, 3], [], [], [6], [7], [8], [9]]
    assert _by_time(rows, "steps") == [_hashed("a", "b"), [], [], _hashed("c"), [], [], []]
    assert _by_time(rows, "steps_steps") == [[0, 1], [], [], [0], [], [], []]
    assert [value > 0 for value in _by_time(rows, "year_x_filled")] == [True, True, True, False, False, False, False]


def test_statistics_tell_what_was_extracted(built: tuple[Any, Path]) -> None:
    features = built[0].statistics["features"]
    year, steps = features["year"]["train"], features["steps"]["train"]
    assert year["missing_share"] == pytest.approx(4 / 7)
    assert (year["top"], year["distinct"], year["oov_share"]) == ([["1999", 2], ["2009", 1]], 2, 0)
    assert sorted(steps["top"]) == [["a", 1], ["b", 1], ["c", 1]]
    assert steps["missing_share"] == pytest.approx(5 / 7)


def test_typed_rows_get_the_same_ids(built: tuple[Any, Path], tmp_path: Path) -> None:
    """Rows that a program made are not read by the job: here the graph alone finds out what does not match."""
    data, _ = built
    # The one step without a match is still there, and is none.
    flat = [["?", "a:1", "b:1", "?"], ["?"], [], ["c:1"], [], [], []]
    of_step = pa.array([[0, 1, 2, 2], [0], [], [0], [], [], []], pa.list_(pa.int64()))
    typed = pa.table({"year": TITLES, "filled": TITLES, "shops": SHOPS, "shops_weights": AMOUNTS, "steps": flat, "steps_steps": of_step})
    paths = transform_only(FeatureSpec.from_yaml(SPEC), typed, data.transform_fn, tmp_path)
    rows = pa.concat_tables(pq.read_table(path) for path in paths)
    for column in ("year", "filled", "shops", "shops_weights", "steps", "steps_steps", "year_x_filled"):
        assert rows[column].to_pylist() == _by_time(data.shards("train"), column), column


LINES = [b"", b"(1999)", b"a (1999)", b"\xc3\xa9 (1999)", b"\xe9 (1999)", b"\xff(2001)\xff", b"\n(1999)", b"(1999)\n", b"(1) (1999) (2000)"]


@given(st.lists(st.binary(max_size=12) | st.sampled_from(LINES) | st.from_regex(rb"\A.*\([0-9]{4}\)\Z"), max_size=8))
@example(LINES)
def test_the_job_and_the_graph_extract_the_same(values: list[bytes]) -> None:
    feature = CategoricalFeature(name="year", derive=YEAR, encoding=Vocabulary())
    by_graph = derived(feature, tf.constant(values, tf.string)).numpy().tolist()
    assert extracted(YEAR, pa.array(values, pa.binary())).to_pylist() == by_graph
    # Of bytes, `re` agrees; `$` of RE2 is its `\Z`.
    by_hand = [re.search(rb"\(([0-9]{4})\)\Z", value) for value in values]
    assert by_graph == [found[1] if found else b"" for found in by_hand]


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (r"(a|ab)", "xab", b"a"),  # the first alternative
        (r"a|x(b)?", "xa", b""),  # the first match has no such group
        (r"(\w+)$", "Zoë", b""),  # ASCII, and ë is at the end
        (r"(.)$", "Zoë", "ë".encode()),  # characters, not bytes
        (r"(?m)^(b.)$", "a\nbc\nd", b"bc"),
        (r"(?i)the (\w+)", "On THE road", b"road"),
        (r"(\d+)", "12 345", b"12"),
    ],
)
def test_patterns(pattern: str, text: str, expected: bytes) -> None:
    derive = Extract(pattern=pattern)
    feature = CategoricalFeature(name="x", derive=derive, encoding=Vocabulary())
    assert derived(feature, tf.constant([text])).numpy().tolist() == [expected]
    assert extracted(derive, pa.array([text.encode()])).to_pylist() == [expected]


def test_a_sliced_column_and_an_empty_one() -> None:
    feature = SequenceFeature(name="x", derive=Extract(pattern="(a)"), encoding=Vocabulary())
    lists = pa.array([[b"z"], [b"a", b"z", b"ab"], [b"z"], []], pa.list_(pa.binary()))
    assert without_mismatches(feature, (lists.slice(1),))[0].to_pylist() == [[b"a", b"ab"], [], []]
    assert without_mismatches(feature, (lists.slice(0, 0),))[0].to_pylist() == []
    single = CategoricalFeature(name="x", derive=Extract(pattern="(a)"), encoding=Vocabulary())
    assert without_mismatches(single, (pa.array([b"z", b"ab", b""], pa.binary()).slice(1),))[0].to_pylist() == [b"ab", b""]


def test_a_pattern_too_large_for_re2_is_refused_before_rows_are_read(tmp_path: Path) -> None:
    nested = SPEC.replace(r"'^(\w+):'", "'((?:a{1000}){1000})'")
    with pytest.raises(ColonnadeError, match=r"feature 'shops': RE2 does not take the pattern .*invalid repetition size.* Make it simpler"):
        build(FeatureSpec.from_yaml(nested), tmp_path / "data", [str(tmp_path / "missing.jsonl")], show_progress=False)
    assert not list(tmp_path.glob("data/*.parquet"))
