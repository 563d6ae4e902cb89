"""Matching from the command line: what a run leaves, and one clear line for each mistake."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from feature_specs import ColonnadeError, FeatureSpec
from preprocessing.artifacts import DataDirectory
from preprocessing.pipeline import build as run
from tests.serving.tiny_matching import INTEGERS, STRINGS, build
from trainer import compare, task
from trainer.config import RunConfig, TrainingConfig
from trainer.estimator import Estimator, EvalSpec, TrainSpec, train_and_evaluate
from trainer.matching.catalogue import Catalogue
from trainer.matching.rows import read_rows
from trainer.matching.scoring import Scorer
from trainer.quantised import round_tables

CUTOFF_METRICS = "hit_rate ndcg mrr map precision recall coverage popularity".split()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataDirectory:
    return build(STRINGS, tmp_path_factory.mktemp("matching") / "strings", "u", "i")


def _run(data: DataDirectory, run_dir: Path, model: str, *flags: str) -> dict[str, Any]:
    """Trains by the command line; returns the result."""
    spec = data.path.parent / "spec.json"
    spec.write_text(data.spec.to_json())
    arguments = ["--model", model, "--spec", str(spec), "--data_dir", str(data.path), "--run_dir", str(run_dir), "--epochs", "2", *flags]
    assert task.main([*arguments, "--batch_size", "16"]) == 0
    return json.loads((run_dir / "result.json").read_text())


def _config(data: DataDirectory, model: str, hyper_parameters: dict[str, Any] | None = None, **training: Any) -> RunConfig:
    given = TrainingConfig(epochs=3, batch_size=16, patience=3, **training)
    return RunConfig(
        model=model,
        dataset="strings",
        fingerprint=data.spec.fingerprint,
        data_dir=str(data.path),
        hyper_parameters={"embedding_dim": 4} if hyper_parameters is None else hyper_parameters,
        training=given,
    )


@pytest.fixture(scope="module")
def bpr(data: DataDirectory, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run whose export has int8 tables, and what it printed. Treat it as read-only."""
    path = tmp_path_factory.mktemp("runs") / "bpr"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        _run(data, path, "bpr", "--export_dtype", "int8", "--hparams", "embedding_dim=64", "initial_stddev=1.0", "cutoffs=5,10")
    return path, printed.getvalue()


def test_a_run_says_its_protocol_and_serves_what_it_evaluated(bpr: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path, out = bpr
    result = json.loads((path / "result.json").read_text())
    assert result["task"] == "matching"
    assert result["protocol"].startswith(
        "leave_last_out split; full corpus of 40 items, seen ones left out; ties count against the positive"
    )
    assert set(result["metrics"]["test"]) == {f"{name}@{k}" for name in CUTOFF_METRICS for k in (5, 10)}
    assert result["skew"]["score"] < 1e-4
    assert result["parts"] == {}
    assert (path / "items.parquet").is_file()
    assert "ndcg@5" in out
    assert "epoch 2: loss" in out
    assert compare.main([str(path), "--output", str(tmp_path / "compare.png")]) == 0
    assert "ndcg@5" in capsys.readouterr().out


def test_vectors_and_lists_come_from_the_stored_tables(bpr: tuple[Path, str], data: DataDirectory) -> None:
    path, out = bpr
    result = json.loads((path / "result.json").read_text())
    stored = result["export_dtype"]
    assert (stored["metric"], stored["before"]) == ("ndcg@5", result["metrics"]["test"]["ndcg@5"])
    assert stored["after"] == Estimator.load(path).evaluate("test", table_dtype="int8")["ndcg@5"]
    assert f" MB; test ndcg@5 {stored['before']:.5f} -> {stored['after']:.5f} (" in out
    assert result["skew"]["score"] <= 1e-5

    saved = tf.train.load_checkpoint(str(path / result["export"] / "variables" / "variables"))
    types, shapes = saved.get_variable_to_dtype_map(), saved.get_variable_to_shape_map()
    tables = {name: shape for name, shape in shapes.items() if name.startswith("model_variables/") and shape[1:] == [64] and shape[0] > 1}
    assert {types[name] for name in tables} == {tf.int8}
    rows = sum(shape[0] for shape in tables.values())
    assert stored["bytes_before"] - stored["bytes_after"] == rows * (256 - 68)
    vectors = tf.saved_model.load(str(path / result["export"])).candidate_vectors.numpy()
    assert vectors.dtype == np.float32  # made of the stored tables, once
    model, items = Estimator.load(path).model, Catalogue.load(data.path, data.spec).features
    features = {name: tf.constant(values) for name, values in items.items()}
    assert np.abs(vectors - model.candidates(features)).max() > 1e-3
    round_tables(model, "int8")
    np.testing.assert_allclose(vectors, model.candidates(features), rtol=1e-5, atol=1e-6)


# A history with an inner product, layers on pairs; marked slow, as each is a whole run: features of both sides, a distance, no training.
@pytest.mark.parametrize(
    "model", ["sasrec", "neumf", *(pytest.param(name, marks=pytest.mark.slow) for name in ("two_tower", "attrec", "ease"))]
)
def test_what_retrieve_gives_is_the_ranking_that_was_evaluated(data: DataDirectory, tmp_path: Path, model: str) -> None:
    hparams = {"sasrec": ["num_layers=1", "max_length=6"], "two_tower": ["max_length=6"]}.get(model)
    result = _run(data, tmp_path / model, model, *(["--hparams", *hparams] if hparams else []))
    retrieve = tf.saved_model.load(str(tmp_path / model / result["export"])).signatures["retrieve"]
    estimator = Estimator.load(tmp_path / model)
    catalogue, scorer = Catalogue.load(data.path, data.spec), Scorer(estimator.model)
    rows, users = read_rows(data.shards("test"), data.spec, catalogue, max_length=6), _users(data)
    features = {name: tf.constant(values) for name, values in rows.features(0, rows.num_users).items()}
    candidates = scorer.candidates(catalogue.features, catalogue.num_items)
    best = scorer.best(scorer.queries(features), candidates, rows.seen, np.zeros((rows.num_users, 0), np.int64), 10)
    assert rows.seen.lengths.min() < 6 < rows.seen.lengths.max()
    for row in range(rows.num_users):
        seen = rows.seen.values[rows.seen.starts[row] :][: rows.seen.lengths[row]]
        # The whole history, of which the spec keeps 6 items; all that were seen are left out.
        history = tf.constant([[catalogue.raw_ids[number] for number in seen]])
        user, age = users[row]
        request = {"user": tf.constant([user]), "age": tf.constant([age]), "history": history}
        found = retrieve(**_defaults(retrieve, **request, k=tf.constant(10), exclude_seen=tf.constant(True)))
        assert found["item_ids"][0].numpy().tolist() == [catalogue.raw_ids[number] for number in best.items[row]]
        np.testing.assert_allclose(found["scores"][0], best.negatives[row], rtol=1e-4, atol=1e-5)


def _users(data: DataDirectory) -> list[tuple[str, float]]:
    """Returns the name and age of the user of each test row, in order; user n is 20 + n years old."""
    names = [name.decode() for path in data.shards("test") for name in pq.read_table(path)["_user"].to_pylist()]
    return [(name, 20.0 + int(name[1:])) for name in names]


def _defaults(signature: Any, **given: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns the inputs, with a missing value in place of those that are not given."""
    missing = {tf.string: "", tf.int64: -1, tf.float32: float("nan")}
    inputs = signature.structured_input_signature[1]
    absent = {name: tf.fill([1] * s.shape.rank, tf.constant(missing[s.dtype], s.dtype)) for name, s in inputs.items() if name not in given}
    return {**absent, **given}


def test_several_protocols_have_their_metrics_by_name(data: DataDirectory, tmp_path: Path) -> None:
    result = _run(data, tmp_path / "popularity", "popularity", "--hparams", "protocols=sampled:10,full")
    assert list(result["metrics"]["test"]) == ["sampled:10", "full"]
    assert "10 distinct negatives a user" in result["protocol"]["sampled:10"]
    assert "full corpus" in result["protocol"]["full"]
    assert result["epochs"] == 1
    assert result["metrics"]["valid"].keys() == result["metrics"]["test"]["sampled:10"].keys()
    assert "served_history" not in result


def test_what_shorter_histories_cost_a_model_of_whole_ones(data: DataDirectory, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    result = _run(data, tmp_path / "ease", "ease", "--hparams", "l2=1")
    served, out = result["served_history"], capsys.readouterr().out
    assert "ease is not trained by gradients: epochs, batch_size do nothing.\n" in out
    assert (served["max_length"], served["metric"], served["before"]) == (6, "ndcg@10", result["metrics"]["test"]["ndcg@10"])
    assert f"served with the last 6 items: test ndcg@10 {served['before']:.5f} -> {served['after']:.5f} (" in out
    retrieve = tf.saved_model.load(str(tmp_path / "ease" / result["export"])).signatures["retrieve"]
    keys = [key.decode() for key in pq.read_table(data.items)["_item"].to_pylist()]
    gains = []
    for path in data.shards("test"):
        for row in pq.read_table(path).to_pylist():
            history = tf.constant([[keys[number] for number in row["_items"]]])
            found = retrieve(**_defaults(retrieve, history=history, k=tf.constant(40), exclude_seen=tf.constant(True)))
            scores = dict(zip(found["item_ids"][0].numpy().tolist(), found["scores"][0].numpy().tolist(), strict=True))
            own = scores.pop(keys[row["_targets"][0]].encode())
            rank = 1 + sum(score >= own for item, score in scores.items() if item)
            gains.append(1 / np.log2(1 + rank) if rank <= 10 else 0.0)
    assert served["after"] == pytest.approx(np.mean(gains), abs=1e-6)
    assert served["after"] != served["before"]


def test_a_killed_run_ends_with_the_same_numbers(data: DataDirectory, tmp_path: Path) -> None:
    config = _config(data, "bpr")
    whole = Estimator(config, tmp_path / "whole")
    expected = train_and_evaluate(whole, TrainSpec(), EvalSpec())
    part = Estimator(config, tmp_path / "part")
    part.train(TrainSpec(max_steps=int(whole.loop.step) // 2))
    assert 0 < int(part.loop.step) < int(whole.loop.step)
    assert train_and_evaluate(Estimator(config, tmp_path / "part"), TrainSpec(), EvalSpec()) == expected


def test_a_refit_has_seen_the_validation_items(data: DataDirectory, tmp_path: Path) -> None:
    plain = Estimator(_config(data, "popularity", {}), tmp_path / "plain")
    valid = train_and_evaluate(plain, TrainSpec(), EvalSpec())
    refitted = _run(data, tmp_path / "refitted", "popularity", "--hparams", "refit=true")
    assert "trained anew with the validation split" in refitted["protocol"]
    assert valid == refitted["metrics"]["valid"]
    assert plain.evaluate("test") != refitted["metrics"]["test"]
    trained = _run(data, tmp_path / "trained", "bpr", "--hparams", "refit=true", "embedding_dim=4")
    assert trained["skew"]["score"] < 1e-4
    assert Estimator.load(tmp_path / "trained").evaluate("test") == trained["metrics"]["test"]
    assert not (tmp_path / "trained" / "refit").exists()


@pytest.mark.parametrize(
    "training",
    [
        {"loss": "bce", "num_negatives": 3},
        {"loss": "hinge", "margin": 0.1},
        {"loss": "sampled_softmax", "num_negatives": 7, "negative_alpha": 0.5},
        {"loss": "in_batch_softmax"},
        {"loss": "full_softmax"},
    ],
    ids=lambda training: training["loss"],
)
def test_every_loss_falls(data: DataDirectory, tmp_path: Path, training: dict[str, Any]) -> None:
    estimator = Estimator(_config(data, "bpr", learning_rate=0.05, **training), tmp_path / "run")
    estimator.train()
    losses = [line["loss"] for line in estimator.run.epochs()]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


def test_neumf_begins_with_other_runs(data: DataDirectory, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for model, sizes in {"gmf": {"embedding_dim": 4}, "mlp_ncf": {"embedding_dim": 6, "hidden_units": (5, 3)}}.items():
        Estimator(_config(data, model, sizes), tmp_path / model).train(max_steps=5)
    starts = ["--warm_start", str(tmp_path / "gmf"), str(tmp_path / "mlp_ncf")]
    shape = ["--hparams", "gmf_dim=4", "mlp_dim=6", "hidden_units=5,3"]
    capsys.readouterr()
    result = _run(data, tmp_path / "neumf", "neumf", *starts, *shape)
    assert result["model"] == "neumf"
    assert "Begins with" in capsys.readouterr().out
    assert json.loads((tmp_path / "neumf" / "config.json").read_text())["warm_start"] == starts[1:]
    shutil.rmtree(tmp_path / "gmf")
    # What it begins with is no longer needed once it has begun.
    assert _run(data, tmp_path / "neumf", "neumf", *starts, *shape) == result
    with pytest.raises(ColonnadeError, match="is no run directory"):
        _run(data, tmp_path / "another", "neumf", *starts, *shape)


@pytest.mark.parametrize(
    ("model", "hparams", "message"),
    [
        ("nfm", [], "Model 'nfm' is for ranking, and data set 'strings' for matching. Use a matching model"),
        ("bpr", ["threshold=0.3"], "threshold would do nothing: the task is matching, and it is of binary. Leave it out."),
        ("bpr", ["protocols=fall"], "Unknown protocol 'fall'. Did you mean 'full'?"),
        ("bpr", ["protocols=file"], "Protocol 'file' ranks candidates that the data set lists, and 'strings' lists none"),
        ("bpr", ["loss=full_softmax", "num_negatives=3"], "num_negatives would do nothing: the loss is full_softmax. Leave it out."),
        ("sasrec", ["max_length=6", "loss=in_batch_softmax"], "The loss in_batch_softmax takes one positive an example, and"),
        ("bpr", ["refit=true", "plateau_factor=0.5"], "refit has no validation that could lower a learning rate"),
        ("bpr", ["margin=0.3", "negative_alpha=0.5"], "margin would do nothing: the loss is bpr. Leave it out."),
        ("ease", ["loss=bpr"], "loss would do nothing: the model is not trained by gradients. Leave it out."),
        ("bpr", ["shuffle_rows=9"], "shuffle_rows would do nothing: the task is matching, and it is of binary and regression."),
        ("ease", ["l2=1", "--export_dtype", "int8"], "EASE has no embedding tables that could be stored in int8."),
        ("sasrec", ["max_length=7"], "max_length should be 6 or less, as many items as 'history' of the spec 'strings' keeps of a history"),
        ("bpr", ["negative_alpha=inf"], "Training setting 'negative_alpha': input should be a finite number. Received: 'inf'."),
        ("bpr", ["initial_stddev=.inf"], "Hyper-parameter 'initial_stddev' should be of type float. Received: '.inf'."),
        ("bpr", ["cutoffs=0"], "Training setting 'cutoffs': input should be greater than 0"),
    ],
)
def test_mistakes_are_one_clear_line(data: DataDirectory, tmp_path: Path, model: str, hparams: list[str], message: str) -> None:
    flags = ["--hparams", *hparams] if hparams else []
    with pytest.raises(ColonnadeError) as error:
        _run(data, tmp_path / "run", model, *flags)
    assert message in str(error.value)
    assert not (tmp_path / "run").exists()


def test_no_run_reads_more_of_a_history_than_its_export(data: DataDirectory, tmp_path: Path) -> None:
    message = r"Received: 50. Choose less \(--hparams max_length=6\), or give 'history' a larger max_length in the spec."
    with pytest.raises(ColonnadeError, match=message):
        Estimator(_config(data, "gru4rec"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_users_that_a_model_cannot_know_are_noticed_before_it_is_trained(tmp_path: Path) -> None:
    folder = tmp_path / "cold"
    folder.mkdir()
    rows = [f"{user},{(7 * user + 3 * step) % 40},{6 * user + step}" for user in range(30) for step in range(6)]
    (folder / "rows.csv").write_text("\n".join(["user,item,time", *rows]))
    temporal = INTEGERS.replace("{type: leave_last_out}", "{type: temporal, fractions: [.6, .2, .2]}")
    run(FeatureSpec.from_yaml(temporal), folder / "data", [str(folder / "rows.csv")], show_progress=False)
    with pytest.raises(
        ColonnadeError, match=r"The valid split cannot be scored: This model knows a user .* Use a model that reads the history"
    ):
        _run(DataDirectory.open(folder / "data"), tmp_path / "run", "bpr")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_matching_model_wants_matching_data() -> None:
    with pytest.raises(ColonnadeError, match="for binary. Use a data set for matching, such as movielens_100k_implicit"):
        task.main(["--model", "bpr", "--dataset", "movielens_100k"])
