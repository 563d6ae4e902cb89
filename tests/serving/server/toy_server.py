"""A toy model with every kind of signature, and short ways to ask a server."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import model_service_pb2_grpc, predict_pb2, prediction_service_pb2_grpc

from serving.server import Server

NAN = float("nan")


class Toy(tf.Module):
    """Half plus three, as in TF Serving's documentation, and sums that show which rows and which version answered."""

    def __init__(self, version: int) -> None:
        super().__init__()
        self.version = tf.Variable(version, dtype=tf.int64)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")], autograph=False)
    def half_plus_three(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x / 2 + 3}

    def predict(
        self,
        name: tf.Tensor = tf.constant([""]),  # noqa: B008 (a SavedModel keeps these as SignatureDef defaults)
        age: tf.Tensor = tf.constant([NAN]),  # noqa: B008
        ids: tf.Tensor = tf.constant([[-1]], tf.int64),  # noqa: B008
        pair: tf.Tensor = tf.constant([[1.0, 2.0]]),  # noqa: B008
    ) -> dict[str, tf.Tensor]:
        sizes = tf.stack([tf.shape(one)[0] for one in (name, age, ids, pair)])
        rows = tf.reduce_max(sizes)
        check = tf.debugging.Assert(tf.reduce_all((sizes == 1) | (sizes == rows)), ["unequal rows:", sizes])
        allowed = tf.debugging.Assert(~tf.reduce_any(name == "refused"), ["this name is refused"])
        # All outputs hang on the number of rows, and so on the checks: else operations beside them may fail first, with words of their own.
        with tf.control_dependencies([check, allowed]):
            rows = tf.identity(rows)
        spread = tf.zeros([rows])
        return {
            "total": tf.reduce_sum(tf.maximum(ids, 0), axis=1) + tf.zeros([rows], tf.int64),
            "age": tf.where(tf.math.is_nan(age), -1.0, age) + spread,
            "pair": pair + spread[:, tf.newaxis],
            "name_bytes": tf.broadcast_to(name, [rows]),
            "name": tf.broadcast_to(name, [rows]),
            "version": tf.zeros([rows], tf.int64) + self.version,
        }

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.float32, "x"), tf.TensorSpec([], tf.int32, "k"), tf.TensorSpec([], tf.bool, "up")],
        autograph=False,
    )
    def multiples(self, x: tf.Tensor, k: tf.Tensor = tf.constant(2), up: tf.Tensor = tf.constant(True)) -> dict[str, tf.Tensor]:  # noqa: B008
        steps = tf.cast(tf.range(1, k + 1), tf.float32)
        return {"values": x[:, tf.newaxis] * tf.where(up, steps, -steps)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")], autograph=False)
    def mean(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"mean": tf.reduce_mean(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")], autograph=False)
    def oddities(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"root": tf.sqrt(x), "inverse": 1.0 / x, "negative": -1.0 / x}

    @tf.function(input_signature=[], autograph=False)
    def nothing(self) -> dict[str, tf.Tensor]:
        return {"version": self.version.read_value()}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")], autograph=False)
    def regress(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"outputs": _x(inputs) / 2 + 3}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")], autograph=False)
    def classify(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        x = _x(inputs)
        classes = tf.broadcast_to(tf.constant(["no", "yes"]), [tf.shape(x)[0], 2])
        return {"classes": classes, "scores": tf.stack([1 - x, x], axis=1)}


def _x(examples: tf.Tensor) -> tf.Tensor:
    return tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([], tf.float32, 0.25)})["x"]


def save(folder: Path, version: int) -> Path:
    """Saves the toy as `folder/<version>`; `version` is also among its outputs."""
    toy = Toy(version)
    shapes = {"name": [None], "age": [None], "ids": [None, None], "pair": [None, 2]}
    dtypes = {"name": tf.string, "age": tf.float32, "ids": tf.int64, "pair": tf.float32}
    predict = tf.function(toy.predict, input_signature=[tf.TensorSpec(s, dtypes[n], n) for n, s in shapes.items()], autograph=False)
    signatures = {
        "serving_default": toy.half_plus_three,
        "predict": predict,
        "multiples": toy.multiples,
        "mean": toy.mean,
        "oddities": toy.oddities,
        "nothing": toy.nothing,
        "tensorflow/serving/regress": toy.regress,
        "classify": toy.classify,
    }
    path = folder / str(version)
    tf.saved_model.save(toy, str(path), signatures=signatures)
    proto = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    for name, method in (("tensorflow/serving/regress", "regress"), ("classify", "classify")):
        proto.meta_graphs[0].signature_def[name].method_name = f"tensorflow/serving/{method}"
    (path / "saved_model.pb").write_bytes(proto.SerializeToString())
    return path


def ask(server: Server, path: str, body: Any = None, *, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Returns the status and the JSON that answer a request; a body makes it a POST."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{server.rest_port}{path}", data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def predict(server: Server, body: Any) -> Any:
    """Returns the answer to Predict, which must succeed."""
    status, answer = ask(server, "/v1/models/default:predict", body)
    assert status == 200, answer
    return answer


class Stubs:
    """TF Serving's official stubs over one channel."""

    def __init__(self, server: Server) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options=[("grpc.use_local_subchannel_pool", 1)])
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def predict(self, signature: str = "", timeout: float | None = 30, **inputs: Any) -> dict[str, Any]:
        """Returns the outputs of a signature as arrays."""
        response = self.prediction.Predict(predict_request(signature, **inputs), timeout)
        return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}

    def failure(self, call: Callable[..., Any], *args: Any) -> tuple[str, str]:
        """Returns the code and the message of a call that must fail."""
        try:
            call(*args)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        raise AssertionError("It did not fail.")


def predict_request(signature: str = "", **inputs: Any) -> Any:
    """Returns a PredictRequest; arrays of Python objects are strings."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "default"
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(np.asarray(value)))
    return request
