"""The end of a run: the test split, once; the export, verified; `result.json`; and what the user reads."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from serving.skew import compare_sample
from trainer.estimator import Estimator
from trainer.matching.refit import refit
from trainer.matching.side import Metrics, first_of, only_or_all
from trainer.quantised import round_tables, sizes
from trainer.run import RunDirectory

_SHOWN = ("auc", "gauc", "log_loss", "normalized_entropy", "pr_auc", "accuracy", "precision", "recall", "ece", "rmse", "mae")
_AT_THRESHOLD = ("accuracy", "precision", "recall")


def finish_run(estimator: Estimator, started: float) -> None:
    """Evaluates the best weights, exports and verifies them, writes `result.json` and, last, `_SUCCESS`.

    Args:
        estimator: Trained.
        started: `time.perf_counter()` at the start of the command.
    """
    run = estimator.run
    marks = [time.perf_counter()]
    valid, test, parts = _scores(estimator)
    marks.append(time.perf_counter())
    version = estimator.export_saved_model()
    stored = _stored(estimator, version, test) if run.config.export_dtype != "float32" else {}
    served = _served(estimator, test)
    marks.append(time.perf_counter())
    model = estimator.model
    round_tables(model, run.config.export_dtype)
    skew = compare_sample(version, run.path / "sample.parquet", model)
    marks.append(time.perf_counter())
    epochs = run.epochs()
    training_seconds = sum(line["seconds"]["train"] for line in epochs)
    result: dict[str, Any] = {
        "model": run.config.model,
        "dataset": run.config.dataset,
        "task": estimator.task.name,
        "protocol": _protocol(estimator),
        "parameters": estimator.loop.parameters,
        "metrics": {"valid": valid, "test": test},
        **({"threshold": run.config.training.threshold} if estimator.task.name == "binary" else {}),
        "parts": parts,
        "skew": {"features": skew.features, "score": skew.score},
        "examples_per_second": max(line["examples_per_second"] for line in epochs),
        "seconds": {
            "train": training_seconds,
            "validate": sum(line["seconds"].get("evaluate", 0.0) for line in epochs),
            "test": marks[1] - marks[0],
            "export": marks[2] - marks[1],
            "verify": marks[3] - marks[2],
            "total": marks[3] - started,
        },
        "best_epoch": estimator.loop.position.best_epoch,
        "epochs": len(epochs),
        "steps": int(estimator.loop.step),
        "export": version.relative_to(run.path).as_posix(),
        **({"export_dtype": stored} if stored else {}),
        **({"served_history": served} if served else {}),
        "seed": run.config.training.seed,
    }
    run.finish(result)


def _scores(estimator: Estimator) -> tuple[Metrics, Metrics, dict[str, float]]:
    """Returns the metrics of validation and test, by protocol where there are several, and the shares of the parts on the test split."""
    if estimator.matching is None:
        return estimator.evaluate_parts("valid")[0], *estimator.evaluate_parts("test")
    valid, test = scores_by_protocol(estimator)
    return first_of(valid), only_or_all(test), {}


def scores_by_protocol(estimator: Estimator) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """Returns the validation metrics of a matching model's best weights, and the test metrics: after the refit, where one is asked for."""
    estimator.loop.restore_weights(estimator.run.best)
    valid = estimator.evaluate_by_protocol("valid")
    refit(estimator)
    estimator.loop.restore_weights(estimator.run.refitted)
    return valid, estimator.evaluate_by_protocol("test")


def _stored(estimator: Estimator, version: Path, test: Any) -> dict[str, Any]:  # noqa: ANN401 (Metrics)
    """Returns what tables that are not float32 save, and what they cost: the monitored metric of the test split, by the first protocol."""
    dtype, metric = estimator.config.export_dtype, estimator.task.monitor
    small, large = sizes(estimator.model, dtype, version)
    before = test if metric in test else first_of(test)
    after = estimator.evaluate("test", table_dtype=dtype)
    return {
        "dtype": dtype,
        "metric": metric,
        "before": before[metric],
        "after": after[metric],
        "bytes_before": large,
        "bytes_after": small,
    }


def _served(estimator: Estimator, test: Any) -> dict[str, Any]:  # noqa: ANN401 (Metrics)
    """Returns what it changes for a model of whole histories that an export passes on a part: the monitored metric of the test split."""
    side, metric = estimator.matching, estimator.task.monitor
    length = side.served_length(estimator.loop.model) if side else None
    if side is None or length is None:
        return {}
    before = test if metric in test else first_of(test)
    after = first_of(side.evaluate(estimator.data, estimator.model, "test", length))
    return {"max_length": length, "metric": metric, "before": before[metric], "after": after[metric]}


def _protocol(estimator: Estimator) -> str | dict[str, str]:
    """Returns what the test metrics mean; of several protocols, each."""
    anew = "; trained anew with the validation split for as many epochs" if estimator.run.config.training.refit else ""
    is_picked = estimator.loop.position.best_epoch >= 0
    picked = f"best epoch by validation {estimator.task.monitor}" if is_picked else "last epoch, as none was picked by validation"
    ending = f"; {picked}{anew}; test scored once"
    if estimator.matching is None:
        return f"{estimator.spec.split.type} split{ending}"
    texts = {name: text + ending for name, text in estimator.matching.protocol_texts("test").items()}
    drawn = next(iter(estimator.matching.protocol_texts("valid")))
    if drawn not in texts:  # no file lists candidates for the validation split
        texts = {name: text.replace("by validation ", f"by validation ({drawn}) ") for name, text in texts.items()}
    return next(iter(texts.values())) if len(texts) == 1 else texts


def print_result(run: RunDirectory) -> None:
    """Prints a finished run's metrics and where its parts are."""
    result = run.result()
    metrics = result["metrics"]
    # One table, or one for each protocol; validation has the first protocol alone.
    tests = metrics["test"] if isinstance(result["protocol"], dict) else {result["protocol"]: metrics["test"]}
    print(f"\n{result['model']} on {result['dataset']}: {result['parameters']:,} parameters")
    for place, (protocol, test) in enumerate(tests.items()):
        said = result["protocol"][protocol] if isinstance(result["protocol"], dict) else protocol
        splits = {"valid": metrics["valid"], "test": test} if place == 0 else {"test": test}
        print(f"  {said}")
        print(f"  {'':<20}" + "".join(f"{split:>10}" for split in splits))
        for name in [name for name in _SHOWN if name in test] or test:
            shown_name = f"{name} @{result.get('threshold', 0.5):g}" if name in _AT_THRESHOLD else name
            values = (of[name] for of in splits.values())
            print(f"  {shown_name:<20}" + "".join(f"{value:>10.5f}" if value is not None else f"{'undefined':>10}" for value in values))
    shares = "  ".join(f"{name} {share:.0%}" for name, share in result["parts"].items())
    if shares:
        print(f"  parts of the logit    {shares}")
    print(f"  skew, trained/served  features {result['skew']['features']:.2g}  score {result['skew']['score']:.2g}")
    speed = f"{result['examples_per_second']:,.0f} examples/s"
    print(f"  time                  {result['seconds']['train']:.0f} s training ({speed}), {result['seconds']['total']:.0f} s in all\n")
    print(f"run     {run.path}  (result.json, metrics.jsonl, curves.png, checkpoints/)")
    if served := result.get("served_history"):
        before, after = served["before"], served["after"]
        what = f"evaluated whole; served with the last {served['max_length']} items"
        print(f"history {what}: test {served['metric']} {before:.5f} -> {after:.5f} ({after - before:+.5f})")
    if stored := result.get("export_dtype"):
        print(f"export {stored_line(stored)}")
    print(f"export  {run.path / result['export']}")


def stored_line(stored: dict[str, Any]) -> str:
    """Returns in one line what tables that are not float32 save and cost."""
    before, after = stored["before"], stored["after"]
    known = before is not None and after is not None
    change = f"{before:.5f} -> {after:.5f} ({after - before:+.5f})" if known else "undefined"
    mb = "{:,.2f} MB instead of {:,.2f} MB".format(stored["bytes_after"] / 1e6, stored["bytes_before"] / 1e6)
    return f"{stored['dtype']}: {mb}; test {stored['metric']} {change}"
