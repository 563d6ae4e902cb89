"""`python -m serving.client` and `RemoteModel` against the local server, over both protocols: the same answers as a loaded export."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from feature_specs import ColonnadeError
from preprocessing.artifacts import DataDirectory
from serving.client import main
from serving.predict import predict_file
from serving.recommend import recommend_file
from serving.remote import RemoteModel
from serving.server import Server
from serving.sides import item_side, user_side
from serving.signatures import to_examples, to_tensors

PROTOCOLS = ("grpc", "http")
FLAT = (
    b"key,user,item,age,price,year,tags,clicks,history,time\n"
    b"r1,u1,i1,30,3,1990,a|b,1 2 3,i1|i2|nope,880000000\n"
    b"r2,new,,,,V,,,,\n"
    b'"r3, odd",u2,i3,old,3,1990,a,1,i1,880000000\n'
    b'r4,\xff\xfe,i5,18,0.1,1995,"d, e|\xc3\xa9",10 11 1 2 3 4 5 6,i3,9007199254740993\n'
)


OTHER_SPEC = """
name: other
features:
- {kind: categorical, name: user, encoding: {type: vocabulary}}
- {kind: categorical, name: itemz, encoding: {type: vocabulary}}
- {kind: categorical, name: year, encoding: {type: vocabulary}}
label: {column: rating, threshold: 4}
"""


def urls(server: Server) -> dict[str, str]:
    return {"grpc": f"grpc://127.0.0.1:{server.grpc_port}", "http": f"http://127.0.0.1:{server.rest_port}"}


@pytest.fixture(scope="module")
def ranking_server(exported: Path) -> Iterator[dict[str, str]]:
    with Server(exported.parent, "tiny") as server:
        yield urls(server)


@pytest.fixture(scope="module")
def matching_server(matching: Path) -> Iterator[dict[str, str]]:
    with Server(matching) as server:
        yield urls(server)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_file_gets_what_serving_predict_gives_it(
    exported: Path, ranking_server: dict[str, str], protocol: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.csv").write_bytes(FLAT)
    predict_file(exported, tmp_path / "rows.csv", tmp_path / "local.csv")
    flags = ["--endpoint", ranking_server[protocol], "--model_name", "tiny", "--export_dir", str(exported.parent)]
    main([*flags, "--input", str(tmp_path / "rows.csv"), "--output", str(tmp_path / "out.csv"), "--version", "8"])
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()
    assert (tmp_path / "out.csv.rejected.jsonl").read_bytes() == (tmp_path / "local.csv.rejected.jsonl").read_bytes()
    said = capsys.readouterr().out
    assert said.startswith("scored 3 rows in ")
    assert f"with model 'tiny', version 8, at {ranking_server[protocol]}: {tmp_path / 'out.csv'}; 1 row set aside: see " in said
    assert "; no column, so missing: city, zip_prefix\n" in said


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_rows_keep_their_order_through_requests_in_flight(
    exported: Path, ranking_server: dict[str, str], protocol: str, tmp_path: Path
) -> None:
    lines = [{"key": n, "user": f"u{n % 25}", "age": n / 7, "tags": ["a", "b"][: n % 3]} for n in range(101)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "spec.json").write_text((exported / "assets.extra" / "spec.json").read_text())
    flags = ["--endpoint", ranking_server[protocol], "--model_name", "tiny", "--spec", str(tmp_path / "spec.json"), "--batch_size", "7"]
    main([*flags, "--input", str(tmp_path / "rows.jsonl"), "--output", str(tmp_path / "out.jsonl"), "--in_flight", "3"])
    predict_file(exported, tmp_path / "rows.jsonl", tmp_path / "local.jsonl")
    found, wanted = ([json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()] for name in ("out", "local"))
    assert [{name: row[name] for name in line} for row, line in zip(found, lines, strict=True)] == lines
    np.testing.assert_allclose([row["logits"] for row in found], [row["logits"] for row in wanted], rtol=1e-5)


@pytest.mark.parametrize(("kind", "text"), [("jsonl", b'{"key": 1, "user": "u1"}\nnot JSON\n'), ("csv", b"key,user\n1,u1\n")])
def test_standard_input_and_output(
    exported: Path,
    ranking_server: dict[str, str],
    kind: str,
    text: bytes,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(text))))
    flags = ["--endpoint", ranking_server["http"], "--model_name", "tiny", "--export_dir", str(exported), "--input", "-", "--output", "-"]
    main([*flags, *(["--format", kind] if kind != "jsonl" else [])])
    said = capsysbinary.readouterr()
    (row,) = [json.loads(line) for line in said.out.splitlines()]
    assert (str(row["key"]), row["user"]) == ("1", "u1")
    loaded = tf.saved_model.load(str(exported))
    np.testing.assert_allclose(row["logits"], loaded.predict(user=tf.constant(["u1"]))["logits"].numpy()[0], rtol=1e-6)
    told = said.err.splitlines()
    assert told[-1].startswith(b"scored 1 row in ")
    if kind == "jsonl":
        assert json.loads(told[0]) | {"reason": ""} == {"file": "-", "line": 2, "reason": "", "row": "not JSON"}
        assert b"; 1 row set aside; no column" in told[-1]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_signature_of_ranking(exported: Path, rows: dict[str, Any], ranking_server: dict[str, str], protocol: str) -> None:
    loaded, examples = tf.saved_model.load(str(exported)), to_examples(rows)
    with RemoteModel(ranking_server[protocol], "tiny", rows_at_once=13) as model:
        assert set(model.described) == set(loaded.signatures)
        for name in loaded.signatures:
            given = {"predict": to_tensors(rows), "serving_default": {"examples": examples}}.get(name, {"inputs": examples})
            same(model.signatures[name](**given), loaded.signatures[name](**given))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_signature_of_matching(matching: Path, strings: DataDirectory, matching_server: dict[str, str], protocol: str) -> None:
    loaded = tf.saved_model.load(str(matching))
    user = {"user": ["u1", "zz", ""], "age": [21.0, np.nan, 0.1], "history": [["i1", "i2"], ["", ""], ["i9", ""]]}
    item = {"movie": ["i1", "i2", "x"], "tags": [["a"], [""], ["c"]], "tags_weights": [[0.5], [np.nan], [1]], "year": [1990, -1, 7]}
    types = {c.name: c.dtype for c in strings.spec.raw_inputs}
    sides = [{c.name for c in side(strings.spec).raw_inputs} for side in (user_side, item_side)]
    tensors = {name: tf.constant(values, types[name]) for name, values in {**user, **item}.items()}
    asked = [{name: values for name, values in tensors.items() if name in side} for side in sides]
    arguments = {"k": tf.constant(45), "exclude_seen": tf.constant(False)}
    with RemoteModel(matching_server[protocol], rows_at_once=2) as model:
        for name, given in (("predict", tensors), ("query", asked[0]), ("candidate", asked[1]), ("retrieve", {**asked[0], **arguments})):
            same(model.signatures[name](**given), loaded.signatures[name](**given))


def same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert set(found) == set(wanted)
    for name, values in wanted.items():
        assert found[name].dtype == values.dtype
        if values.dtype == tf.string:
            np.testing.assert_array_equal(found[name].numpy(), values.numpy())
        else:
            np.testing.assert_allclose(found[name].numpy(), values.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_lists_are_those_of_serving_recommend(matching: Path, matching_server: dict[str, str], protocol: str, tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("key,user,age,history\na,u1,30,i3|i4\nb,new,,\nc,u7,x,i1\n")
    flags = ["--endpoint", matching_server[protocol], "--export_dir", str(matching), "--input", str(tmp_path / "users.csv")]
    for suffix, more in ((".csv", []), (".jsonl", ["--include_seen"])):
        output, local = tmp_path / f"lists{suffix}", tmp_path / f"local{suffix}"
        main([*flags, "--output", str(output), "--signature", "retrieve", "--k", "4", *more])
        recommend_file(matching, tmp_path / "users.csv", local, k=4, include_seen=bool(more))
        assert output.read_bytes() == local.read_bytes()
    main([*flags, "--output", str(tmp_path / "vectors.jsonl"), "--signature", "query"])
    vectors = [json.loads(line) for line in (tmp_path / "vectors.jsonl").read_text().splitlines()]
    assert [(row["key"], len(row["embedding"])) for row in vectors] == [("a", 4), ("b", 4)]
    main([*flags, "--output", str(tmp_path / "classes.jsonl"), "--signature", "classify"])
    rows = [json.loads(line) for line in (tmp_path / "classes.jsonl").read_text().splitlines()]
    assert [row["classes"] for row in rows] == [["0", "1"]] * 2
    assert [sum(row["scores"]) for row in rows] == pytest.approx([1, 1])
    with pytest.raises(ColonnadeError, match=r"--k is refused: k should be from 1 to 10000. Received: 10001"):
        main([*flags, "--output", str(tmp_path / "none.jsonl"), "--signature", "retrieve", "--k", "10001"])
    with pytest.raises(ColonnadeError, match=r"--k is refused: k should be from 1 to 10000. Received: 10001"):
        recommend_file(matching, tmp_path / "users.csv", tmp_path / "none.jsonl", k=10001)
    assert not (tmp_path / "none.jsonl").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--k", "5"], "--k is for --signature retrieve. Received: --signature predict"),
        (["--include_seen", "--signature", "query"], "--include_seen is for --signature retrieve"),
        (["--k", "0", "--signature", "retrieve"], "--k should be above 0"),
        (["--format", "tsv"], "--format is for standard input"),
    ],
)
def test_flags_that_would_change_nothing(given: list[str], said: str) -> None:
    with pytest.raises(ColonnadeError, match=said):
        main(["--endpoint", "grpc://localhost:1", "--spec", "s.yaml", "--input", "rows.csv", "--output", "out.csv", *given])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_requests_that_are_too_large(ranking_server: dict[str, str], rows: dict[str, Any], protocol: str) -> None:
    users = tf.constant(["u" * 2_000_000] * 10)
    with (
        RemoteModel(ranking_server[protocol], "tiny") as model,
        pytest.raises(ColonnadeError, match=r"A request of 256 rows is too large for the server .* Send fewer rows"),
    ):
        model.signatures["predict"](**{name: values[:1] for name, values in to_tensors(rows).items()} | {"user": users})


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", ["protocol", "model", "version", "signature", "spec"])
def test_mistakes(exported: Path, ranking_server: dict[str, str], protocol: str, kind: str, tmp_path: Path) -> None:
    url, other = ranking_server[protocol], {"grpc": "http", "http": "grpc"}[protocol]
    port = url.rsplit(":", 1)[1]
    (tmp_path / "rows.csv").write_bytes(FLAT)
    (tmp_path / "spec.yaml").write_text(OTHER_SPEC)
    spoken = {"grpc": "gRPC", "http": "HTTP"}[other]
    changed, message = {
        "protocol": (
            ["--endpoint", f"{other}://127.0.0.1:{port}"],
            rf"does not speak {spoken}. If that .* give {protocol}://127.0.0.1:{port}",
        ),
        "model": (["--model_name", "tinny"], "serves no model 'tinny'"),
        "version": (["--version", "3"], r"has no version 3. Served: 8. Leave --version out"),
        "signature": (["--signature", "query"], "'query' is for matching models; spec 'tiny' is for ranking"),
        "spec": (
            ["--spec", str(tmp_path / "spec.yaml")],
            r"in 'predict' than spec 'other' has: it does not take itemz; the spec does not have age, .*, zip_prefix; year is int64 of "
            "rank 1 there, and string of rank 1 in the spec. Give the export, or the spec, of the model that is served",
        ),
    }[kind]
    flags = ["--endpoint", url, "--model_name", "tiny", "--input", str(tmp_path / "rows.csv"), "--output", str(tmp_path / "out.csv")]
    with pytest.raises(ColonnadeError, match=message):
        main([*flags, *([] if kind == "spec" else ["--export_dir", str(exported)]), *changed])
    assert not (tmp_path / "out.csv").exists()
