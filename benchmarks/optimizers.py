"""Row-wise optimizers beside Keras' dense ones: `make benchmark-optimizers`, or `python -m benchmarks.optimizers [--parts speed]`.

Two parts: what a step costs over the size of the table, and whether lazy Adam ends where dense Adam does on real data. What is finished is
kept in optimizers.jsonl, beside this file; a training is done again only where its settings have changed, or with --again.
optimizers.md is written after each result.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.optimizers_report import PARTS, SEEDS, TRAININGS, Training, report
from benchmarks.runs import ROOT, circumstances, preprocess, run_config, run_settings
from feature_specs.command import load_tensorflow
from trainer.config import RunConfig

RESULTS = Path(__file__).with_suffix(".jsonl")
ROWS = (10_000, 100_000, 1_000_000, 10_000_000)


class Results:
    """What has been measured, one a line of a file."""

    def __init__(self) -> None:
        lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.is_file() else []
        self.found = {_key(result): result for result in map(json.loads, lines)}

    def add(self, result: dict[str, Any]) -> None:
        """Keeps a result in place of an older one, and writes the tables."""
        self.found[_key(result)] = result | circumstances()
        RESULTS.write_text("".join(json.dumps(self.found[key]) + "\n" for key in sorted(self.found)), encoding="utf-8")
        RESULTS.with_suffix(".md").write_text(report(list(self.found.values())), encoding="utf-8")

    def has(self, result: dict[str, Any]) -> bool:
        """Whether there is this result, with these settings."""
        return self.found.get(_key(result), {}).get("settings") == result["settings"]


def _key(result: dict[str, Any]) -> tuple[Any, ...]:
    """Returns what a result is of."""
    return tuple(str(result.get(name, "")) for name in ("part", "optimizer", "recipe", "update", "seed")) + (result.get("rows", 0),)


def trainings(inputs: Path, folder: Path) -> Iterator[tuple[dict[str, Any], RunConfig]]:
    """Yields the trainings, each with what its result begins with; the first seed of all before the second one."""
    data = [str(preprocess(training.recipe, training.row, [str(inputs / training.input)], folder)) for training in TRAININGS]
    for seed in range(SEEDS):
        for training, directory in zip(TRAININGS, data, strict=True):
            for update in ("dense", "rowwise"):
                config = _config(training, seed, update, directory)
                result = {
                    "part": "convergence",
                    "recipe": training.recipe,
                    "update": update,
                    "seed": seed,
                    "settings": run_settings(config),
                }
                yield result, config


def _config(training: Training, seed: int, update: str, data: str) -> RunConfig:
    config = run_config(training.recipe, training.row, seed, data)
    # No penalty of rows, which means another thing in each; no end before the last step.
    same = {"embedding_update": update, "embedding_l2": 0.0, "plateau_factor": 1.0, "max_steps": training.steps, "epochs": 1000}
    return config.model_copy(update={"training": config.training.model_copy(update=same)})


def train(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Returns the test metrics of the last weights."""
    import keras

    from trainer.estimator import Estimator

    run_dir = folder / "optimizers-run"
    shutil.rmtree(run_dir, ignore_errors=True)
    estimator = Estimator(config, run_dir)
    steps = estimator.train()
    metrics = estimator.evaluate("test")
    shutil.rmtree(run_dir)
    keras.backend.clear_session()
    return {"steps": steps, "auc": metrics["auc"], "log_loss": metrics["log_loss"]}


def main() -> None:
    """Measures and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="of the table whose steps are timed")
    parser.add_argument("--again", action="store_true", help="train also what is finished")
    parser.add_argument(
        "--inputs", type=Path, default=os.environ.get("COLONNADE_DATA", ROOT / "../shared/data"), help="folder of the raw data"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/benchmark-ranking"), help="for preprocessed data, as benchmarks.ranking has it"
    )
    flags = parser.parse_args()
    load_tensorflow()
    results = Results()
    if "speed" in flags.parts:
        from benchmarks.optimizers_speed import measure

        for rows in flags.rows:
            for result in measure(rows):
                results.add(result)
                print(f"{result['optimizer']}, {rows:,} rows: {result['ours'][0]:.1f} ms, Keras {result['keras'][0]:.1f} ms", flush=True)
    if "convergence" in flags.parts:
        flags.folder.mkdir(parents=True, exist_ok=True)
        for result, config in trainings(Path(flags.inputs), flags.folder):
            if flags.again or not results.has(result):
                results.add(result | train(config, flags.folder))
            known = results.found[_key(result)]
            print(f"{result['recipe']} {result['update']} seed {result['seed']}: AUC {known['auc']:.5f}", flush=True)


if __name__ == "__main__":
    main()
