"""Every kind of field the slow and obvious way: loops over rows and values, in NumPy."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from feature_specs import FeatureSpec
from trainer.layers import StackedTable
from trainer.layers.tables import NumericVectors

SPEC = FeatureSpec.from_yaml("""
name: every_kind
features:
- {kind: multi_valued, name: genres, encoding: {type: hash, num_buckets: 4}, combiner: attention}
- {kind: numeric, name: age, missing_indicator: true}
- {kind: numeric, name: profile, size: 3}
- {kind: numeric, name: price, representation: value, missing_indicator: true}
- {kind: numeric, name: place, size: 2, representation: value}
- {kind: bucketized, name: income, boundaries: [1, 2]}
- {kind: categorical, name: item, encoding: {type: vocabulary, tokens: [a, b, c]}}
- {kind: categorical, name: color, encoding: {type: hash, num_buckets: 3}, representation: indicator}
- {kind: multi_valued, name: tags, encoding: {type: hash, num_buckets: 4}, weights: w, max_norm: 0.9}
- {kind: multi_valued, name: roots, encoding: {type: hash, num_buckets: 4}, weights: v, combiner: sqrtn}
- {kind: multi_valued, name: totals, encoding: {type: hash, num_buckets: 4}, weights: u, combiner: sum}
- {kind: multi_valued, name: flags, encoding: {type: hash, num_buckets: 5}, representation: indicator}
- {kind: multi_valued, name: amounts, encoding: {type: hash, num_buckets: 5}, representation: indicator, weights: z}
- {kind: sequence, name: history, table: item, padding: left, combiner: sqrtn}
- {kind: sequence, name: baskets, encoding: {type: hash, num_buckets: 6}, value_delimiter: ',', trainable: false, padding: left}
- {kind: sequence, name: orders, encoding: {type: hash, num_buckets: 6}, value_delimiter: ',', combiner: attention}
- {kind: sequence, name: visits, table: orders, value_delimiter: ',', combiner: sum}
- {kind: sequence, name: clicks, encoding: {type: hash, num_buckets: 3}, value_delimiter: ',', representation: indicator}
- {kind: numeric_sequence, name: gaps, padding: left}
- {kind: numeric_sequence, name: costs, combiner: sum}
- {kind: numeric_sequence, name: ratings, combiner: attention}
- {kind: numeric_sequence, name: plain, representation: value, combiner: sqrtn}
- {kind: numeric_sequence, name: chosen, representation: value, combiner: attention, padding: left}
- {kind: crossed, name: item_by_income, inputs: [item, income], num_buckets: 7}
- {kind: crossed, name: item_by_tags, inputs: [item, tags], num_buckets: 7, combiner: sum}
- {kind: categorical, name: narrow, encoding: {type: identity, num_buckets: 3}, dtype: int64, embedding_dim: 2, max_norm: 0.5}
- {kind: numeric, name: wide, embedding_dim: 6}
label: {column: y}
""")
DIM = 4
BY_NAME = {field: feature for feature in SPEC.features for field in feature.fields}
COLUMNS = {column.name: column for column in SPEC.outputs}
Rows = dict[str, list[Any]]


def rows_of(name: str) -> int:
    """Returns the rows of a feature's table."""
    encoding = SPEC.tables[BY_NAME[name].table_name]
    return encoding.num_rows(len(getattr(encoding, "tokens", None) or ()))


def random_rows(count: int, seed: int = 0, longest: int = 4) -> Rows:
    """Returns transformed columns as lists: with missing values and empty lists."""
    rng = np.random.default_rng(seed)
    rows: Rows = {}
    for feature in SPEC.features:
        lengths = rng.integers(0, longest + 1, count)
        for column in feature.outputs:
            if column.layout == "list":
                rows[column.name] = [_values(rng, column.name, int(length)) for length in lengths]
            elif column.dtype == "int64":
                rows[column.name] = rng.integers(0, rows_of(column.name), count).tolist()
            else:
                rows[column.name] = rng.normal(size=(count, column.size) if column.layout == "vector" else count).tolist()
    return rows


def _values(rng: np.random.Generator, column: str, length: int) -> list[Any]:
    if column.endswith("_steps"):
        return np.cumsum(rng.integers(0, 3, length)).tolist()  # a step may be empty
    if COLUMNS[column].dtype == "float32":
        return rng.normal(size=length).astype(np.float32).tolist()
    return rng.integers(1, rows_of(column), length).tolist()


def tensors(rows: Rows, kind: str = "dense", padding: int = 0) -> dict[str, Any]:
    """Returns `rows` as a model receives them; lists as `kind`, with `padding` more columns where that is dense."""
    features: dict[str, Any] = {}
    for name, column in COLUMNS.items():
        if column.layout != "list":
            features[name] = tf.constant(rows[name], column.dtype)
            continue
        lengths = [len(row) for row in rows[name]]
        ragged = tf.RaggedTensor.from_row_lengths(tf.constant(sum(rows[name], []), column.dtype), lengths)
        dense = ragged.to_tensor(SPEC.paddings[name], shape=[None, max(lengths) + padding])
        features[name] = {"ragged": ragged, "dense": dense, "sparse": ragged.to_sparse()}[kind]
    return features


class Reference:
    """Embeds and pools field by field, with the weights of `layer`."""

    def __init__(self, layer: keras.layers.Layer, rows: Rows) -> None:
        self.layers, self.rows = list(layer._flatten_layers(include_self=False)), rows

    def vector(self, name: str, number: int) -> NDArray:
        """Returns the vector of an id."""
        feature = BY_NAME[name]
        if feature.representation == "indicator":
            return np.eye(rows_of(name) - 1)[number - 1]
        stack = next(each for each in self.layers if isinstance(each, StackedTable) and feature.table_name in each.offsets)
        found = stack.table.numpy()[stack.offsets[feature.table_name] + number]
        return found * min(1, feature.max_norm / np.linalg.norm(found)) if feature.max_norm else found

    def of_numbers(self, name: str, numbers: list[float]) -> NDArray:
        """Returns the vector of one value of numbers."""
        if BY_NAME[name].representation == "value":
            return np.array(numbers)
        layer = next(each for each in self.layers if isinstance(each, NumericVectors) and name in each.offsets)
        start = layer.offsets[name]
        return sum(x * v for x, v in zip(numbers, layer.vectors.numpy()[start : start + len(numbers)], strict=True))

    def values(self, name: str, row: int) -> tuple[list[NDArray], list[float] | None]:
        """Returns the vectors of a row's values, and their weights; those of one step are pooled."""
        feature, cell = BY_NAME[name], self.rows[name][row]
        if feature.kind in ("numeric", "numeric_sequence"):
            if COLUMNS[name].layout == "list":
                return [self.of_numbers(name, [x]) for x in cell], None
            return [self.of_numbers(name, cell if isinstance(cell, list) else [cell])], None
        vectors = [self.vector(name, i) for i in (cell if isinstance(cell, list) else [cell]) if i]
        if f"{name}_steps" in self.rows:
            steps = self.rows[f"{name}_steps"][row]
            combiner = {"attention": "mean"}.get(feature.combiner, feature.combiner)
            combiner = "sum" if feature.representation == "indicator" else combiner
            by_step = [[v for v, s in zip(vectors, steps, strict=True) if s == step] for step in range(max(steps, default=-1) + 1)]
            return [combined(each, None, combiner) if each else np.zeros(0) for each in by_step], None
        return vectors, self.rows[f"{name}_weights"][row] if f"{name}_weights" in self.rows else None

    def embedded(self, name: str, row: int, steps: int, width: int) -> NDArray:
        """Returns `[steps, width]`."""
        vectors, weights = self.values(name, row)
        vectors = [v * w for v, w in zip(vectors, weights, strict=True)] if weights else vectors
        rest = [np.zeros(width)] * (steps - len(vectors))
        full = [v if len(v) else np.zeros(width) for v in vectors]
        return np.array([*rest, *full] if getattr(BY_NAME[name], "padding", "right") == "left" else [*full, *rest]).reshape(steps, width)

    def pooled(self, name: str, row: int, width: int) -> NDArray:
        """Returns `[width]`."""
        vectors, weights = self.values(name, row)
        vectors = [v for v in vectors if len(v)]
        if not vectors:
            return np.zeros(width)
        feature = BY_NAME[name]
        combiner = getattr(feature, "combiner", "sum")
        if feature.representation == "indicator":
            return combined(vectors, weights, "sum")
        if combiner == "attention":
            return self.attended(name, vectors)
        return combined(vectors, weights, combiner)

    def attended(self, name: str, vectors: list[NDArray]) -> NDArray:
        """Returns the vectors weighted by attention."""
        layer = next(each for each in self.layers if each.name == f"attention_{name}")
        kernel, bias, context = (v.numpy() for v in (layer.kernel, layer.bias, layer.context))
        scores = np.array([(np.tanh(v @ kernel + bias) @ context)[0] for v in vectors])
        shares = np.exp(scores) / np.exp(scores).sum()
        return sum(a * v for a, v in zip(shares, vectors, strict=True))


def combined(vectors: list[NDArray], weights: list[float] | None, combiner: str) -> NDArray:
    """Returns one vector for several, as `tf.feature_column` combines them."""
    weights = [1.0] * len(vectors) if weights is None else weights
    pairs = [(v, w) for v, w in zip(vectors, weights, strict=True) if combiner == "sum" or w > 0]
    if not pairs:
        return np.zeros_like(vectors[0])
    total = sum(v * w for v, w in pairs)
    divisor = {"sum": 1.0, "mean": sum(w for _, w in pairs), "sqrtn": np.sqrt(sum(w * w for _, w in pairs))}
    return total / divisor[combiner]
