"""Evaluation on the full corpus: against slow loops, in any blocks, with ties, constant scores and NaN."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from evaluation_reference import Pairs, Vectors, catalogue_of, full_metrics, rows_of, table_model
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_specs import ColonnadeError
from trainer.layers import negative_squared_distance
from trainer.matching.evaluation import Evaluator, evaluate
from trainer.models.base import inner_product

ITEMS = 12
NUMBERS = st.lists(st.integers(0, ITEMS - 1), max_size=5)
SCORES = st.sampled_from([-1.0, 0.0, 1.0, 2.0])
USERS = st.lists(st.tuples(NUMBERS, NUMBERS, st.lists(SCORES, min_size=ITEMS, max_size=ITEMS)), min_size=1, max_size=5)


def _random(seed: int, users: int = 40, items: int = 30) -> tuple[np.ndarray, np.ndarray, list[list[int]], list[list[int]]]:
    """Vectors of small whole numbers, which have many ties and whose products are exact in any order; seen items and targets."""
    rng = np.random.default_rng(seed)
    seen = [rng.choice(items, rng.integers(0, 12), replace=False).tolist() for _ in range(users)]
    free = [np.setdiff1d(np.arange(items), each) for each in seen]
    targets = [rng.choice(each, rng.integers(0, 4), replace=False).tolist() for each in free]
    return rng.integers(-2, 3, (users, 3)), rng.integers(-2, 3, (items, 3)), seen, targets


@pytest.fixture(scope="module")
def any_scores() -> tuple[Vectors, Evaluator]:
    """A model whose scores of five users are a variable, so that graphs are traced once."""
    model = table_model(np.zeros((5, ITEMS)))
    model.users = model.add_weight(shape=(5, ITEMS))
    return model, Evaluator(model, catalogue_of([1] * ITEMS))


@settings(max_examples=40, deadline=None)
@given(USERS)
def test_agrees_with_slow_loops(any_scores: tuple[Vectors, Evaluator], users: list[tuple[list[int], list[int], list[float]]]) -> None:
    model, evaluator = any_scores
    seen, targets = [user[0] for user in users], [user[1] for user in users]
    targets[0] = targets[0] or [3]
    scores = np.array([user[2] for user in users])
    model.users.assign(np.vstack([scores, np.zeros((5 - len(users), ITEMS))]))
    for cutoffs in ((1, 4), (20,)):
        found = evaluator.evaluate(rows_of(seen, targets), ("full",), cutoffs)["full"]
        for k in cutoffs:
            expected = full_metrics(scores, seen, targets, k)
            assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", [Vectors, Pairs])
def test_blocks_of_users_and_items_change_nothing(kind: type[Vectors]) -> None:
    users, items, seen, targets = _random(1)
    catalogue, rows = catalogue_of(range(30, 0, -1)), rows_of(seen, targets, [[0, 1, 2, 3, 4]] * 40)
    protocols, model = ("full", "sampled:7", "sampled:7:any", "file"), kind(users, items)
    whole = evaluate(model, catalogue, rows, protocols, (1, 5, 50))
    for batch_size, block_floats in [(7, 1), (40, 640), (16, 20 * 64 * 15)]:
        parts = Evaluator(model, catalogue, batch_size=batch_size, block_floats=block_floats).evaluate(rows, protocols, (1, 5, 50))
        assert parts == whole


def test_memory_of_a_layer_on_pairs_is_bounded() -> None:
    users, items, seen, targets = _random(2, users=100, items=200)
    model = Pairs(users, items)
    rows = rows_of(seen, [each or [199] for each in targets])
    Evaluator(model, catalogue_of([1] * 200), block_floats=20_000).evaluate(rows, ("full", "sampled:50"), (10,))
    assert 10_000 < int(model.largest) <= 20_000
    scores = np.maximum(users[:, None] + items[None], 0).sum(2) * 5.0
    found = evaluate(model, catalogue_of([1] * 200), rows, ("full",), (10,))["full"]
    expected = full_metrics(scores, seen, [each or [199] for each in targets], 10)
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_constant_scores_find_nothing_that_is_not_bound_to_be_found() -> None:
    rows = rows_of([[0, 1], []], [[2], [5]])
    metrics = evaluate(table_model(np.zeros((2, ITEMS))), catalogue_of([1] * ITEMS), rows, ("full", "sampled:5"), (5, 9, 10, 12))
    assert metrics["full"]["hit_rate@9"] == 0
    # The first user is left ten items, the second twelve: the worst ranks are 10 and 12.
    assert (metrics["full"]["hit_rate@10"], metrics["full"]["hit_rate@12"]) == (0.5, 1)
    assert metrics["full"]["mrr@12"] == pytest.approx((1 / 10 + 1 / 12) / 2)
    assert (metrics["sampled:5"]["hit_rate@5"], metrics["sampled:5"]["hit_rate@9"]) == (0, 1)


def test_scores_that_are_no_number_count_against_the_positive() -> None:
    model = Vectors(np.ones((3, 1)), np.array([[1.0], [2.0], [np.nan], [0.0]]))
    # Behind item 2 in any case; as the target itself behind all; and where item 2 has been seen, it is out of the way.
    rows = rows_of([[], [], [2]], [[1], [2], [1]])
    metrics = evaluate(model, catalogue_of([1] * 4), rows, ("full",), (1, 2, 4))["full"]
    assert metrics["hit_rate@1"] == pytest.approx(1 / 3)
    assert metrics["mrr@4"] == pytest.approx((1 / 2 + 1 / 4 + 1) / 3)


def test_a_cutoff_beyond_the_catalogue_costs_no_more_than_the_catalogue() -> None:
    rows = rows_of([[0], []], [[1, 2], [5]])
    metrics = evaluate(table_model(np.zeros((2, ITEMS))), catalogue_of([1] * ITEMS), rows, ("full", "sampled:5"), (3, 2**40))
    for found in metrics.values():
        assert (found[f"hit_rate@{2**40}"], found[f"recall@{2**40}"]) == (1, 1)
        assert found[f"precision@{2**40}"] == 1.5 / 2**40
    assert (metrics["full"]["coverage@3"], metrics["full"][f"coverage@{2**40}"]) == (1 / 3, 1)


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
@pytest.mark.parametrize("mode", ["inner", "distance"])
def test_vectors_of_half_precision_are_compared_in_float32(half: str, mode: str) -> None:
    # In half precision the products 1 + 1 / 2^12 and 1 tie, and so do distances of as much.
    class Half(Vectors):
        def query(self, features: dict, all_positions: bool = False) -> tf.Tensor:
            return tf.cast(super().query(features, all_positions), half)

        def candidates(self, features: dict) -> tf.Tensor:
            return tf.cast(super().candidates(features), half)

        def score(self, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
            return (inner_product if mode == "inner" else negative_squared_distance)(query, candidates)

    model = Half(np.array([[1.0, 2.0**-6]]), np.array([[1.0, 2.0**-6], [1.0, 0.0], [1.0, 0.0]]))
    metrics = evaluate(model, catalogue_of([1] * 3), rows_of([[]], [[0]]), ("full", "sampled:2"), (1,))
    assert [found["hit_rate@1"] for found in metrics.values()] == [1, 1]


def test_infinite_scores_are_scores() -> None:
    class Given(Vectors):
        def score(self, query: object, candidates: object) -> object:  # noqa: ARG002
            return np.array([[np.inf, -np.inf, -np.inf, np.inf]], np.float32)

    model = Given(np.ones((1, 1)), np.ones((4, 1)))
    for target, rank in {0: 2, 1: 4}.items():
        metrics = evaluate(model, catalogue_of([1] * 4), rows_of([[]], [[target]]), ("full",), (4,))["full"]
        assert metrics["mrr@4"] == pytest.approx(1 / rank)


def test_a_target_that_was_seen_is_not_recommended_again() -> None:
    scores = np.array([[3.0, 2.0, 1.0]])
    metrics = evaluate(table_model(scores), catalogue_of([1, 1, 1]), rows_of([[0]], [[0, 1, 1]]), ("full", "sampled:9"), (2,))
    # Item 1, given twice, is one target; item 0 counts as a target, and is a miss.
    assert metrics["full"]["recall@2"] == 0.5
    assert metrics["full"]["mrr@2"] == 1
    assert metrics["sampled:9"]["recall@2"] == 1


def test_coverage_and_popularity_are_of_what_is_recommended() -> None:
    scores = np.array([[9.0, 8, 7, 1], [9, 8, 1, 1], [0, 0, 0, 9]])
    rows = rows_of([[0], [], [3, 3]], [[2], [3], [0]])
    metrics = evaluate(table_model(scores), catalogue_of([50, 20, 8, 2]), rows, ("full",), (1, 2))["full"]
    # Lists: 1 2; 0 1; 0 1 (of equal scores the lower number).
    assert metrics["coverage@1"] == 2 / 4
    assert metrics["coverage@2"] == 3 / 4
    assert metrics["popularity@1"] == pytest.approx((20 + 50 + 50) / 3)
    assert metrics["popularity@2"] == pytest.approx((14 + 35 + 35) / 3)


def test_users_without_targets_are_left_out() -> None:
    scores = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    model, catalogue = table_model(scores), catalogue_of([1, 1, 1])
    metrics = evaluate(model, catalogue, rows_of([[]] * 3, [[0], [], [1]]), ("full", "sampled:2"), (1,))
    assert metrics["full"]["hit_rate@1"] == metrics["sampled:2"]["hit_rate@1"] == 0.5
    with pytest.raises(ColonnadeError, match="None of the 3 users of this split has an item to be found"):
        evaluate(model, catalogue, rows_of([[]] * 3, [[], [], []]), ("full",), (1,))


def test_items_of_other_data_are_refused() -> None:
    model, catalogue = table_model(np.zeros((1, 3))), catalogue_of([1, 1, 1])
    with pytest.raises(ColonnadeError, match="seen items of this split have item numbers from 0 to 3; the catalogue has 3 items"):
        evaluate(model, catalogue, rows_of([[0, 3]], [[1]]), ("full",), (1,))
    with pytest.raises(ColonnadeError, match="targets of this split have item numbers from -1"):
        evaluate(model, catalogue, rows_of([[0]], [[-1]]), ("full",), (1,))


def test_later_weights_count() -> None:
    users, items, seen, targets = _random(3)
    model, catalogue, rows = Vectors(users, items), catalogue_of([1] * 30), rows_of(seen, targets)
    model.users = model.add_weight(shape=users.shape, initializer="zeros")
    evaluator = Evaluator(model, catalogue)
    before = evaluator.evaluate(rows, ("full",), (5,))
    model.users.assign(users)
    after = evaluator.evaluate(rows, ("full",), (5,))
    assert before["full"]["hit_rate@5"] == 0
    assert after == evaluate(Vectors(users, items), catalogue, rows, ("full",), (5,))
