"""Estimators of feature columns: trained, killed, resumed, evaluated, exported from input_fns alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import roc_auc_score
from tensorflow import feature_column as fc

from feature_specs import ColonnadeError
from trainer import compare
from trainer.column_source import ColumnSource
from trainer.estimator import (
    Estimator,
    EvalSpec,
    FinalExporter,
    LatestExporter,
    RunConfig,
    TrainingConfig,
    TrainSpec,
    train_and_evaluate,
)
from trainer.models.registry import list_models, make_model

ROWS = 160
CITIES = ["Rom", "Oslo", "Wien", ""]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    tf.get_logger().setLevel("ERROR")


@pytest.fixture
def words(tmp_path: Path) -> str:
    (tmp_path / "words.txt").write_text("red\ngreen\nblue\n")
    return str(tmp_path / "words.txt")


def columns(words: str) -> list[Any]:
    """Every kind; made anew for each estimator, as a new process would."""
    age, tag = fc.numeric_column("age"), fc.categorical_column_with_identity("tag", 9)
    city = fc.categorical_column_with_hash_bucket("city", 20)
    with tf.Graph().as_default():
        shared = fc.shared_embeddings([fc.categorical_column_with_vocabulary_list(key, CITIES[:3]) for key in ("home", "work")], 3)
    return [
        age,
        fc.numeric_column("pair", shape=2, default_value=[1.0, 2.0]),
        fc.bucketized_column(age, [-0.5, 0.5]),
        city,
        fc.crossed_column(["city", fc.bucketized_column(age, [0.0])], 30),
        fc.embedding_column(city, 3),
        fc.embedding_column(fc.weighted_categorical_column(tag, "tag-weight"), 3),
        fc.indicator_column(fc.categorical_column_with_vocabulary_file("word", words, num_oov_buckets=1)),
        fc.embedding_column(fc.sequence_categorical_column_with_identity("seen", 9), 3),
        fc.sequence_numeric_column("gaps"),
        *shared,
    ]


def rows(count: int = ROWS, seed: int = 0) -> tuple[dict[str, Any], np.ndarray]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 4, count)
    lists = tf.RaggedTensor.from_row_lengths(rng.integers(0, 9, lengths.sum()), lengths)
    features = {
        "age": rng.normal(size=count).astype(np.float32),
        "pair": rng.normal(size=(count, 2)).astype(np.float32),
        "city": rng.choice(CITIES, count),
        "word": rng.choice(["red", "green", "blue", "grey"], count),
        "home": rng.choice(CITIES, count),
        "work": rng.choice(CITIES, count),
        "tag": lists,
        "tag-weight": lists.with_values(rng.uniform(0.1, 2, lengths.sum()).astype(np.float32)),
        "seen": lists,
        "gaps": lists.with_values(rng.normal(size=lengths.sum()).astype(np.float32)),
    }
    return features, (features["age"] + (features["city"] == "Oslo") > 0.3).astype(np.float32)


def input_fn(batch: int = 16, seed: int = 0, labels: Callable[[np.ndarray], Any] = lambda y: y) -> Callable[[], tf.data.Dataset]:
    def read() -> tf.data.Dataset:
        features, y = rows(seed=seed)
        return tf.data.Dataset.from_tensor_slices((features, labels(y))).batch(batch)

    return read


def estimator(words: str, run_dir: Path, given: list[Any] | None = None, **options: Any) -> Estimator:
    training = {"checkpoint_steps": 4, "steps_per_call": 3, "learning_rate": 0.01, "patience": 99, **options.pop("training", {})}
    options = {"hyper_parameters": {"hidden_units": "8", "dropout": 0.2}, "model": "wide_deep", **options}
    config = RunConfig(training=TrainingConfig(**training))
    return Estimator(config, run_dir, columns=columns(words) if given is None else given, **options)


TRAIN, EVAL = TrainSpec(input_fn(), max_steps=23, epochs=9), EvalSpec(input_fn(seed=1), every_steps=8)


def lines(run: Estimator) -> list[dict[str, Any]]:
    timing = ("seconds", "examples_per_second")
    return [{name: value for name, value in line.items() if name not in timing} for line in run.run.epochs()]


def test_from_input_fns_to_scores(words: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = estimator(words, tmp_path / "run")
    metrics = train_and_evaluate(run, TRAIN, EvalSpec(input_fn(seed=1), every_steps=16, exporters=FinalExporter()))
    assert [line["step"] for line in run.run.epochs()] == [10, 16, 20, 23], "every 16 steps, the ends of passes of 10, and the end"
    assert metrics["auc"] == max(line["valid"]["auc"] for line in run.run.epochs())
    assert run.evaluate(input_fn(seed=1)) == metrics
    features, labels = rows(seed=1)
    probabilities = np.concatenate([batch["probabilities"] for batch in run.predict(input_fn(seed=1))])
    assert roc_auc_score(labels, probabilities) == pytest.approx(metrics["auc"])
    assert run.evaluate(input_fn(seed=1), steps=2) != metrics
    assert (tmp_path / "run" / "curves.png").is_file()
    _, shares = run.evaluate_parts(input_fn(seed=1))
    assert set(shares) == {"wide", "deep"}

    # The export has vocabularies of its own, and takes what clients have.
    version = run.export_saved_model()
    Path(words).unlink()
    served = tf.saved_model.load(str(version))
    dense = {name: value.to_tensor({tf.int64: -1, tf.float32: np.nan}[value.dtype]) if isinstance(value, tf.RaggedTensor) else value for name, value in features.items()}  # fmt: skip  # noqa: E501
    dense |= {name: tf.constant(features[name])[:, tf.newaxis] for name in ("city", "word", "home", "work")}
    dense["tag_weight"] = dense.pop("tag-weight")
    found = served.signatures["predict"](**{name: tf.constant(value) for name, value in dense.items()})
    np.testing.assert_allclose(found["probabilities"], probabilities, atol=1e-5)
    assert (tmp_path / "run" / "export" / "final" / "1" / "saved_model.pb").is_file()
    capsys.readouterr()
    assert compare.main([str(tmp_path / "run"), "--output", str(tmp_path / "compare.png")]) == 0
    assert "wide_deep" in capsys.readouterr().out


def test_predict_fills_in_what_is_left_out(words: str, tmp_path: Path) -> None:
    run = estimator(words, tmp_path / "run", columns(words)[:6])
    run.train(input_fn(), max_steps=3)
    served = tf.saved_model.load(str(run.export_saved_model()))
    score = served.predict(age=tf.constant([0.5, 0.5]))["logits"].numpy()
    example = tf.train.Example()
    example.features.feature["age"].float_list.value.append(0.5)
    serialized = tf.constant([example.SerializeToString()])
    parsed = served.signatures["serving_default"](examples=serialized)["logits"].numpy()
    np.testing.assert_allclose(score, np.repeat(parsed, 2), atol=1e-6)
    classified = served.signatures["classify"](inputs=serialized)["scores"]
    np.testing.assert_allclose(classified, [[1 / (1 + np.exp(x)) for x in (parsed[0], -parsed[0])]], rtol=1e-5)


def test_a_killed_run_ends_with_the_numbers_of_one_that_is_not(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed inside the second pass, between a checkpoint and an evaluation."""
    few = columns(words)[:6]
    whole = estimator(words, tmp_path / "whole", few)
    expected = train_and_evaluate(whole, TRAIN, EVAL)
    killed, calls = estimator(words, tmp_path / "killed", few), iter(range(99))
    train_some = killed.loop.train_some

    def stopping(*args: Any) -> tuple[int, int]:
        if next(calls) == 9:
            raise KeyboardInterrupt
        return train_some(*args)

    monkeypatch.setattr(killed.loop, "train_some", stopping)
    with pytest.raises(KeyboardInterrupt):
        train_and_evaluate(killed, TRAIN, EVAL)
    resumed = estimator(words, tmp_path / "killed", columns(words)[:6])
    assert 0 < int(resumed.loop.step) < 23
    assert train_and_evaluate(resumed, TRAIN, EVAL) == expected
    assert lines(resumed) == lines(whole)
    for ours, theirs in zip(resumed.loop.state, whole.loop.state, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.name)
    assert train_and_evaluate(resumed, TRAIN, EVAL) == expected, "a finished run does nothing more"


def test_patience_counts_evaluations(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = estimator(words, tmp_path / "run", FEW)
    values = iter([0.5, 0.7, 0.6, 0.65, 0.9])
    found = run.metrics
    monkeypatch.setattr(run, "metrics", lambda *args: {**found(*args), "auc": next(values)})
    train_and_evaluate(run, TrainSpec(input_fn(), epochs=9), EvalSpec(input_fn(), patience=2))
    assert [line["valid"]["auc"] for line in run.run.epochs()] == [0.5, 0.7, 0.6, 0.65]
    assert run.loop.position.best_epoch == 2


def test_regression_and_a_model_of_fields(words: str, tmp_path: Path) -> None:
    """NFM takes one vector a column: all embeddings are of one width, which is its embedding_dim."""
    age = fc.numeric_column("age")
    city = fc.categorical_column_with_hash_bucket("city", 20)
    given = [age, fc.bucketized_column(age, [0.0]), city, fc.embedding_column(city, 3)]
    read = input_fn(labels=lambda y: y[:, np.newaxis] * 3 + 1)
    options = {"training": {"learning_rate": 0.05, "checkpoint_steps": 100}, "hyper_parameters": {"hidden_units": "8", "dropout": 0.0}}
    run = estimator(words, tmp_path / "run", given, model="nfm", task="regression", **options)
    assert run.config.hyper_parameters["embedding_dim"] == 3
    metrics = train_and_evaluate(run, TrainSpec(lambda: read().repeat(20)), EvalSpec(read))
    assert [line["step"] for line in run.run.epochs()] == [100, 200]
    assert set(metrics) == {"rmse", "mae"}
    assert metrics["rmse"] < 0.5 * 3
    version = run.export_saved_model(tmp_path / "elsewhere")
    assert set(tf.saved_model.load(str(version)).signatures["predict"].structured_outputs) == {"predictions"}


def test_latest_exports_are_of_their_moments(words: str, tmp_path: Path) -> None:
    run = estimator(words, tmp_path / "run", [fc.numeric_column("age")])
    train_and_evaluate(run, TrainSpec(input_fn(), epochs=1), EvalSpec(input_fn(), every_steps=5, exporters=LatestExporter()))
    served = [tf.saved_model.load(str(tmp_path / "run" / "export" / "latest" / version)) for version in ("1", "2")]
    scores = [each.predict(age=tf.constant([1.0]))["logits"].numpy() for each in served]
    assert np.abs(scores[0] - scores[1]).max() > 1e-4
    run.loop.restore(run.run.last)  # the best weights have been evaluated
    np.testing.assert_allclose(scores[1], run.loop.model({"age": tf.constant([1.0])}), atol=1e-5)


WORD = fc.categorical_column_with_hash_bucket("city", 20)
FEW = [fc.numeric_column("age")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"given": [*FEW, fc.embedding_column(WORD, 4)]}, r"run with other settings \(.*column city_embedding"),
        ({"training": {"learning_rate": 0.5}}, r"learning_rate: 0\.01 != 0\.5"),
        ({"task": "regression"}, r"task: binary != regression"),
    ],
)
def test_a_run_with_other_columns_or_settings_is_refused(words: str, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    (first := estimator(words, tmp_path / "run", FEW)).loop.save(first.run.last)
    estimator(words, tmp_path / "run", [fc.numeric_column("age")])
    with pytest.raises(ColonnadeError, match=message):
        estimator(words, tmp_path / "run", **{"given": FEW, **change})
    with pytest.raises(ColonnadeError, match=r"is a run over columns.* Make the estimator again"):
        Estimator.load(tmp_path / "run")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: Estimator(columns=FEW, model="wide_deep"), r"needs a run directory"),
        (lambda path: Estimator(run_dir=path, columns=FEW), r'needs the name of a model, such as model="wide_deep"'),
        (lambda path: Estimator(run_dir=path, columns=FEW, model="wide_dep"), r"Did you mean 'wide_deep'"),
        (lambda path: Estimator(run_dir=path, model="nfm"), r"Pass a RunConfig .* or columns"),
        (
            lambda path: Estimator(RunConfig(training=TrainingConfig(batch_size=3)), path, model="wide_deep", columns=FEW),
            r"batch_size would do nothing: an input_fn shuffles and batches itself",
        ),
        (
            lambda path: Estimator(
                run_dir=path, model="nfm", columns=[WORD, fc.embedding_column(WORD, 4)], hyper_parameters={"embedding_dim": 8}
            ),
            r"embedding_dim=8 would do nothing: the columns have `dimension` 4",
        ),
        (
            lambda path: Estimator(run_dir=path, model="nfm", columns=[WORD, fc.embedding_column(WORD, 4), fc.indicator_column(WORD)]),
            r"vectors of one width, embedding_dim=4\. Received columns with others: city_indicator 20",
        ),
    ],
)
def test_mistakes_in_making_leave_nothing_behind(tmp_path: Path, make: Any, message: str) -> None:
    with pytest.raises(ColonnadeError, match=message):
        make(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_mistakes_in_using_are_named(words: str, tmp_path: Path) -> None:
    run = estimator(words, tmp_path / "run", FEW)
    for call, message in (
        (lambda: run.train(), r"Give the TrainSpec one: TrainSpec\(input_fn=\.\.\.\)"),
        (lambda: train_and_evaluate(run, TRAIN, EvalSpec()), r"Give the EvalSpec one"),
        (lambda: run.evaluate("valid"), r"has no 'valid' split\. Pass an input_fn"),
        (lambda: run.train(lambda: input_fn()().take(0)), r"dataset has no batch"),
        (lambda: run.train(input_fn(labels=lambda y: y + 1)), r"labels should be 0 or 1"),
        (lambda: run.evaluate(lambda: input_fn()().take(0)), r"has no batch"),
    ):
        with pytest.raises(ColonnadeError, match=message):
            call()


def test_a_vocabulary_file_that_is_gone_stops_the_export(words: str, tmp_path: Path) -> None:
    run = estimator(words, tmp_path / "run")
    Path(words).unlink()
    with pytest.raises(ColonnadeError, match=r"words\.txt' is missing or empty, so the export would give wrong ids"):
        run.export_saved_model()
    assert not (tmp_path / "run" / "export").exists()


# An FFM's vectors have a width for each other field; a column says its own.
@pytest.mark.parametrize("name", [info.name for info in list_models() if info.task == "ranking" and info.name != "ffm"])
def test_every_model_takes_columns(name: str) -> None:
    """Built on a batch, as an estimator builds it; `ColumnInputs` has all that models ask `Inputs` for."""
    city, age = fc.categorical_column_with_hash_bucket("city", 20), fc.numeric_column("age")
    seen = fc.sequence_categorical_column_with_identity("seen", 9)
    with tf.Graph().as_default():
        shared = fc.shared_embeddings([fc.categorical_column_with_identity("tag", 9), seen], 4)
    dense = [] if name == "lr" else [age, fc.embedding_column(city, 4), *shared]
    source = ColumnSource(dense, [city, age])
    settings = source.run_config(RunConfig(), name, None, "binary").hyper_parameters
    model = make_model(name, source.inputs, settings)
    features, _ = next(iter(source.batches(input_fn(6), task="binary").dataset()))
    logits = model(features, training=True)
    assert logits.shape == (6,)
    assert np.isfinite(logits).all()
