"""`classify` and `regress`: what TF Serving's calls of these names take and give, made of a model's named scores.

TF Serving answers `Classify` and `Regress` by signatures that carry their method names, with the one input `inputs`, serialized
tf.Examples. It wants `classes`, strings, and `scores`, float32, both `[B, classes]`; and `outputs`, float32 `[B]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from serving.assets import state_sizes

METHODS = {"classify": tf.saved_model.CLASSIFY_METHOD_NAME, "regress": tf.saved_model.REGRESS_METHOD_NAME}
CLASSES = ("0", "1")
_OF_TASK = {"binary": ("classify", "regress"), "regression": ("regress",), "matching": ("classify", "regress")}


def answers(task: str, scores: Mapping[str, tf.Tensor]) -> dict[str, dict[str, tf.Tensor]]:
    """Returns the outputs of each signature that a task has.

    The two classes are "0" and "1", with their probabilities. The value of a row is its prediction, of "binary" the probability of "1";
    of "matching" the model's score itself, for probabilities near 1 would hide the order.

    Args:
        task: Of the model.
        scores: Under their names, each `[B]`.
    """
    if task == "regression":
        return {"regress": {"outputs": scores["predictions"]}}
    logits, probabilities = scores["logits"], scores["probabilities"]
    classify = {
        "classes": tf.tile(tf.constant([CLASSES]), [tf.size(logits), 1]),
        "scores": tf.stack([tf.sigmoid(-logits), probabilities], axis=1),
    }
    return {"classify": classify, "regress": {"outputs": logits if task == "matching" else probabilities}}


def expected_scores(task: str, live: Mapping[str, tf.Tensor]) -> dict[str, Mapping[str, tf.Tensor]]:
    """Returns what every signature of scores should give, for the live scores of the same rows."""
    return {"predict": live, "serving_default": live, **answers(task, live)}


def score_inputs(task: str, tensors: Mapping[str, tf.Tensor], examples: tf.Tensor) -> dict[str, Mapping[str, tf.Tensor]]:
    """Returns the inputs of every signature of scores, for rows as inputs of `predict` and as serialized tf.Examples."""
    return {"predict": tensors, "serving_default": {"examples": examples}, **{name: {"inputs": examples} for name in _OF_TASK[task]}}


def functions(task: str, predict_examples: Callable[[tf.Tensor], Mapping[str, tf.Tensor]]) -> dict[str, Any]:
    """Returns the functions to export; they call `predict_examples`, so that its graph is traced and saved once."""

    def of(name: str) -> Any:  # noqa: ANN401 (a tf.function)
        return tf.function(
            lambda inputs: answers(task, predict_examples(inputs))[name],
            input_signature=[tf.TensorSpec([None], tf.string, name="inputs")],
            autograph=False,
        )

    return {name: of(name) for name in _OF_TASK[task]}


def save(module: Any, version: Path) -> None:  # noqa: ANN401 (a tf.Module with `signatures`)
    """Writes a SavedModel with the method names that TF Serving looks for, the sizes of its assets, and a fingerprint that fits it."""
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.saved_model.fingerprinting_utils import write_fingerprint

    tf.saved_model.save(module, str(version), signatures=module.signatures)
    path = version / "saved_model.pb"
    proto = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    (graph,) = proto.meta_graphs
    # `save` calls every signature's method "predict".
    for name in METHODS.keys() & module.signatures.keys():
        graph.signature_def[name].method_name = METHODS[name]
    state_sizes(graph, version / "assets")
    path.write_bytes(proto.SerializeToString(deterministic=True))
    # The signatures are part of the fingerprint, which was of the file before.
    write_fingerprint(str(version))
