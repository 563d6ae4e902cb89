"""`retrieve` is what brute force finds: any k, items seen or not, ties, ids of both types, any kind of score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tiny_matching import TinyMatching, brute_force, export

import serving.retrieval
from preprocessing.artifacts import DataDirectory
from preprocessing.graph import load_transform
from serving.retrieval import Seen, geometry_of, top_items
from serving.samples import raw_rows
from serving.signatures import to_scorer_inputs, to_tensors
from trainer.matching.catalogue import Catalogue

USERS = ["u1", "u2", "nobody", "u7"]
HISTORIES = [["i3", "i4"], [], ["i39", "unheard of", "i3"], [f"i{n}" for n in range(38)]]


@pytest.fixture(scope="module")
def loaded(matching: Path) -> Any:
    return tf.saved_model.load(str(matching))


@pytest.fixture(scope="module")
def catalogue(strings: DataDirectory) -> Catalogue:
    return Catalogue.load(strings.path, strings.spec)


def asked(users: list[str] = USERS, histories: list[list[str]] = HISTORIES) -> dict[str, tf.Tensor]:
    return {"user": tf.constant(users, tf.string), "history": tf.ragged.constant(histories, dtype=tf.string, ragged_rank=1).to_tensor("")}


def expected(model: TinyMatching, data: DataDirectory, catalogue: Catalogue, k: int, exclude_seen: bool) -> tuple[np.ndarray, np.ndarray]:
    """By the transform graph, the live model and the trainer's own catalogue."""
    rows = len(USERS)
    raw = {name: values[:rows] for name, values in raw_rows(data.spec, data.path / "sample.parquet").items()}
    raw |= {
        "user": tf.constant(USERS),
        "age": tf.fill([rows], np.float32(np.nan)),
        "history": tf.ragged.constant(HISTORIES, dtype=tf.string, ragged_rank=1, row_splits_dtype=tf.int64),
    }
    query = model.query(to_scorer_inputs(data.spec, load_transform(data.transform_fn)(raw)))
    numbers = {raw_id.decode(): number for number, raw_id in enumerate(catalogue.raw_ids)}
    seen = [[numbers[item] for item in history if item in numbers] if exclude_seen else [] for history in HISTORIES]
    return brute_force(model, query.numpy(), model.candidates(catalogue.tensors()).numpy(), seen, k)


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("k", [1, 2, 7, 40, 60])
def test_it_is_what_brute_force_finds(
    loaded: Any, inner_model: TinyMatching, strings: DataDirectory, catalogue: Catalogue, k: int, exclude_seen: bool
) -> None:
    numbers, scores = expected(inner_model, strings, catalogue, k, exclude_seen)
    assert len(np.unique(scores[0])) < k or k < 7  # there are ties
    names = np.array([*catalogue.raw_ids, b""], object)
    found = loaded.retrieve(**asked(), k=tf.constant(k), exclude_seen=tf.constant(exclude_seen))
    assert set(found) == {"item_ids", "scores"}
    assert found["scores"].dtype == tf.float32
    np.testing.assert_array_equal(found["item_ids"].numpy(), names[numbers])
    np.testing.assert_array_equal(found["scores"].numpy(), scores)


def test_places_that_are_left_are_padding(loaded: Any) -> None:
    found = loaded.retrieve(**asked(), k=tf.constant(50))
    present = np.isfinite(found["scores"].numpy())
    assert present.sum(axis=1).tolist() == [38, 40, 38, 2]
    np.testing.assert_array_equal(found["item_ids"].numpy() == b"", ~present)


def test_ten_items_not_seen_are_the_default(loaded: Any) -> None:
    whole = loaded.retrieve(**asked(), k=tf.constant(10), exclude_seen=tf.constant(True))
    np.testing.assert_array_equal(loaded.retrieve(**asked())["item_ids"], whole["item_ids"])
    # Without a history, nothing was seen.
    np.testing.assert_array_equal(loaded.retrieve(user=tf.constant(USERS))["scores"][1], whole["scores"][1])


def test_lists_do_not_depend_on_the_batch_or_its_padding(loaded: Any) -> None:
    whole = loaded.retrieve(**asked())
    for row in range(len(USERS)):
        one = loaded.retrieve(**asked(USERS[row : row + 1], HISTORIES[row : row + 1]))
        np.testing.assert_array_equal(one["item_ids"][0], whole["item_ids"][row])
    wider = asked() | {"history": tf.pad(asked()["history"], [[0, 0], [0, 5]], constant_values="")}
    np.testing.assert_array_equal(loaded.retrieve(**wider)["item_ids"], whole["item_ids"])
    assert loaded.retrieve(**asked([], []))["item_ids"].shape == (0, 10)


@pytest.mark.parametrize("k", [0, -1, 10_001])
def test_a_k_out_of_range_is_told(loaded: Any, k: int) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"k should be from 1 to 10000. Received:\] \[-?\d+\]"):
        loaded.retrieve(**asked(), k=tf.constant(k))


def test_pairs_and_vectors_agree_with_the_lists(loaded: Any) -> None:
    """The score of a retrieved item is that of `predict`, and the product of `query` and `candidate`, for items with side features too."""
    described = {"i3": (["b"], 1991), "i5": ([], -1)}
    lists = loaded.retrieve(**asked(), k=tf.constant(40), exclude_seen=tf.constant(False))
    assert lists["scores"].shape == (4, 40)
    tensors = {
        "movie": tf.constant(list(described)),
        "tags": tf.constant([tags or [""] for tags, _ in described.values()]),
        "year": tf.constant([year for _, year in described.values()], tf.int64),
    }
    vectors = loaded.candidate(**tensors)["embedding"]
    query = loaded.query(**asked())["embedding"]
    pair = loaded.predict(**{n: v[:2] for n, v in asked().items()}, **tensors)
    np.testing.assert_allclose(pair["logits"], np.sum(query[:2].numpy() * vectors.numpy(), axis=1))
    np.testing.assert_allclose(pair["probabilities"], 1 / (1 + np.exp(-pair["logits"].numpy())), rtol=1e-6)


@pytest.mark.parametrize("kind", ["distance", "other"])
def test_other_scores(kind: str, strings: DataDirectory, catalogue: Catalogue, tmp_path: Path) -> None:
    model = TinyMatching(strings, kind)
    vectors = model.candidates(catalogue.tensors())
    assert geometry_of(model, vectors) == kind
    loaded = tf.saved_model.load(str(export(model, strings, tmp_path)))
    numbers, scores = expected(model, strings, catalogue, 12, exclude_seen=True)
    found = loaded.retrieve(**asked(), k=tf.constant(12))
    np.testing.assert_allclose(found["scores"], scores, rtol=1e-5)
    if kind == "distance":
        np.testing.assert_array_equal(found["item_ids"].numpy(), np.array([*catalogue.raw_ids, b""], object)[numbers])


def test_integer_ids_without_a_history(integers: DataDirectory, tmp_path: Path) -> None:
    """What a user has seen is given in `seen` where the model reads no history."""
    model = TinyMatching(integers)
    loaded = tf.saved_model.load(str(export(model, integers, tmp_path)))
    catalogue = Catalogue.load(integers.path, integers.spec)
    ids = np.array([int(raw_id) for raw_id in catalogue.raw_ids] + [-1])
    features = loaded.transform(user=tf.constant([3, 4], tf.int64), item=tf.constant([1, 1], tf.int64))
    query, vectors = model.query(features).numpy(), model.candidates(catalogue.tensors()).numpy()
    seen = tf.constant([[5, 0, 777], [-1, -1, -1]], tf.int64)
    found = loaded.retrieve(user=tf.constant([3, 4], tf.int64), seen=seen, k=tf.constant(39))
    assert found["item_ids"].dtype == tf.int64
    numbers, scores = brute_force(model, query, vectors, [[ids.tolist().index(5), ids.tolist().index(0)], []], 39)
    np.testing.assert_array_equal(found["item_ids"], ids[numbers])
    np.testing.assert_array_equal(found["scores"], scores)
    assert found["item_ids"][0, -1] == -1


@pytest.mark.parametrize("budget", [1, 40, 130, 1 << 24])
def test_blocks_of_any_size_find_the_same(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving.retrieval, "_BUDGET", budget)
    dice = np.random.default_rng(1)
    query = tf.constant(dice.integers(-2, 3, (5, 3)), tf.float32)
    vectors = tf.Variable(dice.integers(-2, 3, (37, 3)), dtype=tf.float32)
    seen = Seen(tf.constant([0, 0, 4, 4, 4], tf.int64), tf.constant([3, 3, 0, 36, 12]))
    model = type("Inner", (), {"score": staticmethod(lambda q, c: tf.matmul(q, c, transpose_b=True))})
    for k in (1, 5, 37, 50):
        best = top_items(model.score, query, vectors, tf.constant(k), seen, "inner")
        numbers, scores = brute_force(model, query.numpy(), vectors.numpy(), [[3], [], [], [], [0, 12, 36]], k)
        np.testing.assert_array_equal(best.numbers, numbers)
        np.testing.assert_array_equal(best.scores, scores)


def test_scores_that_are_no_numbers_come_last() -> None:
    scores = tf.constant([[1.0, np.nan, -np.inf, np.inf, -3.0]])
    best = top_items(lambda *_: scores, tf.zeros([1, 1]), tf.Variable(tf.zeros([5, 1])), tf.constant(6), _nothing(), "inner")
    assert best.numbers.numpy().tolist() == [[3, 0, 4, 1, 2, -1]]
    assert np.isneginf(best.scores.numpy()).tolist() == [[False] * 5 + [True]]


def _nothing() -> Seen:
    return Seen(tf.zeros([0], tf.int64), tf.zeros([0], tf.int32))


def test_restored_signatures_take_what_predict_takes(loaded: Any, strings: DataDirectory) -> None:
    raw = to_tensors(raw_rows(strings.spec, strings.path / "sample.parquet"))
    pair = loaded.signatures["predict"](**raw)["logits"]
    sides = [
        loaded.signatures[s](**{n: raw[n] for n in names})["embedding"]
        for s, names in (
            ("query", ("user", "age", "history")),
            ("candidate", ("movie", "tags", "tags_weights", "year")),
        )
    ]
    np.testing.assert_allclose(pair, np.sum(sides[0].numpy() * sides[1].numpy(), axis=1), rtol=1e-6)
