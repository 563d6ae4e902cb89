"""TF Serving's REST API."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast
from urllib.parse import unquote

import numpy as np
from aiohttp import web
from aiohttp.http import HttpProcessingError
from google.protobuf import json_format
from grpc import StatusCode
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2

from feature_specs.errors import ColonnadeError
from serving.server import json_bodies, messages
from serving.server.batching import Call
from serving.server.core import Core
from serving.server.errors import ServingError, invalid

_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_INFER = re.compile(_MODEL + r":(?P<method>classify|regress|predict)", re.IGNORECASE | re.ASCII)
_ASK = re.compile(_MODEL + r"(?:/(?P<what>metadata))?", re.IGNORECASE | re.ASCII)
_METRICS = ("/metrics", "/monitoring/prometheus/metrics")
_STYLE = {"always_print_fields_with_no_presence": True, "preserving_proto_field_name": True}
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class _OneLine(logging.Filter):
    """Tells in one line of a client's malformed request, which aiohttp logs with a traceback, as an error of the server."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Changes the record, and keeps it."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, web.RequestPayloadError | HttpProcessingError):
            record.levelno, record.levelname, record.exc_info = logging.WARNING, "WARNING", None
            record.msg, record.args = "Malformed request: %s", (_problem(error),)
        return True


_log = logging.getLogger("serving.server.rest")
_log.addFilter(_OneLine())


class RestPort:
    """Answers over HTTP. All of it runs in one event loop, but for the answers themselves, which threads work out.

    Args:
        core: Answers.
        host: To listen on.
        port: To listen on; 0 for a free one.
    """

    def __init__(self, core: Core, host: str, port: int) -> None:
        self._core = core
        self._host, self._asked = host, port
        self._threads = ThreadPoolExecutor(core.options.max_queue + 1, "rest")
        app = web.Application(client_max_size=core.options.max_request_bytes, middlewares=[_errors_as_json])
        for path in _METRICS:
            app.router.add_get(path, self._metrics)
        app.router.add_route("*", "/{rest:.*}", self._answer)
        # Without an access log; a client that goes away is noticed.
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_log,
            handler_cancellation=True,
            handle_signals=False,
            shutdown_timeout=core.options.deadline_seconds,
        )
        self.port = 0

    async def start(self) -> None:
        """Begins to answer.

        Raises:
            ColonnadeError: The port is taken, or there is no such host.
        """
        await self._runner.setup()
        self._connections = cast(web.Server, self._runner.server)  # as it is set up
        try:
            self._listener = await asyncio.get_running_loop().create_server(self._connections, self._host, self._asked)
        except OSError as error:
            await self._runner.cleanup()
            raise ColonnadeError(
                f"Cannot listen on {self._host}:{self._asked} for REST: {error.strerror}. Choose another --rest_port, or 0 for a free one."
            ) from error
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Takes no more requests, answers those that are in flight, and closes every connection."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._core.options.deadline_seconds
        # asyncio forgets, open, what it has just accepted when a listener closes (python/cpython#109564): first no more is accepted.
        for listening in self._listener.sockets:
            loop.remove_reader(listening.fileno())
        await _turns()
        self._listener.close()
        transports = [known.transport for known in self._connections.connections if known.transport is not None]
        await self._runner.cleanup()
        while any(transport.get_write_buffer_size() for transport in transports) and loop.time() < until:
            await asyncio.sleep(0.01)  # an answer is not sent yet to its last byte
        for transport in transports:
            transport.abort()
        await _turns()
        self._threads.shutdown(wait=False)

    async def _metrics(self, request: web.Request) -> web.Response:
        del request
        return web.Response(body=self._core.metrics.page(), headers={"Content-Type": _TEXT})

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.rel_url.raw_path
        infer = _INFER.fullmatch(path) if request.method == "POST" else None
        ask = _ASK.fullmatch(path) if request.method == "GET" else None
        found = infer or ask
        if not path.lower().startswith("/v1/"):
            raise web.HTTPNotFound
        if found is None:
            raise invalid(f"Malformed request: {request.method} {path[:200]}")
        spec = _spec(found)
        if ask is not None:
            return await self._ask(spec, bool(ask["what"]))
        return await self._infer(spec, found["method"].lower(), request)

    async def _ask(self, spec: model_pb2.ModelSpec, wants_metadata: bool) -> web.Response:
        with self._core.admitted("rest", "GetModelMetadata" if wants_metadata else "GetModelStatus"):
            if not wants_metadata:
                return _json(json_format.MessageToJson(messages.status(self._core, spec), **_STYLE, indent=1))
            question = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=[messages.SIGNATURE_DEF])
            response = messages.metadata(self._core, question)
            definitions = get_model_metadata_pb2.SignatureDefMap()
            response.metadata[messages.SIGNATURE_DEF].Unpack(definitions)
            # TF Serving shows the map without the wrapper that says its type.
            shown = {messages.SIGNATURE_DEF: json_format.MessageToDict(definitions, **_STYLE)}
            return _json(json.dumps({"model_spec": json_format.MessageToDict(response.model_spec, **_STYLE), "metadata": shown}, indent=1))

    async def _infer(self, spec: model_pb2.ModelSpec, method: str, request: web.Request) -> web.Response:
        with self._core.admitted("rest", method.capitalize()) as call:
            try:
                return _json(await asyncio.wait_for(self._text(spec, method, request, call), self._core.options.deadline_seconds))
            except (TimeoutError, asyncio.TimeoutError) as error:
                call.abandon()
                raise ServingError(StatusCode.DEADLINE_EXCEEDED, "The deadline passed before there was an answer.") from error
            except asyncio.CancelledError:
                call.abandon()
                raise
            except web.HTTPRequestEntityTooLarge as error:
                most = self._core.options.max_request_bytes
                raise ServingError(StatusCode.RESOURCE_EXHAUSTED, f"The request is larger than {most} bytes, the limit.", 413) from error
            except web.RequestPayloadError as error:  # such as a body that is not compressed as it says
                raise invalid(f"Malformed request: {_problem(error)}") from error

    async def _text(self, spec: model_pb2.ModelSpec, method: str, request: web.Request, call: Call) -> str:
        body = await request.read()
        work = {"predict": self._predict, "classify": self._classify, "regress": self._regress}[method]
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, spec, body, call)

    def _predict(self, spec: model_pb2.ModelSpec, body: bytes, call: Call) -> str:
        request = json_bodies.parse(body)
        spec.signature_name = json_bodies.signature_name(request)
        answered = self._core.predict(spec, lambda signature: json_bodies.read_inputs(request, signature), call)
        return json_bodies.write_outputs(answered.result, "instances" in request)

    def _classify(self, spec: model_pb2.ModelSpec, body: bytes, call: Call) -> str:
        request = json_bodies.parse(body)
        spec.signature_name = json_bodies.signature_name(request)
        answered = self._core.classify(spec, json_bodies.read_examples(request), call)
        classes = answered.result
        if classes.scores is not None:
            classes = classes._replace(scores=np.array(json_bodies.floats(classes.scores)))  # in the digits that Predict writes
        return json_bodies.write_results(messages.class_rows(classes))

    def _regress(self, spec: model_pb2.ModelSpec, body: bytes, call: Call) -> str:
        request = json_bodies.parse(body)
        spec.signature_name = json_bodies.signature_name(request)
        answered = self._core.regress(spec, json_bodies.read_examples(request), call)
        return json_bodies.write_results(json_bodies.floats(answered.result))


async def _turns() -> None:
    """Lets the loop do what it has accepted or closed: a few callbacks, one after the other."""
    for _ in range(5):
        await asyncio.sleep(0)


@web.middleware
async def _errors_as_json(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    try:
        return await handler(request)
    except ServingError as error:
        return _json(json_bodies.write_error(error.message), error.http_status)
    except web.HTTPException as error:
        return _json(json_bodies.write_error(f"{error.reason}: {request.method} {request.path[:200]}"), error.status)


def _problem(error: Exception) -> str:
    """Returns what aiohttp says of a malformed request, such as "Can not decode content-encoding: gzip"."""
    return " ".join(str(error).split()).removeprefix("400, message: ")


def _json(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="application/json")


def _spec(found: re.Match[str]) -> Any:  # noqa: ANN401 (a protocol buffer)
    try:
        spec = model_pb2.ModelSpec(name=unquote(found["name"], errors="strict"))
        if found["version"]:
            spec.version.value = int(found["version"])
        elif found["label"]:
            spec.version_label = unquote(found["label"], errors="strict")
    except UnicodeDecodeError as error:
        raise invalid("Failed to decode model name or label: it is no UTF-8.") from error
    except ValueError as error:
        raise invalid(f"Failed to convert version: {found['version'][:100]} to numeric.") from error
    return spec
