"""DeepCTR's side of the training benchmark: `model.compile`, `model.fit` and `model.predict`, as its documentation shows them.

It is started by benchmarks/training.py, in the environment that `make benchmark-peers` makes, with what to train as JSON.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
from typing import Any

import numpy as np
from turns import serve, take_output

# It stands on Keras 2. On import a thread asks PyPI for its newest version, with no limit of time: here it is refused at once.
os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "2", "https_proxy": "http://127.0.0.1:9"}


def network(model: str, rows: int, sizes: dict[str, Any]) -> Any:  # noqa: ANN401 (a Keras model)
    """Returns a model of the common sizes, compiled; all L2 penalties are off."""
    from deepctr import models
    from deepctr.feature_column import DenseFeat, SparseFeat

    columns = [SparseFeat(f"c{i}", vocabulary_size=rows, embedding_dim=sizes["embedding_dim"]) for i in range(sizes["fields"])]
    columns += [DenseFeat(f"i{i}", 1) for i in range(sizes["numbers"])]
    both = (columns, columns)
    common = {"dnn_hidden_units": tuple(sizes["hidden_units"]), "l2_reg_embedding": 0.0, "l2_reg_dnn": 0.0}
    linear = {**common, "l2_reg_linear": 0.0}
    made = {
        "deepfm": lambda: models.DeepFM(*both, **linear),
        "nfm": lambda: models.NFM(*both, **linear),
        "ipnn": lambda: models.PNN(columns, use_inner=True, use_outter=False, **common),
        "dcn_v2": lambda: models.DCN(*both, cross_num=sizes["cross_layers"], cross_parameterization="matrix", l2_reg_cross=0.0, **linear),
        "autoint": lambda: models.AutoInt(
            *both, att_layer_num=sizes["attention_layers"], att_embedding_size=sizes["head_units"], att_head_num=sizes["heads"], **linear
        ),
        # All maps of a layer are both pooled and handed on, as in the paper and in the other two programs.
        "xdeepfm": lambda: models.xDeepFM(*both, cin_layer_size=tuple(sizes["cin_units"]), cin_split_half=False, l2_reg_cin=0.0, **linear),
    }[model]()
    made.compile("adam", "binary_crossentropy")
    return made


def main() -> None:
    """Builds the model and takes its turns."""
    output = take_output()
    job = json.loads(sys.argv[1])
    sizes = job["sizes"]
    with np.load(job["data"]) as data:
        ids, numbers, labels = data["ids"].astype(np.int32), data["numbers"], data["labels"]
    columns = {f"c{i}": np.ascontiguousarray(ids[:, i]) for i in range(ids.shape[1])}
    columns |= {f"i{i}": np.ascontiguousarray(numbers[:, i]) for i in range(numbers.shape[1])}
    del ids, numbers
    from tensorflow import keras

    model = network(job["model"], job["table_rows"], sizes)

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        """Notes the time at the end of each step."""

        def __init__(self) -> None:
            super().__init__()
            self.ends: list[float] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ANN401, ARG002 (as Keras has it)
            self.ends.append(time.perf_counter())

    def run(steps: int) -> list[float]:
        """Returns the milliseconds of each step but a first one, which has the start of `fit` in it."""
        rows, clock = (steps + 1) * sizes["batch_size"], Clock()
        inputs = {name: values[:rows] for name, values in columns.items()}
        model.fit(inputs, labels[:rows], batch_size=sizes["batch_size"], epochs=1, verbose=0, callbacks=[clock])
        return [1000 * float(each) for each in np.diff(clock.ends)]

    def score(batches: int) -> dict[int, float]:
        """Returns examples a second by the size of a batch: that of its documentation, which is Keras' 256 as well, and a large one."""
        rows, rates = batches * sizes["batch_size"], {}
        inputs = {name: values[:rows] for name, values in columns.items()}
        for size in (256, sizes["batch_size"]):
            started = time.perf_counter()
            model.predict(inputs, batch_size=size, verbose=0)
            rates[size] = rows / (time.perf_counter() - started)
        return rates

    versions = {name: importlib.metadata.version(name) for name in ("deepctr", "tensorflow", "tf_keras")}
    serve(output, {"versions": versions}, {"run": run, "score": score})


if __name__ == "__main__":
    main()
