"""TF Serving's REST API, with bodies from its documentation and written by its sources (json_tensor.cc, http_rest_api_handler.cc)."""

from __future__ import annotations

import gzip
import logging
import time
import urllib.request
from typing import Any

import pytest
from toy_server import ask, predict

from serving.server import Server

MODEL = "/v1/models/default"


def test_the_documentation_s_predict_call(server: Server) -> None:
    assert predict(server, b'{"instances": [1.0,2.0,5.0]}') == {"predictions": [3.5, 4.0, 5.5]}
    assert predict(server, b'{"inputs": [1.0,2.0,5.0]}') == {"outputs": [3.5, 4.0, 5.5]}


def test_the_documentation_s_regress_call(server: Server) -> None:
    body = b'{"signature_name": "tensorflow/serving/regress", "examples": [{"x": 1.0}, {"x": 2.0}]}'
    assert ask(server, MODEL + ":regress", body) == (200, {"results": [3.5, 4.0]})


def test_the_documentation_s_status_call(server: Server) -> None:
    wanted = {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]}
    assert ask(server, MODEL) == (200, wanted)
    assert ask(server, MODEL + "/versions/1") == (200, wanted)


def test_the_documentation_s_error(server: Server) -> None:
    status, answer = ask(server, "/v1/models/half:predict", b'{"instances": [1.0,5.0]}')
    assert status == 404
    assert list(answer) == ["error"]
    assert answer["error"].startswith("Servable not found for request: Latest(half)")


def test_classify_gives_pairs_of_label_and_score(server: Server) -> None:
    body = {"signature_name": "classify", "examples": [{"x": 0.75}, {}]}
    assert ask(server, MODEL + ":classify", body) == (200, {"results": [[["no", 0.25], ["yes", 0.75]], [["no", 0.75], ["yes", 0.25]]]})


def test_context_is_part_of_every_example(server: Server) -> None:
    body = {
        "signature_name": "tensorflow/serving/regress",
        "context": {"x": [4.0]},
        "examples": [{"other": "a"}, {"other": {"b64": "AA=="}}],
    }
    assert ask(server, MODEL + ":regress", body) == (200, {"results": [5.0, 5.0]})


def test_named_inputs_in_row_format(server: Server) -> None:
    rows = [{"name": "foo", "age": 7, "ids": [1, 2]}, {"name": {"b64": "YmFy"}, "age": 0.5, "ids": [3, -1]}]
    assert predict(server, {"signature_name": "predict", "instances": rows}) == {
        "predictions": [
            {"age": 7.0, "name": "foo", "name_bytes": {"b64": "Zm9v"}, "pair": [1.0, 2.0], "total": 3, "version": 1},
            {"age": 0.5, "name": "bar", "name_bytes": {"b64": "YmFy"}, "pair": [1.0, 2.0], "total": 3, "version": 1},
        ]
    }


def test_named_inputs_in_column_format(server: Server) -> None:
    columns = {"name": ["foo", "bar"], "ids": [[1, 2], [3, -1]], "pair": [[0.1, 1e30], [0, 3]]}
    assert predict(server, {"signature_name": "predict", "inputs": columns}) == {
        "outputs": {
            "age": [-1.0, -1.0],
            "name": ["foo", "bar"],
            "name_bytes": [{"b64": "Zm9v"}, {"b64": "YmFy"}],
            "pair": [[0.1, 1e30], [0.0, 3.0]],
            "total": [3, 3],
            "version": [1, 1],
        }
    }


def test_rows_that_lack_an_input_get_its_default(server: Server) -> None:
    rows = [{"age": 3}, {"name": "b"}, {"ids": [5, 6]}]
    found = predict(server, {"signature_name": "predict", "instances": rows})["predictions"]
    assert [(row["age"], row["name"], row["total"]) for row in found] == [(3.0, "", 0), (-1.0, "b", 0), (-1.0, "", 11)]
    # Nothing says how many rows there are but the rows themselves.
    empty = predict(server, {"signature_name": "predict", "instances": [{}, {}, {}]})["predictions"]
    assert [(row["age"], row["name"], row["total"]) for row in empty] == [(-1.0, "", 0)] * 3


def test_whole_numbers_are_exact(server: Server) -> None:
    largest = 2**63 - 1
    assert predict(server, {"signature_name": "predict", "inputs": {"ids": [[largest]]}})["outputs"]["total"] == [largest]


def test_numbers_that_are_not_finite_are_literals(server: Server) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.rest_port}{MODEL}:predict", b'{"signature_name": "oddities", "instances": [0.0, NaN, -1]}'
    )
    with urllib.request.urlopen(request) as answer:
        text = answer.read().decode()
        assert answer.headers["Content-Type"].startswith("application/json")
    assert text.split('"root": ')[1:] == ['0.0}, {"inverse": NaN, "negative": NaN, ', 'NaN}, {"inverse": -1.0, "negative": 1.0, ', "NaN}]}"]
    assert '"inverse": Infinity, "negative": -Infinity' in text


def test_scalars_are_asked_for_in_columns(server: Server) -> None:
    found = predict(server, {"signature_name": "multiples", "inputs": {"x": [1, 2], "k": 3, "up": False}})
    assert found == {"outputs": [[-1.0, -2.0, -3.0], [-2.0, -4.0, -6.0]]}
    assert predict(server, {"signature_name": "mean", "inputs": [1, 2]}) == {"outputs": 1.5}
    assert predict(server, {"signature_name": "nothing", "inputs": {}}) == {"outputs": 1}


def test_paths_are_case_insensitive_and_names_may_be_escaped(server: Server) -> None:
    for path in ("/V1/Models/default:PREDICT", "/v1/models/def%61ult/versions/1:predict"):
        assert ask(server, path, b'{"instances": [1]}') == (200, {"predictions": [3.5]})


def test_metadata_shows_the_signatures(server: Server) -> None:
    status, answer = ask(server, MODEL + "/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": "default", "signature_name": "", "version": "1"}
    shown = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert shown["method_name"] == "tensorflow/serving/predict"
    assert shown["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert shown["inputs"]["x"]["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        (":predict", b"", 400, "The document is empty"),
        (":predict", b"[1]", 400, "Is not object"),
        (":predict", b"{", 400, "JSON Parse error"),
        (":predict", b'{"a": 1}', 400, "Missing 'inputs' or 'instances' key"),
        (":predict", b'{"instances": [1], "inputs": [1]}', 400, "only one of 'inputs' or 'instances'"),
        (":predict", b'{"instances": 1}', 400, "to be a list/array"),
        (":predict", b'{"instances": []}', 400, "No values in 'instances' array"),
        (":predict", b'{"signature_name": 100}', 400, "'signature_name' key must be a string value."),
        (":predict", b'{"signature_name": "predct", "instances": [1]}', 400, "\"predct\" not found. Did you mean 'predict'?"),
        (":predict", b'{"instances": ["x", "y"]}', 400, "Type: String is not of expected type: float"),
        (":predict", b'{"instances": [null]}', 400, "Input 'x': JSON Value: None Type: Null is not of expected type: float32"),
        (":predict", b'{"instances": [true]}', 400, "Type: Bool"),
        (":predict", b'{"instances": [16777217]}', 400, "Cannot convert JSON value: 16777217 to float32 without loss of precision"),
        (":predict", b'{"instances": [1e39]}', 400, "without loss of precision"),
        (":predict", b'{"instances": [[1], [2]]}', 400, "expected float32 [?], got float32 [2,1]"),
        (":predict", b'{"instances": [[1], [2, 3]]}', 400, "lengths from 1 to 2"),
        (":predict", b'{"instances": [[1], 2]}', 400, "expected lists alone at level 1"),
        (":predict", b'{"instances": [{"z": 1}]}', 400, "no input 'z'"),
        (":predict", b'{"instances": [{"x": 1}, 2]}', 400, "Expecting object but got 2 at item 1"),
        (":predict", b'{"signature_name": "predict", "instances": [1]}', 400, "expecting list of objects as multiple input tensors"),
        (":predict", b'{"signature_name": "predict", "inputs": [1]}', 400, "expecting an object as multiple input tensors"),
        (":predict", b'{"signature_name": "predict", "inputs": {"nam": ["a"]}}', 400, "no input 'nam'. Did you mean 'name'?"),
        (":predict", b'{"signature_name": "predict", "inputs": {"name": [1]}}', 400, "Input 'name'"),
        (":predict", b'{"signature_name": "predict", "inputs": {"name": [{"b64": "?"}]}}', 400, "Unable to base64 decode"),
        (":predict", b'{"signature_name": "predict", "inputs": {"name": ["\\ud800"]}}', 400, "surrogate"),
        (":predict", b'{"signature_name": "predict", "inputs": {"ids": [[1.5]]}}', 400, "not of expected type: int64"),
        (":predict", b'{"signature_name": "predict", "inputs": {"ids": [[9223372036854775808]]}}', 400, "out of the range of int64"),
        (":predict", b'{"signature_name": "predict", "inputs": {"pair": [[1, 2, 3]]}}', 400, "expected float32 [?,2], got float32 [1,3]"),
        (":predict", b'{"signature_name": "predict", "inputs": {"age": [1, 2], "name": ["a", "b", "c"]}}', 400, "unequal rows"),
        (":predict", b'{"signature_name": "predict", "inputs": {"name": ["refused"]}}', 400, "this name is refused"),
        (":predict", b'{"signature_name": "multiples", "instances": [{"x": 1, "k": 3}]}', 400, "one value for all rows"),
        (":predict", b'{"signature_name": "multiples", "inputs": {"k": 3}}', 400, "Missing named input: x"),
        (":predict", b'{"signature_name": "mean", "instances": [1, 2]}', 400, "no shape information"),
        (":predict", b'{"signature_name": "nothing", "instances": [1]}', 400, "takes no inputs"),
        (":classify", b'{"examples": [{}]}', 400, "Expected classification signature method_name to be tensorflow/serving/classify"),
        (":classify", b'{"signature_name": "classify"}', 400, "key 'examples' is expected and was not found"),
        (":classify", b'{"signature_name": "classify", "examples": 3}', 400, "to be a list/array"),
        (":classify", b'{"signature_name": "classify", "examples": []}', 400, "is an empty array"),
        (":classify", b'{"signature_name": "classify", "examples": [1]}', 400, "Example must be JSON object"),
        (":classify", b'{"signature_name": "classify", "examples": [{"x": [1, 2.5]}]}', 400, "Unexpected element type in feature: x"),
        (":classify", b'{"signature_name": "classify", "examples": [{"x": null}]}', 400, "Unexpected element type in feature: x"),
        (":classify", b'{"signature_name": "classify", "examples": [{"x": "text"}]}', 400, "Data types don't match"),
        (":regress", b'{"signature_name": "classify", "examples": [{}]}', 400, "Expected regression signature"),
        ("/versions/7:predict", b'{"instances": [1]}', 404, "Servable not found for request: Specific(default, 7)"),
        ("/versions/99999999999999999999:predict", b'{"instances": [1]}', 400, "Failed to convert version"),
        ("/labels/stable:predict", b'{"instances": [1]}', 400, "Unrecognized servable version label: stable"),
        (":train", b"{}", 400, "Malformed request: POST /v1/models/default:train"),
        ("/versions/7", None, 404, "Could not find version 7 of model default"),
        ("/versions/x", None, 400, "Malformed request: GET"),
    ],
)
def test_mistakes_are_named(server: Server, path: str, body: bytes | None, status: int, said: str) -> None:
    found, answer = ask(server, MODEL + path, body)
    assert (found, list(answer)) == (status, ["error"])
    assert said in answer["error"]


def test_unknown_paths_are_json_too(server: Server) -> None:
    assert ask(server, "/") == (404, {"error": "Not Found: GET /"})
    assert ask(server, "/v1/models/other")[1] == {"error": "Could not find any versions of model other"}


@pytest.mark.parametrize("path", ["/metrics", "/monitoring/prometheus/metrics"])
def test_metrics(server: Server, path: str) -> None:
    predict(server, {"signature_name": "oddities", "instances": [1, 2]})
    ask(server, MODEL + ":predict", b"{")
    with urllib.request.urlopen(f"http://127.0.0.1:{server.rest_port}{path}") as answer:
        lines = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#"))
    counted = 'colonnade_requests_total{code="%s",method="Predict",protocol="rest",signature="%s"}'
    assert float(lines[counted % ("OK", "oddities")]) >= 1
    assert float(lines[counted % ("INVALID_ARGUMENT", "")]) >= 1
    assert float(lines['colonnade_request_seconds_count{method="Predict",protocol="rest"}']) >= 2
    assert float(lines['colonnade_batch_rows_bucket{le="2.0"}']) >= 1
    assert lines["colonnade_requests_in_flight"] == "0.0"
    assert lines['colonnade_model_version{model="default"}'] == "1.0"


def test_a_body_may_be_compressed_and_begin_with_a_byte_order_mark(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="serving.server.rest")
    body: Any = gzip.compress(b'\xef\xbb\xbf{"instances": [1]}')
    assert ask(server, MODEL + ":predict", body, headers={"Content-Encoding": "gzip"}) == (200, {"predictions": [3.5]})
    said = "Malformed request: Can not decode content-encoding: gzip"
    assert ask(server, MODEL + ":predict", b"no gzip", headers={"Content-Encoding": "gzip"}) == (400, {"error": said})
    end = time.monotonic() + 20
    while not caplog.records and time.monotonic() < end:  # the log is written after the answer
        time.sleep(0.02)
    assert [(record.levelname, record.getMessage(), record.exc_info) for record in caplog.records] == [("WARNING", said, None)]
