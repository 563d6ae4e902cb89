"""Logistic regression (scikit-learn) and boosted trees (LightGBM) on a preprocessed data directory, in the peers' environment.

`python ranking_baselines.py DATA_DIR` prints a JSON line for each. Ids are categories (one-hot for the regression), lists are multi-hot
(for the trees those of at most 1,000 values alone, so not histories), numbers are as the job scaled them. The regression's C and the
trees' number of leaves are picked on the validation split, boosting stops there early; the test split is scored once. Where rows have a
group, a binary task has GAUC beside the others, as trainer/metrics.py has it.
"""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp
import sklearn
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, mean_squared_error, roc_auc_score

SPLITS = ("train", "valid", "test")
MOST_COLUMNS = 1000
Scores = Callable[[Any], np.ndarray]


def _lists(column: pa.ChunkedArray, width: int) -> sp.csr_matrix:
    array = column.combine_chunks()
    rows = np.repeat(np.arange(len(array)), np.diff(array.offsets.to_numpy()))
    ids = array.flatten().to_numpy(zero_copy_only=False)
    return sp.csr_matrix((np.ones(len(ids), np.float32), (rows, ids)), shape=(len(array), width))


def _one_hot(ids: np.ndarray, width: int) -> sp.csr_matrix:
    return sp.csr_matrix((np.ones(len(ids), np.float32), (np.arange(len(ids)), ids)), shape=(len(ids), width))


def _matrices(tables: dict[str, pa.Table]) -> tuple[dict[str, sp.csr_matrix], dict[str, np.ndarray], list[int]]:
    """Returns, a split each, a one-hot matrix and the matrix for trees; and which columns of the latter are categories."""
    hot: dict[str, list] = {split: [] for split in SPLITS}
    trees: dict[str, list] = {split: [] for split in SPLITS}
    categories, width_so_far = [], 0
    for field in tables["train"].schema:
        if field.name == "label" or field.name.startswith("_"):
            continue
        values = {split: table[field.name] for split, table in tables.items()}
        if pa.types.is_list(field.type) and not pa.types.is_integer(field.type.value_type):
            continue
        if pa.types.is_list(field.type):
            width = 1 + max(int(v.combine_chunks().flatten().to_numpy().max(initial=0)) for v in values.values())
            matrices = {split: _lists(v, width) for split, v in values.items()}
            for split in SPLITS:
                hot[split].append(matrices[split])
                if width <= MOST_COLUMNS:
                    trees[split].append(matrices[split].toarray())
            width_so_far += width if width <= MOST_COLUMNS else 0
            continue
        arrays = {split: v.to_numpy() for split, v in values.items()}
        is_id = pa.types.is_integer(field.type)
        if is_id:
            categories.append(width_so_far)
        width = 1 + max(int(a.max()) for a in arrays.values()) if is_id else 0
        for split, array in arrays.items():
            hot[split].append(_one_hot(array, width) if is_id else sp.csr_matrix(array[:, None]))
            trees[split].append(array.astype(np.float32)[:, None])
        width_so_far += 1
    return (
        {split: sp.hstack(parts, format="csr") for split, parts in hot.items()},
        {split: np.hstack(parts) for split, parts in trees.items()},
        categories,
    )


def grouped_auc(labels: np.ndarray, scores: np.ndarray, groups: pa.ChunkedArray) -> float:
    """Returns the mean of the groups' AUCs, weighted by their rows; rows without a group, and groups of one class, are left out."""
    codes = groups.combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy()
    order = np.argsort(codes, kind="stable")[np.count_nonzero(codes < 0) :]
    each = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    both = [rows for rows in each if len(np.unique(labels[rows])) == 2]
    aucs = [roc_auc_score(labels[rows], scores[rows]) for rows in both]
    return float(np.average(aucs, weights=[len(rows) for rows in both])) if both else float("nan")


def _metrics(table: pa.Table, scores: np.ndarray, binary: bool) -> dict[str, float]:
    labels = table["label"].to_numpy()
    if not binary:
        return {"rmse": float(np.sqrt(mean_squared_error(labels, scores))), "mae": float(np.mean(np.abs(labels - scores)))}
    metrics = {"auc": float(roc_auc_score(labels, scores)), "log_loss": float(log_loss(labels, scores))}
    return {**metrics, "gauc": grouped_auc(labels, scores, table["_group"])} if "_group" in table.column_names else metrics


def linear(x: dict[str, Any], y: dict[str, np.ndarray], binary: bool) -> Scores:
    """Returns the regression whose strength of regularisation is best on the validation split."""
    strengths = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    if not binary:
        models = [Ridge(alpha=1 / c).fit(x["train"], y["train"]) for c in strengths]
        return min(models, key=lambda m: mean_squared_error(y["valid"], m.predict(x["valid"]))).predict
    models = [LogisticRegression(C=c, max_iter=300).fit(x["train"], y["train"]) for c in strengths]
    best = max(models, key=lambda m: roc_auc_score(y["valid"], m.decision_function(x["valid"])))
    return lambda rows: best.predict_proba(rows)[:, 1]


def boosted_trees(x: dict[str, Any], y: dict[str, np.ndarray], binary: bool, categories: list[int]) -> Scores:
    """Returns the ensemble whose number of leaves is best on the validation split."""
    kind = lightgbm.LGBMClassifier if binary else lightgbm.LGBMRegressor
    metric = "auc" if binary else "rmse"
    fitted = []
    for leaves in (31, 255):
        model = kind(n_estimators=500, learning_rate=0.1, num_leaves=leaves, verbose=-1, random_state=0)
        model.fit(
            x["train"],
            y["train"],
            eval_set=[(x["valid"], y["valid"])],
            eval_metric=metric,
            categorical_feature=categories,
            callbacks=[lightgbm.early_stopping(30, first_metric_only=True, verbose=False)],
        )
        fitted.append((model.best_score_["valid_0"][metric] * (1 if binary else -1), leaves, model))
    best = max(fitted, key=lambda each: each[:2])[2]
    return (lambda rows: best.predict_proba(rows)[:, 1]) if binary else best.predict


def main(data: Path) -> None:
    """Prints a line for each library."""
    tables = {split: pa.concat_tables([pq.read_table(path) for path in sorted(data.glob(f"{split}-*.parquet"))]) for split in SPLITS}
    hot, dense, categories = _matrices(tables)
    y = {split: table["label"].to_numpy() for split, table in tables.items()}
    binary = set(np.unique(y["train"])) == {0.0, 1.0}
    for row, version, x, fit in (
        ("LR (scikit-learn)" if binary else "Ridge (scikit-learn)", sklearn.__version__, hot, lambda: linear(hot, y, binary)),
        ("LightGBM", lightgbm.__version__, dense, lambda: boosted_trees(dense, y, binary, categories)),
    ):
        started = time.monotonic()
        scores = fit()
        seconds = time.monotonic() - started
        result = {split: _metrics(tables[split], scores(x[split]), binary) for split in ("valid", "test")}
        versions = {row: version}
        print(json.dumps({"row": row, **result, "seconds": seconds, "versions": versions, "date": str(datetime.date.today())}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
