"""What a server refuses, and how it stops."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_server import Stubs, ask, predict_request

from feature_specs.errors import ColonnadeError
from serving.server import Options, Server
from serving.server.signature import Arrays

ONE = b'{"instances": [1]}'
PREDICT = "/v1/models/default:predict"


class Gate:
    """Holds a server's model back until it is opened, and counts its runs."""

    def __init__(self, server: Server) -> None:
        batcher = server.core.manager.newest()._batchers["serving_default"]
        self.entered, self.open, self.runs = threading.Semaphore(0), threading.Event(), []
        run = batcher._run

        def held(inputs: Arrays) -> Arrays:
            self.entered.release()
            assert self.open.wait(30)
            self.runs.append(inputs["x"].tolist())
            return run(inputs)

        batcher._run = held


@pytest.fixture
def serve(toys: Path) -> Iterator[Callable[..., Server]]:
    running = []

    def start(**options: Any) -> Server:
        running.append(Server(toys / "1", options=Options(**options)).start())
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def test_large_requests_are_refused(server: Server, stubs: Stubs) -> None:
    status, answer = ask(server, PREDICT, b" " * (1 << 20) + ONE)
    assert (status, answer) == (413, {"error": "The request is larger than 1048576 bytes, the limit."})
    code, _ = stubs.failure(stubs.prediction.Predict, predict_request(x=np.zeros(1 << 18, np.float32)))
    assert code == "RESOURCE_EXHAUSTED"
    assert ask(server, PREDICT, ONE)[0] == 200


def test_a_full_server_says_so_on_both_ports(serve: Callable[..., Server], threads: ThreadPoolExecutor) -> None:
    server = serve(max_queue=2)
    gate, stubs = Gate(server), Stubs(server)
    first = threads.submit(ask, server, PREDICT, ONE)
    gate.entered.acquire()
    second = threads.submit(stubs.predict, x=np.float32([2]))
    while server.core._in_flight < 2:
        time.sleep(0.01)
    status, answer = ask(server, PREDICT, ONE)
    assert (status, "limit" in answer["error"]) == (429, True)
    assert stubs.failure(stubs.predict)[0] == "RESOURCE_EXHAUSTED"
    # Whoever watches a busy server is answered.
    assert ask(server, "/v1/models/default")[0] == 200
    gate.open.set()
    assert first.result() == (200, {"predictions": [3.5]})
    assert second.result()["y"].tolist() == [4]
    assert ask(server, PREDICT, ONE)[0] == 200
    stubs.channel.close()


def test_nothing_is_computed_after_its_deadline(serve: Callable[..., Server], threads: ThreadPoolExecutor) -> None:
    server = serve(deadline_seconds=1.0)
    gate, stubs = Gate(server), Stubs(server)
    running = threads.submit(ask, server, PREDICT, ONE)
    gate.entered.acquire()
    waiting = threads.submit(ask, server, PREDICT, b'{"instances": [2]}')
    code, _ = stubs.failure(lambda: stubs.predict(timeout=0.3, x=np.float32([3])))
    assert code == "DEADLINE_EXCEEDED"
    for late in (running, waiting):
        status, answer = late.result()
        assert (status, "deadline" in answer["error"]) == (504, True)
    gate.open.set()
    while server.core._in_flight:
        time.sleep(0.01)
    assert ask(server, PREDICT, b'{"instances": [4]}') == (200, {"predictions": [5.0]})
    assert gate.runs == [[1.0], [4.0]]
    stubs.channel.close()


def test_nothing_is_computed_for_clients_that_have_gone(serve: Callable[..., Server], threads: ThreadPoolExecutor) -> None:
    server = serve()
    gate, stubs = Gate(server), Stubs(server)
    running = threads.submit(ask, server, PREDICT, ONE)
    gate.entered.acquire()
    gone = stubs.prediction.Predict.future(predict_request(x=np.float32([2])))
    while server.core._in_flight < 2:
        time.sleep(0.01)
    gone.cancel()
    time.sleep(0.5)  # the news travels
    gate.open.set()
    assert running.result()[0] == 200
    while server.core._in_flight:
        time.sleep(0.01)
    assert gate.runs == [[1.0]]
    stubs.channel.close()


def wait_until_closed(port: int) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.02)
    raise AssertionError(f"Port {port} is still open.")


def test_a_stopping_server_answers_what_is_in_flight(toys: Path, threads: ThreadPoolExecutor) -> None:
    server = Server(toys / "1").start()
    gate, stubs = Gate(server), Stubs(server)
    over_rest = threads.submit(ask, server, PREDICT, ONE)
    over_grpc = threads.submit(stubs.predict, x=np.float32([2]))
    gate.entered.acquire()
    while server.core._in_flight < 2:
        time.sleep(0.01)
    stopped = threads.submit(server.stop)
    for port in (server.rest_port, server.grpc_port):
        wait_until_closed(port)
    assert not stopped.done()
    gate.open.set()
    assert over_rest.result() == (200, {"predictions": [3.5]})
    assert over_grpc.result()["y"].tolist() == [4]
    stopped.result()
    stubs.channel.close()


def test_connections_made_while_it_stops_are_closed(toys: Path) -> None:
    for _ in range(3):
        server = Server(toys / "1").start()
        made: list[socket.socket] = []

        def connect(port: int = server.rest_port, made: list[socket.socket] = made) -> None:
            with contextlib.suppress(OSError):
                while len(made) < 500:
                    made.append(socket.create_connection(("127.0.0.1", port), timeout=5))

        client = threading.Thread(target=connect)
        client.start()
        while len(made) < 20:
            time.sleep(0.001)
        server.stop()
        client.join()
        with warnings.catch_warnings(record=True) as left_open:
            warnings.simplefilter("always")
            del server
            gc.collect()
        assert not [str(warning.message) for warning in left_open]
        for each in made:
            each.close()


def test_an_answer_is_sent_to_its_last_byte(toys: Path) -> None:
    server = Server(toys / "1", options=Options(max_request_bytes=1 << 26)).start()
    body = b'{"instances": [' + b"1," * 1_500_000 + b"1]}"
    with socket.create_connection(("127.0.0.1", server.rest_port), timeout=60) as slow:
        slow.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (PREDICT.encode(), len(body)) + body)
        answer = slow.recv(1 << 10)  # it has been computed, and does not fit into the buffers between the two
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        time.sleep(0.2)
        while some := slow.recv(1 << 20):
            answer += some
        stopping.join()
    head, _, answered = answer.partition(b"\r\n\r\n")
    assert f"content-length: {len(answered)}" in head.decode().lower()


@pytest.mark.parametrize("port", ["rest_port", "grpc_port"])
def test_ports_in_use(server: Server, toys: Path, port: str) -> None:
    taken: dict[str, Any] = {port: getattr(server, port)}
    with pytest.raises(ColonnadeError, match=f"Cannot listen on 127.0.0.1:{taken[port]} .* Choose another --{port}"):
        Server(toys / "1", **taken).start()
