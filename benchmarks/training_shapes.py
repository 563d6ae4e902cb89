"""What the training benchmark trains: data of Criteo's shape in memory, the sizes that all contenders share, and their arithmetic.

Numbers come in two shapes, as the peers have them: `scalars`, 13 numbers beside 26 vectors (429 inputs of an MLP; DeepCTR), and
`embedded`, 39 vectors (624 inputs; FuxiCTR).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_specs import CategoricalFeature, FeatureSpec, Hash, Label, NumericFeature

FIELDS, NUMBERS, BATCHES = 26, 13, 20
SHAPES = {"scalars": "value", "embedded": "embedding"}
# Shared by all programs: each is given them, so that a size is written once.
SIZES: dict[str, Any] = {
    "fields": FIELDS,
    "numbers": NUMBERS,
    "batch_size": 4096,
    "embedding_dim": 16,
    "hidden_units": [400, 400, 400],
    "cross_layers": 3,
    "attention_layers": 3,
    "heads": 2,
    "head_units": 32,
    "cin_units": [128, 128],
}
# Ours: what a model takes beyond the width, the hidden layers, and no dropout.
MODELS: dict[str, dict[str, Any]] = {
    "deepfm": {},
    "dcn_v2": {"structure": "parallel", "num_layers": SIZES["cross_layers"]},
    "autoint": {
        "num_layers": SIZES["attention_layers"],
        "num_heads": SIZES["heads"],
        "attention_units": SIZES["heads"] * SIZES["head_units"],
    },
    "nfm": {"pooled_dropout": 0.0},
    "ipnn": {},
    "xdeepfm": {"cin_units": tuple(SIZES["cin_units"])},
    "wide_deep": {},
}
TITLES = {"deepfm": "DeepFM", "dcn_v2": "DCN-V2", "autoint": "AutoInt", "nfm": "NFM", "ipnn": "IPNN", "xdeepfm": "xDeepFM"}
# A row-wise optimizer is seen best where the rest of a step is least. FTRL is that of a wide side; beside it is the cheapest one.
OPTIMIZERS: dict[str, tuple[str, dict[str, str]]] = {
    "lazy_adam": ("nfm", {"embedding_optimizer": "lazy_adam"}),
    "adagrad": ("nfm", {"embedding_optimizer": "adagrad"}),
    "sgd": ("nfm", {"embedding_optimizer": "sgd"}),
    "ftrl": ("wide_deep", {"embedding_optimizer": "sgd", "wide_optimizer": "ftrl"}),
}


def draw(rng: np.random.Generator, rows: int, count: int, exponent: float) -> NDArray[np.int64]:
    """Returns `count` ids in [1, rows], the k-th with probability proportional to k^-exponent (0: uniform)."""
    shares = np.cumsum(np.arange(1, rows + 1, dtype=np.float64) ** -exponent)
    order = rng.permutation(rows)  # frequent rows lie anywhere in the table
    return order[np.searchsorted(shares, rng.random(count) * shares[-1])] + 1


def table_rows(total_rows: int) -> int:
    """Returns the rows of each table, padding included."""
    return total_rows // FIELDS


def criteo_shaped(total_rows: int, shape: str = "embedded") -> FeatureSpec:
    """Returns a spec whose tables have `total_rows` rows in all, with numbers of a shape."""
    encoding = Hash(num_buckets=table_rows(total_rows) - 1)
    tokens = [CategoricalFeature(name=f"c{i}", encoding=encoding) for i in range(FIELDS)]
    numbers = [NumericFeature.model_validate({"name": f"i{i}", "representation": SHAPES[shape]}) for i in range(NUMBERS)]
    return FeatureSpec(name="criteo_shaped", features=(*tokens, *numbers), label=Label(column="label"))


def write_data(path: Path, total_rows: int, exponent: float) -> None:
    """Writes BATCHES batches: `ids` `[N, 26]` from 1 on, `numbers` `[N, 13]` and `labels` `[N]`, the same each time."""
    rng = np.random.default_rng(0)
    count = BATCHES * SIZES["batch_size"]
    ids = np.stack([draw(rng, table_rows(total_rows) - 1, count, exponent) for _ in range(FIELDS)], axis=1)
    numbers = rng.normal(size=(count, NUMBERS)).astype(np.float32)
    np.savez(path, ids=ids, numbers=numbers, labels=rng.integers(0, 2, count).astype(np.float32))


def step_flops(model: str, shape: str) -> int:
    """Returns the floating-point operations of a step's matrix products.

    A multiply-add is two; going back costs each product twice what going forward does, once for its weights and once for its inputs.
    """
    return 3 * 2 * SIZES["batch_size"] * multiply_adds(model, shape)


def multiply_adds(model: str, shape: str) -> int:
    """Returns the multiply-adds of one example's matrix products, forward: dense layers, crosses, attention, products, CIN."""
    width = SIZES["embedding_dim"]
    fields, beside = (FIELDS, NUMBERS) if shape == "scalars" else (FIELDS + NUMBERS, 0)
    flat = fields * width + beside
    if model == "deepfm":
        return _mlp(flat)
    if model == "nfm":
        return _mlp(width + beside)
    if model == "dcn_v2":
        # Crosses of the whole input, and their own weights in the last projection.
        return SIZES["cross_layers"] * flat**2 + flat + _mlp(flat)
    if model == "ipnn":
        pairs = fields * (fields - 1) // 2
        return pairs * width + _mlp(flat + pairs)
    if model == "autoint":
        return _attention(fields, width) + _mlp(flat)
    if model == "xdeepfm":
        return _cin(fields, width) + _mlp(flat)
    raise ValueError(f"No formula for {model!r}. There are: {', '.join(TITLES)}.")


def _mlp(inputs: int) -> int:
    """Dense layers one after the other, down to one logit."""
    units = [inputs, *SIZES["hidden_units"], 1]
    return _chain(units)


def _chain(units: Sequence[int]) -> int:
    return sum(before * after for before, after in zip(units, units[1:], strict=False))


def _attention(fields: int, width: int) -> int:
    """Each layer's products as `FieldAttention` does them; the last projection.

    The first, whose vectors are narrower than a head: a form a head, scores and sums over the vectors, values and residual of what was
    seen. The others: query, key and value, scores and sums.
    """
    heads, units = SIZES["heads"], SIZES["heads"] * SIZES["head_units"]
    first = fields * (heads * width**2 + 2 * width * units) + 2 * fields**2 * heads * width
    others = fields * 3 * units**2 + 2 * fields**2 * units
    return first + (SIZES["attention_layers"] - 1) * others + fields * units


def _cin(fields: int, width: int) -> int:
    """Each layer's matrix over the products of its maps and the fields, for each of the vectors' elements; the last projection.

    The last layer sums its products over the elements first, and then has one matrix for all of them.
    """
    maps = [fields, *SIZES["cin_units"]]
    before, last = maps[-2:]
    return fields * width * _chain(maps[:-1]) + fields * width * before + fields * before * last + sum(maps[1:])
