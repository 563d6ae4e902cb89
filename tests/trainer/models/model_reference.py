"""A data set of four kinds of field, and its fields' vectors looked up one by one, for the models' double loops."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs import CategoricalFeature, FeatureSpec, Identity, Label, MultiValuedFeature, NumericFeature
from trainer.layers import Inputs
from trainer.models.base import RankingModel
from trainer.models.registry import get_model

SPEC = FeatureSpec(
    name="tiny",
    features=(
        CategoricalFeature(name="a", dtype="int64", encoding=Identity(num_buckets=4)),
        CategoricalFeature(name="b", dtype="int64", encoding=Identity(num_buckets=3)),
        MultiValuedFeature(name="tags", dtype="int64", encoding=Identity(num_buckets=5), combiner="mean"),
        NumericFeature(name="x"),
    ),
    label=Label(column="y"),
)
FEATURES = {
    "a": tf.constant([1, 4, 0], tf.int64),
    "b": tf.constant([2, 2, 3], tf.int64),
    "tags": tf.constant([[1, 2, 3], [5, 0, 0], [0, 0, 0]], tf.int64),
    "x": tf.constant([0.5, -2.0, 1.5]),
}
DIM = 4


def made(name: str, seed: int = 0, **hyper_parameters: object) -> RankingModel:
    """Returns a registered model whose trained variables are random, also those that begin at zero."""
    keras.utils.set_random_seed(seed)
    model = get_model(name)(Inputs(SPEC), **hyper_parameters)
    model(FEATURES)
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(scale=0.7, size=variable.shape).astype(np.float32))
    return model


def logits(model: RankingModel) -> NDArray:
    """Returns the logits of the three rows."""
    return model(FEATURES, training=False).numpy()


def looked_up(layer: keras.layers.Layer) -> NDArray:
    """Returns what a layer of fields holds for the four fields of each row, `[3, 4, W]`: table rows, their mean for a list, x * v."""
    layers = [sub for sub in layer._flatten_layers() if sub is not layer]
    stack = next(sub for sub in layers if hasattr(sub, "offsets"))
    table, vectors = stack.table.numpy(), next(sub for sub in layers if hasattr(sub, "vectors")).vectors.numpy()
    result = np.zeros((3, 4, table.shape[1]))
    for row in range(3):
        for field, name in enumerate(("a", "b")):
            if (found := int(FEATURES[name][row])) > 0:
                result[row, field] = table[stack.offsets[name] + found]
        if ids := [int(i) for i in FEATURES["tags"][row] if i > 0]:
            result[row, 2] = np.mean([table[stack.offsets["tags"] + i] for i in ids], axis=0)
        result[row, 3] = float(FEATURES["x"][row]) * vectors[0]
    return result


def with_weights(layer: keras.layers.Layer) -> tuple[NDArray, NDArray]:
    """Returns the vectors `[3, 4, D]` and first-order terms `[3]` of a layer that holds both."""
    both = looked_up(layer)
    return both[:, :, :-1], both[:, :, -1].sum(axis=1)


def flat(layer: keras.layers.Layer) -> NDArray:
    """Returns the vectors of a layer side by side, `[3, 4 D]`."""
    return looked_up(layer).reshape(3, -1)


def relu_mlp(layer: keras.layers.Layer, inputs: NDArray) -> NDArray:
    """Returns what an MLP of dense layers and ReLU gives."""
    weights = layer.get_weights()
    for kernel, bias in zip(weights[::2], weights[1::2], strict=True):
        inputs = np.maximum(inputs @ kernel + bias, 0)
    return inputs


def dense(layer: keras.layers.Layer, inputs: NDArray) -> NDArray:
    """Returns what a dense layer of one unit gives, `[3]`."""
    kernel, *bias = layer.get_weights()
    return (inputs @ kernel)[:, 0] + (bias[0][0] if bias else 0)


def sigmoid(x: NDArray) -> NDArray:
    """Returns 1 / (1 + e^-x)."""
    return 1 / (1 + np.exp(-x))


def softmax(x: NDArray) -> NDArray:
    """Returns the softmax over the last axis."""
    shifted = np.exp(x - x.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
