"""Test AUC of NFM on MovieLens-100k beside logistic regression: `python -m benchmarks.nfm_movielens`, writes nfm_movielens.md.

Three random 8:1:1 splits (split seeds 0, 1, 2, each with the same seed for training), NFM by its recipe, best epoch picked on the
validation split, the test split scored once. Beside it, on the same rows: scikit-learn's logistic regression on user and item id, its
regularisation picked on the validation split.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.preprocessing import OneHotEncoder

from feature_specs import RandomSplit
from feature_specs.datasets import get_dataset
from trainer.run import RunDirectory

SEEDS = (0, 1, 2)


def train(seed: int, folder: Path) -> tuple[dict[str, float], Path, RunDirectory]:
    """Preprocesses with the split of this seed and trains; returns the test metrics, the data and the run."""
    spec = get_dataset("movielens_100k")
    split = RandomSplit.model_validate({**spec.split.model_dump(), "seed": seed})
    path = folder / f"split_{seed}.yaml"
    path.write_text(spec.model_copy(update={"split": split}).to_yaml(), encoding="utf-8")
    data, run = folder / f"data_{seed}", folder / f"run_{seed}"
    command = f"-m trainer.task --model nfm --spec {path} --data_dir {data} --run_dir {run} --recipe movielens_100k --seed {seed}"
    subprocess.run([sys.executable, *command.split()], check=True)
    opened = RunDirectory.open(run)
    return opened.result()["metrics"]["test"], data, opened


def logistic_regression(data: Path) -> tuple[float, float]:
    """Returns test AUC and log loss on user and item id alone."""
    rows = {s: pq.read_table(sorted(data.glob(f"{s}-*.parquet"))).to_pandas() for s in ("train", "valid", "test")}
    encoder = OneHotEncoder(handle_unknown="ignore").fit(rows["train"][["user_id", "item_id"]])
    x = {split: encoder.transform(table[["user_id", "item_id"]]) for split, table in rows.items()}
    models = [LogisticRegression(C=c, max_iter=500).fit(x["train"], rows["train"].label) for c in (0.1, 0.3, 1.0, 3.0)]
    best = max(models, key=lambda model: roc_auc_score(rows["valid"].label, model.decision_function(x["valid"])))
    scores = best.predict_proba(x["test"])[:, 1]
    return float(roc_auc_score(rows["test"].label, scores)), float(log_loss(rows["test"].label, scores))


def main() -> None:
    """Runs all seeds and writes the table."""
    lines, ours, theirs = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in SEEDS:
            metrics, data, run = train(seed, Path(folder))
            lr = logistic_regression(data)
            ours.append((metrics["auc"], metrics["log_loss"]))
            theirs.append(lr)
            seconds = run.result()["seconds"]["train"]
            lines.append(f"| {seed} | {ours[-1][0]:.5f} / {ours[-1][1]:.5f} | {lr[0]:.5f} / {lr[1]:.5f} | {seconds:.0f} |")
    mean, deviation = np.mean(ours, axis=0), np.std(ours, axis=0, ddof=1)
    base = np.mean(theirs, axis=0)
    lines.append(f"| mean | {mean[0]:.5f} / {mean[1]:.5f} | {base[0]:.5f} / {base[1]:.5f} | |")
    lines.append(f"| deviation | {deviation[0]:.5f} / {deviation[1]:.5f} | | |")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("tensorflow", "keras", "scikit-learn"))
    text = "\n".join(
        [
            "# NFM on MovieLens-100k",
            "",
            f"`python -m benchmarks.nfm_movielens`, {datetime.date.today()}, {versions}, 2 cores.",
            *(__doc__ or "").strip().split("\n\n")[1:],
            "",
            "| seed of split and training | NFM: test AUC / log loss | logistic regression: test AUC / log loss | training seconds |",
            "| --- | --- | --- | --- |",
            *lines,
        ]
    )
    Path(__file__).with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
