"""New versions: loaded when they are complete, without a request lost; broken ones leave the old one serving."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2
from toy_server import Stubs, ask, predict, predict_request

from feature_specs.errors import ColonnadeError
from serving.assets import stated_sizes
from serving.server import Options, Server
from serving.server.folders import missing_from, versions_in
from serving.warmup_requests import WARMUP_FILE

POLL = 0.1
BODY = {"signature_name": "predict", "instances": [{"age": 1}]}


@pytest.fixture
def base(tmp_path: Path, toys: Path) -> Path:
    """A base folder with version 1, and what is no version."""
    folder = tmp_path / "export"
    for name in ("notes", ".unfinished-1", "1.5", "-3"):
        (folder / name).mkdir(parents=True)
    appear(toys, folder, 1)
    return folder


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    running = []

    def start(base: Path, **options: Any) -> Server:
        running.append(Server(base, options=Options(poll_seconds=POLL, **options)).start())
        return running[-1]

    yield start
    for server in running:
        server.stop()


def appear(toys: Path, base: Path, version: int, name: str | None = None) -> Path:
    """Copies a toy and renames it into place, as the exporter does."""
    hidden = base / ".unfinished-new"
    shutil.copytree(toys / str(version), hidden)
    return hidden.rename(base / (name or str(version)))


def answering(server: Server, path: str = "") -> int:
    status, answer = ask(server, f"/v1/models/default{path}:predict", BODY)
    assert status == 200, answer
    return answer["predictions"][0]["version"]


def states(server: Server) -> dict[int, tuple[str, str]]:
    _, answer = ask(server, "/v1/models/default")
    return {int(one["version"]): (one["state"], one["status"]["error_code"]) for one in answer["model_version_status"]}


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_new_version_is_loaded_and_the_old_one_unloaded(base: Path, toys: Path, serve: Callable[..., Server]) -> None:
    server = serve(base)
    assert answering(server) == 1
    appear(toys, base, 2)
    until(lambda: answering(server) == 2)
    until(lambda: states(server) == {2: ("AVAILABLE", "OK"), 1: ("END", "OK")})
    status, answer = ask(server, "/v1/models/default/versions/1:predict", BODY)
    assert (status, answer["error"].startswith("Servable not found for request: Specific(default, 1)")) == (404, True)
    # A version that is taken away is rolled back.
    shutil.rmtree(base / "2")
    until(lambda: answering(server) == 1)
    # An empty folder is rather a mistake than a wish.
    shutil.rmtree(base / "1")
    time.sleep(3 * POLL)
    assert answering(server) == 1


def test_no_request_is_lost_in_a_switch(base: Path, toys: Path, serve: Callable[..., Server]) -> None:
    server = serve(base)
    stubs = Stubs(server)
    stopping = threading.Event()
    seen: list[list[int]] = [[] for _ in range(4)]
    failures = []

    def keep_asking(number: int) -> None:
        while not stopping.is_set():
            try:
                if number % 2:
                    found = stubs.predict("predict", age=np.float32([number, 5]), ids=np.array([[number], [7]]))
                    answer = [found["total"].tolist(), found["age"].tolist(), set(found["version"].tolist())]
                else:
                    rows = predict(server, {"signature_name": "predict", "inputs": {"age": [number, 5], "ids": [[number], [7]]}})["outputs"]
                    answer = [rows["total"], rows["age"], set(rows["version"])]
                assert answer[:2] == [[number, 7], [number, 5]]
                (version,) = answer[2]
                seen[number].append(version)
            except Exception as error:  # noqa: BLE001 (of any kind: none may come)
                failures.append(error)

    threads = [threading.Thread(target=keep_asking, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for version in (2, 3):
        appear(toys, base, version)
        until(lambda version=version: all(one and one[-1] == version for one in seen))
    stopping.set()
    for thread in threads:
        thread.join()
    stubs.channel.close()
    assert not failures
    assert all(one == sorted(one) and set(one) == {1, 2, 3} for one in seen)


def test_a_copy_in_progress_is_never_loaded(base: Path, toys: Path, serve: Callable[..., Server]) -> None:
    server = serve(base)
    source, target = toys / "2", base / "2"
    files = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    # The worst order: what TensorFlow looks for first comes first, the variables' numbers last, each in two halves.
    for name in sorted(files, key=lambda path: (path.name != "saved_model.pb", "data" in path.name)):
        content = (source / name).read_bytes()
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        for cut in (len(content) // 2, len(content)):
            (target / name).write_bytes(content[:cut])
            time.sleep(POLL / 2)
            assert 2 not in server.core.manager._serving
    until(lambda: answering(server) == 2)


def test_what_is_missing_from_a_copy(toys: Path, tmp_path: Path) -> None:
    copy = tmp_path / "2"
    shutil.copytree(toys / "2", copy)
    assert missing_from(copy) is None
    for name, said in (
        ("variables/variables.data-00000-of-00001", "a shard of variables/variables.data is missing"),
        ("variables/variables.index", "variables/variables.index is missing"),
        ("saved_model.pb", "saved_model.pb is missing"),
    ):
        os.remove(copy / name)
        assert missing_from(copy) == said
    (copy / "saved_model.pb").write_bytes((toys / "2" / "saved_model.pb").read_bytes()[:-100])
    assert missing_from(copy) == "the rest of saved_model.pb is missing"


def test_a_copy_that_stalls_in_a_vocabulary_is_not_served(
    base: Path, exported: Path, serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="serving.server")
    server = serve(base)
    hidden = shutil.copytree(exported, base / ".unfinished-copy")
    vocabulary = max(hidden.glob("assets/*"), key=lambda path: path.stat().st_size)
    content = vocabulary.read_bytes()
    size = content.index(b"\n") + 1  # a token of many: it would load without an error
    vocabulary.write_bytes(content[:size])
    time.sleep(2 * POLL)
    hidden.rename(base / "8")
    said = f"assets/{vocabulary.name} is {size} of {len(content)} bytes."
    until(lambda: f"Version 8 of {base} is not complete, version 1 is kept: {said}" in caplog.messages)
    _, answer = ask(server, "/v1/models/default/versions/8")
    assert answer["model_version_status"][0]["status"]["error_message"] == f"It is not complete: {said}"
    assert answering(server) == 1
    (base / "8" / "assets" / vocabulary.name).write_bytes(content)
    until(lambda: states(server)[8] == ("AVAILABLE", "OK"))


def test_sizes_are_stated_by_our_exports_alone(toys: Path, exported: Path) -> None:
    def graph(version: Path) -> Any:
        return saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes()).meta_graphs[0]

    assert stated_sizes(graph(exported)) == {path.name: path.stat().st_size for path in exported.glob("assets/*")} != {}
    other = graph(toys / "1")
    assert stated_sizes(other) == {}
    # What others keep there is none of ours.
    other.meta_info_def.any_info.Pack(tf.compat.v1.ConfigProto())
    assert stated_sizes(other) == {}


def test_files_that_change_later_are_loaded_again(base: Path, toys: Path, serve: Callable[..., Server]) -> None:
    server = serve(base)
    # As where a copy had stalled for longer than the server waits: version 1 becomes another.
    for name in ("saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"):
        shutil.copyfile(toys / "3" / name, base / "1" / name)
    until(lambda: answering(server) == 3)
    assert states(server) == {1: ("AVAILABLE", "OK")}


def test_a_broken_version_keeps_the_old_one(base: Path, toys: Path, serve: Callable[..., Server]) -> None:
    server = serve(base)
    broken = base / ".unfinished-broken"
    shutil.copytree(toys / "2", broken)
    data = broken / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:10])
    broken.rename(base / "2")
    until(lambda: 2 in states(server) and states(server)[2][0] == "END")
    assert states(server)[2][1] != "OK"
    assert answering(server) == 1
    _, answer = ask(server, "/v1/models/default/versions/2")
    assert answer["model_version_status"][0]["status"]["error_message"]
    # It is tried again once its files have changed.
    shutil.copyfile(toys / "2" / "variables" / data.name, base / "2" / "variables" / data.name)
    until(lambda: answering(server) == 2)


def test_an_incomplete_version_is_reported(base: Path, toys: Path, serve: Callable[..., Server]) -> None:
    (base / "4" / "variables").mkdir(parents=True)
    shutil.copyfile(toys / "2" / "saved_model.pb", base / "4" / "saved_model.pb")
    server = serve(base)
    until(lambda: 4 in states(server))
    assert answering(server) == 1
    until(
        lambda: (
            "variables.index is missing"
            in ask(server, "/v1/models/default/versions/4")[1]["model_version_status"][0]["status"]["error_message"]
        )
    )


def test_labels_keep_their_versions(base: Path, toys: Path, serve: Callable[..., Server], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="serving.server")  # a job before it in this process may have kept all loggers quiet
    server = serve(base, version_labels={"stable": 1, "next": 3})
    assert f"Label 'next' is of version 3, which is not served until {base} has it." in caplog.messages
    appear(toys, base, 2)
    until(lambda: answering(server) == 2)
    assert answering(server, "/labels/stable") == 1
    assert answering(server, "/versions/1") == 1
    status, answer = ask(server, "/v1/models/default/labels/next:predict", BODY)
    assert (status, answer["error"].startswith("Servable not found for request: Specific(default, 3)")) == (404, True)
    stubs = Stubs(server)
    request = predict_request("predict")
    request.model_spec.version_label = "stable"
    assert stubs.prediction.Predict(request).model_spec.version.value == 1
    stubs.channel.close()


def test_names_of_versions(tmp_path: Path, toys: Path) -> None:
    for name in ("00000123", "7", "x1", "1e3", "12345678901234567890123", "²"):
        (tmp_path / name).mkdir()
    (tmp_path / "8").write_text("a file")
    assert {number: path.name for number, path in versions_in(tmp_path).items()} == {123: "00000123", 7: "7"}
    assert versions_in(toys / "2") == {2: toys / "2"}
    shutil.copytree(toys / "1", tmp_path / "nfm")
    assert versions_in(tmp_path / "nfm") == {1: tmp_path / "nfm"}


def warm(version: Path, *requests: Any) -> None:
    (version / "assets.extra").mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(version / WARMUP_FILE)) as writer:
        for request in requests:
            writer.write(prediction_log_pb2.PredictionLog(predict_log={"request": request}).SerializeToString())


def test_versions_are_warmed_up_with_their_own_requests(base: Path, toys: Path, serve: Callable[..., Server]) -> None:
    warm(base / "1", predict_request("predict", age=np.float32([1, 2, 3])), predict_request(x=np.float32([1])))
    server = serve(base)
    page = server.core.metrics.page().decode()
    assert "colonnade_batch_rows_count 2.0" in page
    assert "colonnade_batch_rows_sum 4.0" in page
    # A model that refuses its own requests would refuse others too.
    hidden = base / ".unfinished-cold"
    shutil.copytree(toys / "2", hidden)
    warm(hidden, predict_request("predict", name=np.array([b"refused"], object)))
    hidden.rename(base / "2")
    until(lambda: states(server).get(2) == ("END", "INVALID_ARGUMENT"))
    assert answering(server) == 1


def test_without_a_version_that_loads_there_is_no_server(tmp_path: Path, toys: Path) -> None:
    with pytest.raises(ColonnadeError, match="does not exist"):
        Server(tmp_path / "none").start()
    with pytest.raises(ColonnadeError, match="has no version"):
        Server(tmp_path).start()
    shutil.copytree(toys / "1", tmp_path / "5")
    (tmp_path / "5" / "variables" / "variables.index").unlink()
    with pytest.raises(ColonnadeError, match=r"Version 5 .*variables.index is missing\. Copy it again"):
        Server(tmp_path, options=Options(poll_seconds=POLL)).start()
