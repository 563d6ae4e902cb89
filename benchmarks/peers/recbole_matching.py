"""RecBole on MovieLens, in the environment of `make benchmark-matching-peers`.

`python benchmarks/peers/recbole_matching.py accuracy BPR NeuMF Caser SASRec --minutes 10` trains RecBole's models on the MovieLens-100k
that is inside its wheel, at RecBole's defaults: the last item of a user for test, the one before it for validation, all items ranked. The
defaults for training are 300 epochs at most, an end after 10 without a better MRR@10 on validation. Where time ends it, that is said.
RecBole holds times as float32, whose steps are 64 s for those of MovieLens, and within a step takes the order of the file. So that its last
items are the last ones, it is given the file in the order of time; with --as_it_comes it is not.

`python benchmarks/peers/recbole_matching.py speed NeuMF SASRec --data ml-1m.zip` times training steps alone, on MovieLens-1M.

One JSON line a run. RecBole masks the items that a user has seen for models of pairs but not for those of sequences: of the latter both
figures are given, `test` with the seen items masked, as everywhere else here, and `test_unmasked` as RecBole's own evaluation has it.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import importlib.metadata
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import recbole
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import ModelType, get_model, get_trainer, init_seed

_BY_TIME = "ml-100k-by-time"
_LEAVE_ONE_OUT = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}
_QUIET = {"use_gpu": False, "show_progress": False, "metrics": ["Recall", "MRR", "NDCG", "Hit"], "metric_decimal_place": 6}
_OURS = {"recall": "recall", "mrr": "mrr", "ndcg": "ndcg", "hit": "hit_rate"}
# Model and what is not at its default. Softmax over all items, the default loss of sequence models, goes without negatives. RecBole's Caser
# advises a history of 10 where its default is 50, which costs it 50 convolutions.
_ACCURACY: dict[str, tuple[str, dict[str, Any]]] = {
    "BPR": ("BPR", {}),
    "NeuMF": ("NeuMF", {}),
    "Caser": ("Caser", {"train_neg_sample_args": None}),
    "Caser, 10 items": ("Caser", {"train_neg_sample_args": None, "MAX_ITEM_LIST_LENGTH": 10}),
    "SASRec": ("SASRec", {"train_neg_sample_args": None}),
}
_SASREC: dict[str, Any] = {"n_layers": 2, "n_heads": 1, "hidden_size": 50, "inner_size": 50, "MAX_ITEM_LIST_LENGTH": 200}
_SASREC |= {"train_batch_size": 128, "hidden_dropout_prob": 0.2, "attn_dropout_prob": 0.2}
# Sizes of the NCF paper's model with 32 factors, RecBole's default batch; sizes of SASRec's paper, with RecBole's two losses.
_NEUMF: dict[str, Any] = {"mf_embedding_size": 32, "mlp_embedding_size": 128, "mlp_hidden_size": [128, 64, 32], "dropout_prob": 0.0}
_NEUMF |= {"train_batch_size": 2048, "train_neg_sample_args": {"distribution": "uniform", "sample_num": 4}}
_SPEED: dict[str, tuple[str, dict[str, Any]]] = {
    "NeuMF": ("NeuMF", _NEUMF),
    "SASRec": ("SASRec", {**_SASREC, "loss_type": "BPR"}),
    "SASRec, full softmax": ("SASRec", {**_SASREC, "loss_type": "CE", "train_neg_sample_args": None}),
}


class _OutOfTime(Exception):  # noqa: N818 (no error)
    pass


class _Watched:
    """Batches of a loader for some seconds, counted and timed from the step after `skipped` ones on."""

    def __init__(self, loader: Any, seconds: float, skipped: int = 5) -> None:  # noqa: ANN401 (a loader)
        self.loader, self.seconds, self.skipped = loader, seconds, skipped
        self.rows = self.steps = 0
        self.elapsed = 0.0

    def __iter__(self) -> Iterator[Any]:
        started = 0.0
        for step, batch in enumerate(self.loader):
            if step == self.skipped:
                started = time.perf_counter()
            yield batch
            if step >= self.skipped:
                self.rows, self.steps, self.elapsed = self.rows + len(batch), self.steps + 1, time.perf_counter() - started
                if self.elapsed >= self.seconds:
                    return


def _set_up(model: str, dataset: str, settings: dict[str, Any]) -> tuple[Any, Any, tuple[Any, Any, Any]]:
    """Returns the configuration, the trainer and the loaders, as RecBole's quick start makes them."""
    config = Config(model=model, dataset=dataset, config_dict={**_QUIET, "eval_args": _LEAVE_ONE_OUT, **settings})
    init_seed(config["seed"], config["reproducibility"])
    data = create_dataset(config)
    loaders = data_preparation(config, data)
    init_seed(config["seed"], config["reproducibility"])
    network = get_model(model)(config, loaders[0].dataset).to(config["device"])
    return config, get_trainer(config["MODEL_TYPE"], model)(config, network), loaders


def _in_order_of_time() -> dict[str, Any]:
    """Writes the ratings of the wheel in the order of time, ties in that of the file; returns the settings that read them."""
    folder = Path("by-time") / _BY_TIME
    if not folder.is_dir():
        folder.mkdir(parents=True)
        rows = pd.read_csv(Path(recbole.__file__).parent / "dataset_example/ml-100k/ml-100k.inter", sep="\t", dtype=str)
        order = rows["timestamp:float"].astype(float).sort_values(kind="stable").index
        rows.loc[order].to_csv(folder / f"{_BY_TIME}.inter", sep="\t", index=False)
    return {"data_path": str(folder.parent), "load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]}}


def _timed(function: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 (whatever it is)
        started = time.perf_counter()
        result = function(*arguments, **named)
        seconds.append(time.perf_counter() - started)
        return result

    return call


def _seen(config: Any, data: Any, left_out: int) -> dict[int, np.ndarray]:  # noqa: ANN401 (RecBole's)
    """Returns of each user the items before the last `left_out`, by time and then by the order of the file, as RecBole splits."""
    rows = pd.read_csv(Path(config["data_path"]) / f"{config['dataset']}.inter", sep="\t", dtype=str)
    rows.columns = [name.split(":")[0] for name in rows.columns]
    rows = rows.assign(timestamp=rows["timestamp"].astype(float)).sort_values("timestamp", kind="stable")
    users = rows["user_id"].map(data.field2token_id["user_id"])
    items = rows["item_id"].map(data.field2token_id["item_id"])
    return {user: part.to_numpy()[:-left_out] for user, part in items.groupby(users)}


def _mask_seen(trainer: Any, seen: dict[int, np.ndarray]) -> None:  # noqa: ANN401 (RecBole's)
    """Lets the trainer's evaluation mask `seen`, by the place that RecBole has for models of pairs."""
    scored = trainer._full_sort_batch_eval

    def call(batch: tuple[Any, Any, Any, Any]) -> tuple[Any, Any, Any, Any]:
        interaction, _, users, items = batch
        lists = [seen[int(user)] for user in interaction["user_id"]]
        index = torch.from_numpy(np.repeat(np.arange(len(lists)), [len(each) for each in lists]))
        return scored((interaction, (index, torch.from_numpy(np.concatenate(lists))), users, items))

    trainer._full_sort_batch_eval = call


def _metrics(result: dict[str, float]) -> dict[str, float]:
    return {f"{_OURS[name.split('@')[0]]}@{name.split('@')[1]}": float(value) for name, value in result.items()}


def _split_digest(data: Any) -> str:  # noqa: ANN401 (RecBole's)
    """Returns a digest of the pairs of a split, which tells whether two programs split alike."""
    rows = data.inter_feat
    users, items = (data.id2token(name, rows[name].numpy()) for name in ("user_id", "item_id"))
    return hashlib.sha256("".join(sorted(f"{user}\t{item}\n" for user, item in zip(users, items, strict=True))).encode()).hexdigest()


def accuracy(name: str, seed: int, minutes: float, as_it_comes: bool) -> dict[str, Any]:
    """Trains a model, for some minutes at most, and scores its best epoch."""
    model, settings = _ACCURACY[name]
    dataset, where = ("ml-100k", {}) if as_it_comes else (_BY_TIME, _in_order_of_time())
    config, trainer, (train, valid, test) = _set_up(model, dataset, {**where, **settings, "seed": seed})
    best: dict[str, torch.Tensor] = {}
    best_epoch, train_seconds, valid_seconds, started = [0], [], [], time.monotonic()

    def keep(epoch: int, **_: Any) -> None:  # noqa: ANN401 (RecBole's)
        # In memory: the file that RecBole writes is one that today's torch refuses to read.
        best.update({key: value.clone() for key, value in trainer.model.state_dict().items()})
        best_epoch[0] = epoch + 1

    def tell(epoch: int, score: float) -> None:
        print(f"{name} epoch {epoch + 1}: {config['valid_metric']} {score:.4f}, {train_seconds[-1]:.1f} s", file=sys.stderr, flush=True)
        if time.monotonic() - started + train_seconds[-1] + valid_seconds[-1] > 60 * minutes:
            raise _OutOfTime

    trainer._save_checkpoint = keep
    trainer._train_epoch = _timed(trainer._train_epoch, train_seconds)
    trainer._valid_epoch = _timed(trainer._valid_epoch, valid_seconds)
    try:
        trainer.fit(train, valid, verbose=False, callback_fn=tell)
        ended = "early stopping" if trainer.cur_step > trainer.stopping_step else "300 epochs"
    except _OutOfTime:
        ended = f"time ({minutes:g} min)"
    trainer.model.load_state_dict(best)
    result = {"valid": _metrics(trainer.evaluate(valid, load_best_model=False))}
    own = _metrics(trainer.evaluate(test, load_best_model=False))
    if config["MODEL_TYPE"] == ModelType.SEQUENTIAL:
        scored = trainer._full_sort_batch_eval
        for key, left_out, loader in (("valid_masked", 2, valid), ("test", 1, test)):
            trainer._full_sort_batch_eval = scored
            _mask_seen(trainer, _seen(config, train.dataset, left_out))
            result[key] = _metrics(trainer.evaluate(loader, load_best_model=False))
        result["test_unmasked"] = own
    else:
        result["test"] = own
    return {
        "row": f"RecBole {name}" + (", as it comes" if as_it_comes else ""),
        "seed": seed,
        **result,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad),
        "epochs": len(train_seconds),
        "best_epoch": best_epoch[0],
        "ended_by": ended,
        "seconds_per_epoch": statistics.median(train_seconds),
        "seconds_per_evaluation": statistics.median(valid_seconds),
        "minutes": (time.monotonic() - started) / 60,
        "test_pairs": _split_digest(test.dataset),
        "train_rows": len(train.dataset),
    }


def speed(name: str, archive: Path, seconds: float) -> dict[str, Any]:
    """Trains for some seconds, after some steps that do not count, and returns what went through."""
    model, settings = _SPEED[name]
    folder = Path("ml-1m-atomic/ml-1m")
    if not folder.is_dir():
        folder.mkdir(parents=True)
        with zipfile.ZipFile(archive) as files, files.open("ml-1m/ratings.dat") as ratings:
            rows = [line.decode().split("::") for line in ratings.read().splitlines()]
        head = "user_id:token\titem_id:token\ttimestamp:float\n"
        (folder / "ml-1m.inter").write_text(head + "".join(f"{user}\t{item}\t{when}\n" for user, item, _, when in rows), encoding="utf-8")
    load = {"data_path": str(folder.parent), "load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
    _, trainer, (train, *_) = _set_up(model, "ml-1m", {**load, **settings})
    watched = _Watched(train, seconds)
    trainer._train_epoch(watched, 0)
    result = {"row": f"RecBole {name}", "seed": 0, "steps": watched.steps, "seconds": watched.elapsed, "rows": watched.rows}
    if model == "NeuMF":
        # A row is a pair of user and item, positive or negative.
        return result | {"examples_per_second": watched.rows / watched.elapsed, "examples_per_step": watched.rows / watched.steps}
    # A row is a sequence cut at a position, of which this position alone is predicted: as many rows a user as positions.
    rate = watched.rows / watched.elapsed
    return result | {"sequences_per_second": rate, "positions_per_second": rate, "train_rows": len(train.dataset)}


def main() -> int:
    """Prints a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("accuracy", "speed"))
    parser.add_argument("models", nargs="*", help="all where not given")
    parser.add_argument("--minutes", type=float, default=10, help="accuracy: of training, at most, for a model and seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2020], help="accuracy: RecBole's default is 2020")
    parser.add_argument("--as_it_comes", action="store_true", help="accuracy: leave the file in its order")
    parser.add_argument("--seconds", type=float, default=60, help="speed: of training")
    parser.add_argument("--data", type=Path, help="speed: ml-1m.zip")
    flags = parser.parse_args()
    known: Collection[str] = _ACCURACY if flags.what == "accuracy" else _SPEED
    if unknown := [name for name in flags.models if name not in known]:
        parser.error(f"no such model: {', '.join(unknown)}. There are: {', '.join(known)}.")
    if flags.what == "speed" and flags.data is None:
        parser.error("--data is missing: give ml-1m.zip.")
    sys.argv = sys.argv[:1]  # RecBole reads it too
    archive = flags.data.absolute() if flags.data else Path()
    warnings.filterwarnings("ignore")
    versions = {name: importlib.metadata.version(name) for name in ("recbole", "torch", "numpy")}
    common = {"versions": versions, "date": str(datetime.date.today()), "threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # RecBole writes logs where it is started
        for name in flags.models or known:
            if flags.what == "speed":
                print(json.dumps({**speed(name, archive, flags.seconds), "given": _SPEED[name][1], **common}), flush=True)
                continue
            for seed in flags.seeds:
                print(
                    json.dumps({**accuracy(name, seed, flags.minutes, flags.as_it_comes), "given": _ACCURACY[name][1], **common}),
                    flush=True,
                )
        os.chdir("/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
