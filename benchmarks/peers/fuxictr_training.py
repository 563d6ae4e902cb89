"""FuxiCTR's side of the training benchmark: its `train_step` and `predict` over batches in memory.

Its package has the base class and the layers; the model classes are in its repository, beside its run scripts. Here a model is made of
the same layers in the same way, and self-attention, which is in the class of AutoInt, is written out. The benchmark
benchmarks/training.py starts this file, in the environment that `make benchmark-peers` makes, with what to train as JSON.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from turns import serve, take_output

OUTPUT = take_output()

import torch  # noqa: E402 (prints of the libraries are no answers)
from fuxictr.features import FeatureMap  # noqa: E402
from fuxictr.pytorch.layers import (  # noqa: E402
    CompressedInteractionNet,
    CrossNetV2,
    FactorizationMachine,
    FeatureEmbedding,
    InnerProductInteraction,
    LogisticRegression,
    MLP_Block,
    ScaledDotProductAttention,
)
from fuxictr.pytorch.models import BaseModel  # noqa: E402

_TRAINING = {"task": "binary_classification", "embedding_regularizer": None, "net_regularizer": None}
_ELSEWHERE = {"verbose": 0, "model_root": os.devnull, "metrics": ["AUC", "logloss"]}


def feature_map(rows: int, sizes: Mapping[str, Any]) -> FeatureMap:
    """Returns what its processing writes for such columns: 0 is the padding of each table."""
    made = FeatureMap("criteo_shaped", "")
    token = {"source": "", "type": "categorical", "padding_idx": 0, "vocab_size": rows}
    made.features.update({f"c{i}": dict(token) for i in range(sizes["fields"])})
    made.features.update({f"i{i}": {"source": "", "type": "numeric"} for i in range(sizes["numbers"])})
    made.labels, made.default_emb_dim = ["label"], sizes["embedding_dim"]
    made.num_fields = made.get_num_fields()
    made.set_column_index()
    return made


class SelfAttention(torch.nn.Module):
    """Heads of queries, keys and values over the fields, a residual and a ReLU: `[B, F, inputs]` to `[B, F, heads * units]`."""

    def __init__(self, inputs: int, heads: int, units: int) -> None:
        super().__init__()
        self.heads, width = heads, heads * units
        self.projections = torch.nn.ModuleList(torch.nn.Linear(inputs, width, bias=False) for _ in range(3))
        self.residual = torch.nn.Linear(inputs, width, bias=False) if inputs != width else torch.nn.Identity()
        self.attend = ScaledDotProductAttention()

    def forward(self, fields: torch.Tensor) -> torch.Tensor:
        """Returns the fields as the heads see them."""
        split = [layer(fields).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in self.projections]
        seen, _ = self.attend(*split)
        return torch.relu(seen.transpose(1, 2).flatten(2) + self.residual(fields))


class Network(BaseModel):
    """One of the benchmark's models: embeddings, and the terms of its logit."""

    def __init__(self, model: str, features: FeatureMap, sizes: Mapping[str, Any]) -> None:
        super().__init__(features, model_id=model, gpu=-1, **_TRAINING, **_ELSEWHERE)
        self.model, fields, width = model, features.num_fields, sizes["embedding_dim"]
        self.embedding_layer = FeatureEmbedding(features, width)
        inputs = {"nfm": width, "ipnn": fields * width + fields * (fields - 1) // 2}.get(model, features.sum_emb_out_dim())
        self.mlp = MLP_Block(inputs, sizes["hidden_units"], output_dim=None if model == "dcn_v2" else 1)
        if model == "deepfm":
            self.fm = FactorizationMachine(features)
        elif model in ("nfm", "xdeepfm"):
            self.linear = LogisticRegression(features, use_bias=False)
        if model in ("nfm", "ipnn"):
            self.products = InnerProductInteraction(fields, output="bi_interaction" if model == "nfm" else "inner_product")
        if model == "xdeepfm":
            self.cin = CompressedInteractionNet(fields, sizes["cin_units"])
        if model == "dcn_v2":
            self.cross = CrossNetV2(inputs, sizes["cross_layers"])
            self.last = torch.nn.Linear(inputs + sizes["hidden_units"][-1], 1)
        if model == "autoint":
            units = sizes["heads"] * sizes["head_units"]
            widths = [width, *[units] * (sizes["attention_layers"] - 1)]
            self.attention = torch.nn.Sequential(*(SelfAttention(each, sizes["heads"], sizes["head_units"]) for each in widths))
            self.last = torch.nn.Linear(fields * units, 1)
        self.compile("adam", "binary_crossentropy", 1e-3)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Returns the probabilities, `[B, 1]`, as its base class wants them."""
        features = self.get_inputs(inputs)
        return {"y_pred": self.output_activation(self.logits(features, self.embedding_layer(features)))}

    def logits(self, features: Mapping[str, torch.Tensor], vectors: torch.Tensor) -> torch.Tensor:
        """Returns the logits, `[B, 1]`, for vectors `[B, F, D]`."""
        flat = vectors.flatten(start_dim=1)
        if self.model == "deepfm":
            return self.fm(features, vectors) + self.mlp(flat)
        if self.model == "nfm":
            return self.linear(features) + self.mlp(self.products(vectors))
        if self.model == "ipnn":
            return self.mlp(torch.cat([flat, self.products(vectors)], dim=1))
        if self.model == "dcn_v2":
            return self.last(torch.cat([self.cross(flat), self.mlp(flat)], dim=-1))
        if self.model == "autoint":
            return self.last(self.attention(vectors).flatten(start_dim=1)) + self.mlp(flat)
        return self.linear(features) + self.cin(vectors) + self.mlp(flat)


def main() -> None:
    """Builds the model and takes its turns."""
    job = json.loads(sys.argv[1])
    sizes = job["sizes"]
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    with np.load(job["data"]) as data:
        ids, numbers, labels = data["ids"], data["numbers"], data["labels"]
    columns = {f"c{i}": torch.from_numpy(np.ascontiguousarray(ids[:, i])) for i in range(sizes["fields"])}
    columns |= {f"i{i}": torch.from_numpy(np.ascontiguousarray(numbers[:, i])) for i in range(sizes["numbers"])}
    columns["label"] = torch.from_numpy(labels)
    count = len(columns["label"]) // sizes["batch_size"]
    split = {name: values.split(sizes["batch_size"]) for name, values in columns.items()}
    batches = [{name: parts[i] for name, parts in split.items()} for i in range(count)]
    model = Network(job["model"], feature_map(job["table_rows"], sizes), sizes)
    model._max_gradient_norm = 10.0  # as `fit` sets it

    def run(steps: int) -> list[float]:
        """Returns the milliseconds of each step, its loss read as `train_epoch` reads it."""
        model.train()
        taken = []
        for number in range(steps):
            started = time.perf_counter()
            model.train_step(batches[number % count]).item()
            taken.append(1000 * (time.perf_counter() - started))
        return taken

    def score(number: int) -> dict[int, float]:
        """Returns examples a second, in batches as large as in training, which is how its run scripts score."""
        started = time.perf_counter()
        model.predict(batches[:number])
        return {sizes["batch_size"]: number * sizes["batch_size"] / (time.perf_counter() - started)}

    versions = {name: importlib.metadata.version(name) for name in ("fuxictr", "torch")}
    serve(OUTPUT, {"versions": versions}, {"run": run, "score": score})


if __name__ == "__main__":
    main()
