"""Sampled negatives and listed candidates: which items a target is ranked against."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_reference import catalogue_of, lists_of, metrics_of, ranks_of, rows_of, table_model
from hypothesis import given
from hypothesis import strategies as st

from feature_specs import ColonnadeError
from trainer.matching.evaluation import evaluate, short_users
from trainer.matching.negatives import draw
from trainer.matching.protocols import check_cutoffs, parse_protocol, protocol_text

ITEMS = 20
SETS = st.lists(st.sets(st.integers(0, ITEMS - 1)).map(sorted), min_size=1, max_size=5)


@given(SETS, st.integers(1, 25), st.integers(-5, 5))
def test_draws_are_distinct_free_items_and_as_many_as_there_are(excluded: list[list[int]], count: int, seed: int) -> None:
    rows = np.arange(len(excluded)) + 3
    drawn = draw(lists_of(excluded), rows, ITEMS, count, seed)
    for own, items in zip(excluded, drawn, strict=True):
        number = min(count, ITEMS - len(own))
        assert len(set(items[:number].tolist()) - set(own)) == number
        assert items[:number].min(initial=0) >= 0
        assert items[:number].max(initial=0) < ITEMS
        assert (items[number:] == -1).all()
    # Neither the other users nor the number of draws matters.
    again = draw(lists_of(excluded[-1:]), rows[-1:], ITEMS, count + 2, seed)
    assert (again[0, :count] == drawn[-1]).all()


def test_draws_are_uniform_and_a_seed_repeats() -> None:
    users, excluded = 6000, [2, 3, 11]
    drawn = draw(lists_of([excluded] * users), np.arange(users), ITEMS, 4, 1)
    counts = np.delete(np.bincount(drawn.ravel(), minlength=ITEMS), excluded)
    expected = users * 4 / len(counts)
    # Chi-squared with 16 degrees of freedom is beyond 39 once in a thousand times.
    assert ((counts - expected) ** 2 / expected).sum() < 39
    firsts = np.delete(np.bincount(drawn[:, 0], minlength=ITEMS), excluded)
    assert ((firsts - users / 17) ** 2 / (users / 17)).sum() < 39
    assert (draw(lists_of([excluded] * users), np.arange(users), ITEMS, 4, 1) == drawn).all()
    assert (draw(lists_of([excluded] * users), np.arange(users), ITEMS, 4, 2) != drawn).mean() > 0.8


def _table(seed: int) -> tuple[np.ndarray, list[list[int]], list[list[int]]]:
    rng = np.random.default_rng(seed)
    items = [rng.permutation(ITEMS).tolist() for _ in range(9)]
    targets = [each[6 : 7 + row % 3] for row, each in enumerate(items)]
    return rng.integers(0, 6, (9, ITEMS)).astype(float), [each[:6] for each in items], targets


def test_more_negatives_than_there_are_make_it_the_full_corpus() -> None:
    scores, seen, targets = _table(0)
    model, catalogue = table_model(scores), catalogue_of([1] * ITEMS)
    metrics = evaluate(model, catalogue, rows_of(seen, targets), ("full", "sampled:50", "sampled:50:any"), (3,))
    unmasked = evaluate(model, catalogue, rows_of([[]] * 9, targets), ("full",), (3,))["full"]
    for name in metrics["sampled:50"]:
        assert metrics["sampled:50"][name] == metrics["full"][name]
        assert metrics["sampled:50:any"][name] == unmasked[name]


def test_sampled_metrics_are_those_of_the_items_drawn() -> None:
    scores, seen, targets = _table(1)
    metrics = evaluate(table_model(scores), catalogue_of([1] * ITEMS), rows_of(seen, targets), ("sampled:6",), (3,), seed=5)["sampled:6"]
    drawn = draw(lists_of([sorted(a + b) for a, b in zip(seen, targets, strict=True)]), np.arange(9), ITEMS, 6, 5)
    users = [metrics_of(ranks_of(scores[row], targets[row], drawn[row].tolist()), len(targets[row]), 3) for row in range(9)]
    assert metrics == pytest.approx({name: np.mean([user[name] for user in users]) for name in users[0]})


def test_a_seed_decides_what_is_drawn() -> None:
    scores, seen, targets = _table(2)
    model, catalogue, rows = table_model(scores), catalogue_of([1] * ITEMS), rows_of(seen, targets)
    first, again, other = (evaluate(model, catalogue, rows, ("sampled:3",), (2,), seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_listed_candidates_count_once_and_without_the_positive() -> None:
    scores = np.array([[5.0, 4, 3, 2, 1, 0]] * 3)
    model, catalogue, targets = table_model(scores), catalogue_of([1] * 6), [[2], [2], [2, 4]]
    plain = evaluate(model, catalogue, rows_of([[1]] * 3, targets, [[0, 3], [5, 1], [0, 3, 5]]), ("file",), (1, 2, 4))
    repeated = evaluate(model, catalogue, rows_of([[]] * 3, targets, [[3, 2, 0, 0], [2, 1, 2, 5], [4, 0, 3, 5, 2]]), ("file",), (1, 2, 4))
    assert plain == repeated
    # A listed item is ranked, seen or not: targets are second, second, and second and fourth.
    assert plain["file"]["mrr@2"] == 0.5
    assert plain["file"]["recall@2"] == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert plain["file"]["recall@4"] == 1


def test_lists_that_are_missing_are_an_error() -> None:
    model, catalogue = table_model(np.zeros((2, 3))), catalogue_of([1, 1, 1])
    with pytest.raises(ColonnadeError, match=r"Protocol 'file' ranks candidates that the data set lists.* take another protocol"):
        evaluate(model, catalogue, rows_of([[], []], [[1], [1]]), ("file",), (1,))
    # The second user has the positive alone; it would be first whatever its score.
    with pytest.raises(ColonnadeError, match="1 users have no candidate beside their targets"):
        evaluate(model, catalogue, rows_of([[], []], [[1], [1]], [[0], [1]]), ("file",), (1,))


@pytest.mark.parametrize("name", ["ful", "sampled", "sampled:0", "sampled:-3", "sampled:1.5", "sampled:100:all", ""])
def test_unknown_protocols_are_refused(name: str) -> None:
    with pytest.raises(ColonnadeError, match=f"Unknown protocol '{name}'.*Give full"):
        parse_protocol(name)


def test_a_misspelt_protocol_has_a_hint() -> None:
    with pytest.raises(ColonnadeError, match="Did you mean 'full'"):
        parse_protocol("ful")


@pytest.mark.parametrize("cutoffs", [(), (0,), (10, -1)])
def test_cutoffs_are_at_least_one(cutoffs: tuple[int, ...]) -> None:
    with pytest.raises(ColonnadeError, match="Cutoffs are whole numbers from 1 on"):
        check_cutoffs(cutoffs)


def test_a_protocol_says_what_it_is() -> None:
    assert protocol_text("full", "leave_last_out", 3706) == (
        "leave_last_out split; full corpus of 3,706 items, seen ones left out; ties count against the positive"
    )
    assert "1,000 distinct negatives a user" in protocol_text("sampled:1000", "temporal", 3706)
    assert "seen ones not" in protocol_text("sampled:100:any", "temporal", 3706)
    assert "listed" in protocol_text("file", "files", 3706)
    text = protocol_text("sampled:100", "temporal", 8, num_short=3)
    assert "100 distinct negatives a user (fewer for 3 users, who have no more left), drawn uniformly from 8 items" in text


@pytest.mark.parametrize(("protocol", "short"), [("sampled:5", 0), ("sampled:6", 1), ("sampled:6:any", 0), ("sampled:8", 3), ("full", 0)])
def test_users_with_too_few_items_to_be_drawn_are_counted(protocol: str, short: int) -> None:
    # Of eight items they have 7, 7 and 5 left that are neither seen nor targets; the last has no target, and is not evaluated.
    rows = rows_of([[], [], [0, 1], [0, 1, 2, 3, 4, 5]], [[1], [2], [3], []])
    assert short_users(rows, protocol, 8) == short
