"""Vectors, weights and steps: from clients, from files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from feature_specs import FeatureSpec
from preprocessing.examples import from_columns
from serving import signatures
from serving.rejects import Rejects
from serving.rows import read_batches
from serving.synthetic import synthetic_rows

SPEC = FeatureSpec.from_yaml("""
name: layouts
features:
- {kind: numeric, name: v, size: 2, delimiter: ';', missing_indicator: true}
- {kind: multi_valued, name: m, weights: w, encoding: {type: hash, num_buckets: 9}}
- {kind: sequence, name: s, dtype: int64, value_delimiter: ' ', encoding: {type: hash, num_buckets: 9}}
- {kind: numeric_sequence, name: n}
- {kind: categorical, name: c, only_crossed: true}
- {kind: crossed, name: x, inputs: [c, m], num_buckets: 7}
label: {column: y}
""")
NAN = float("nan")


def as_lists(raw: Any) -> dict[str, Any]:
    return {name: values.to_list() if isinstance(values, tf.RaggedTensor) else values.numpy().tolist() for name, values in raw.items()}


def tensors(**given: Any) -> dict[str, tf.Tensor]:
    """Returns inputs of `predict`, missing but for `given`."""
    missing = {"v": [[NAN, NAN]], "m": [[""]], "m_weights": [[NAN]], "s": [[-1]], "s_steps": [[-1]], "n": [[NAN]], "c": [""]}
    types = {column.name: column.dtype for column in SPEC.raw_inputs}
    return {name: tf.constant(given.get(name, default), types[name]) for name, default in missing.items()}


def test_signatures_have_one_input_a_raw_column() -> None:
    shapes = {name: (tuple(spec.shape), spec.dtype.name) for name, spec in signatures.raw_specs(SPEC).items()}
    assert shapes == {
        "v": ((None, 2), "float32"),
        "m": ((None, None), "string"),
        "m_weights": ((None, None), "float32"),
        "s": ((None, None), "int64"),
        "s_steps": ((None, None), "int64"),
        "n": ((None, None), "float32"),
        "c": ((None,), "string"),
    }
    assert list(signatures.parsing_spec(SPEC)) == list(shapes)
    function = signatures.taking_raw_tensors(SPEC, lambda given: signatures.from_tensors(SPEC, given))
    assert as_lists(function())["m"] == [[]]
    np.testing.assert_equal(as_lists(function(n=tf.constant([[1.0], [NAN]])))["v"], [[NAN, NAN]] * 2)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([[1.0, 2.0, 3.0], [4.0, 5.0, NAN]], [[1.0, 3.0], [4.0]]),
        # A missing weight is 1; weights may be narrower, or not there at all.
        ([[NAN, 2.0, 3.0], [np.inf, NAN, NAN]], [[1.0, 3.0], [1.0]]),
        ([[7.0], [8.0]], [[7.0, 1.0], [8.0]]),
        ([[NAN]], [[1.0, 1.0], [1.0]]),
        ([[1.0, 2.0, 3.0, NAN], [4.0, 5.0, NAN, NAN]], [[1.0, 3.0], [4.0]]),
    ],
)
def test_weights_stay_beside_their_values(weights: list[Any], expected: list[Any]) -> None:
    raw = signatures.from_tensors(SPEC, tensors(m=[["a", "", "b"], ["c", "", ""]], m_weights=weights))
    assert raw["m"].to_list() == [[b"a", b"b"], [b"c"]]
    assert raw["m_weights"].to_list() == expected
    assert raw["m_weights"].row_splits is raw["m"].row_splits


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([[0, 0, 1], [2, -1, -1]], [[0, 0, 1], [2]]),
        # Without steps every value is one, row by row.
        ([[-1]], [[0, 1, 2], [0]]),
        ([[-1, -1, -1], [3, -1, -1]], [[0, 1, 2], [3]]),
    ],
)
def test_steps_stay_beside_their_values(steps: list[Any], expected: list[Any]) -> None:
    raw = signatures.from_tensors(SPEC, tensors(s=[[7, 8, 9], [7, -1, -1]], s_steps=steps))
    assert raw["s_steps"].to_list() == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"m": [["a", "b"]], "m_weights": [[1.0, 2.0, 3.0]]}, "'m_weights' should have no more places than 'm'"),
        ({"s": [[7, 8]], "s_steps": [[1, 0]]}, "'s_steps' should hold a step from 0 on for each value, ascending"),
        ({"s": [[7, 8]], "s_steps": [[0, -1]]}, "'s_steps' should hold a step"),
        ({"s": [[7]], "s_steps": [[-7]]}, "'s_steps' should hold a step"),
        ({"v": [[1.0, 2.0]] * 2, "n": [[1.0]] * 3}, "same number of rows, or one"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signatures.from_tensors(SPEC, tensors(**given))


def _example(**values: Any) -> bytes:
    example = tf.train.Example()
    for name, value in values.items():
        feature = example.features.feature[name]
        if isinstance(value[0], str):
            feature.bytes_list.value.extend([v.encode() for v in value])
        elif isinstance(value[0], float):
            feature.float_list.value.extend(value)
        else:
            feature.int64_list.value.extend(value)
    return example.SerializeToString()


def test_examples_may_leave_anything_out() -> None:
    examples = [
        _example(v=[1.0, NAN], m=["a", "", "b"], m_weights=[1.0, 2.0, NAN], s=[7, 8], s_steps=[0, 0], n=[1.0, NAN, 2.0]),
        _example(m=["a", "b"], s=[7, -1, 8]),
        _example(),
    ]
    raw = as_lists(signatures.from_examples(SPEC, tf.constant(examples)))
    np.testing.assert_equal(
        raw,
        {
            "v": [[1.0, NAN], [NAN, NAN], [NAN, NAN]],
            "m": [[b"a", b"b"], [b"a", b"b"], []],
            "m_weights": [[1.0, 1.0], [1.0, 1.0], []],
            "s": [[7, 8], [7, 8], []],
            "s_steps": [[0, 0], [0, 1], []],
            "n": [[1.0, 2.0], [], []],
            "c": [b"", b"", b""],
        },
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"v": [1.0]}, "'v' should hold 2 values an example, or none"),
        ({"m": ["a", "b"], "m_weights": [1.0]}, "'m_weights' should hold as many values an example as 'm', or none"),
        ({"c": ["a", "b"]}, "'c' should hold one value"),
    ],
)
def test_examples_that_do_not_fit_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signatures.from_examples(SPEC, tf.constant([_example(**values)]))


def test_made_up_rows_go_both_ways() -> None:
    raw = synthetic_rows(SPEC, rows=50)
    for back in (signatures.from_tensors(SPEC, signatures.to_tensors(raw)), signatures.from_examples(SPEC, signatures.to_examples(raw))):
        np.testing.assert_equal(as_lists(back), as_lists(raw))


def test_scorers_get_lists_padded_by_what_they_hold() -> None:
    none = tf.RaggedTensor.from_row_lengths(tf.zeros([0]), [0, 0])
    ids = tf.RaggedTensor.from_row_lengths(tf.constant([3, 4, 5], tf.int64), [1, 2])
    transformed = {
        "v": tf.zeros([2, 2]),
        "v_missing": tf.zeros([2]),
        "m": ids,
        "m_weights": ids.with_flat_values(tf.constant([0.5, 1.0, 2.0])),
        "s": ids,
        "s_steps": ids.with_flat_values(tf.constant([0, 0, 1], tf.int64)),
        "n": none,
        "x": ids,
    }
    dense = {name: values.numpy().tolist() for name, values in signatures.to_scorer_inputs(SPEC, transformed).items()}
    expected = {"m": [[3, 0], [4, 5]], "m_weights": [[0.5, NAN], [1.0, 2.0]], "s": [[3, 0], [4, 5]], "s_steps": [[0, -1], [0, 1]]}
    np.testing.assert_equal({name: dense[name] for name in (*expected, "n")}, {**expected, "n": [[NAN], [NAN]]})


CSV = """v,m,w,s,n,c,y
1;2,a|b,2|3,1 2|3,1|2,p,1
;5,a||b,|4|5,,,,1
,,,|7||8 9,nan|3,q,1
3;x,a,1,1,1,p,1
1;2;3,a,1,1,1,p,1
1;2,a|b,1,1,1,p,1
1;2,a,x,1,1,p,1
1;2,a,,1 x,1,p,1
1;2,a,,1,1|z,p,1
"""
GOOD = {
    "v": [[1, 2], [NAN, 5], [NAN, NAN]],
    "m": [[b"a", b"b"], [b"a", b"b"], []],
    "m_weights": [[2, 3], [1, 5], []],
    "s": [[1, 2, 3], [], [7, 8, 9]],
    "s_steps": [[0, 0, 1], [], [0, 1, 1]],
    "n": [[1, 2], [], [3]],
    "c": [b"p", b"", b"q"],
}


def read(path: Path) -> tuple[dict[str, list[Any]], list[dict[str, Any]]]:
    raw: dict[str, list[Any]] = {column.name: [] for column in SPEC.raw_inputs}
    aside = path.with_suffix(".rejected")
    with Rejects(aside) as rejects:
        for batch in read_batches(path, SPEC, rejects, 4):
            for name, values in as_lists(batch.raw).items():
                raw[name] += values
    return raw, [json.loads(line) for line in aside.read_text().splitlines()] if aside.exists() else []


def test_text_is_read_as_the_job_reads_it(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(CSV)
    raw, rejected = read(tmp_path / "rows.csv")
    np.testing.assert_equal(raw, GOOD)
    assert [record["line"] for record in rejected] == [5, 6, 7, 8, 9, 10]
    reasons = {record["line"]: record["reason"] for record in rejected}
    assert reasons[5] == "column 'v': expected 2 of float32, received '3;x'"
    assert reasons[7] == "column 'm': expected list of string with as many weights in column 'w', received 'a|b'"
    lines = [line.split(",") for line in CSV.splitlines()]
    cells = {name: pa.array([line[i].encode() or None for line in lines[1:]], pa.binary()) for i, name in enumerate(lines[0])}
    examples, reasons_of_job = from_columns(SPEC, cells)
    assert sorted(reasons_of_job) == [3, 4, 5, 6, 7, 8]
    assert reasons_of_job[3] == "column 'v': '3;x' is not 2 finite numbers separated by ';'"
    assert reasons_of_job[5] == "column 'm': 'a|b' is not a list of values with their weights in column 'w'"
    assert reasons_of_job[7] == "column 's': '1 x' is not integers separated by '|'"
    np.testing.assert_equal(examples.slice(0, 3).drop_columns("label").to_pydict(), GOOD)


def test_json_lines_may_mix_everything(tmp_path: Path) -> None:
    records = [
        {"v": [1, 2], "m": ["a", "b"], "w": [2, 3.0], "s": [[1, 2], [3]], "n": [1, "2"], "c": "p"},
        {"v": [None, "5"], "m": ["a", None, "b"], "m_weights": "ignored", "w": "|4|5", "s": None, "n": [], "c": None},
        {"v": None, "m": "", "w": "", "s": [[], 7, None, "8 9"], "n": "nan|3", "c": "q"},
        {"v": [1, 2, 3], "c": "bad"},
        {"v": 7, "c": "bad"},
        {"m": [["a"]], "c": "bad"},
        {"s": [[1, "x"]], "c": "bad"},
    ]
    del records[1]["m_weights"]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    raw, rejected = read(tmp_path / "rows.jsonl")
    np.testing.assert_equal(raw, GOOD)
    assert [record["line"] for record in rejected] == [4, 5, 6, 7]


def test_parquet_with_columns_of_the_raw_names(tmp_path: Path) -> None:
    table = pa.table(
        {
            "v": pa.array([[1, 2], [None, 5], None], pa.list_(pa.float64())),
            "m": pa.array([["a", "b"], ["a", "", "b"], []], pa.list_(pa.string())),
            "m_weights": pa.array([[2, 3], [None, 4, 5], None], pa.list_(pa.int32())),
            "s": pa.array([[[1, 2], [3]], None, [[7], [], [8, 9]]], pa.list_(pa.list_(pa.int16()))),
            "n": pa.array([[1, 2], [], [NAN, 3]], pa.large_list(pa.float32())),
            "c": ["p", None, "q"],
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    raw, rejected = read(tmp_path / "rows.parquet")
    np.testing.assert_equal(raw, GOOD)
    assert rejected == []


def test_a_list_of_one_is_a_value(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [{"c": ["p"]}, {"c": []}, {"c": None}, {"c": ["p", "q"]}]
    for name, rows in {"lists": records, "mixed": [*records, {"c": "r"}, {"c": [[1]]}]}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        raw, rejected = read(tmp_path / f"{name}.jsonl")
        assert raw["c"] == [b"p", b"", b"", *([b"r"] if name == "mixed" else [])]
        assert [record["line"] for record in rejected] == ([4] if name == "lists" else [4, 6])
