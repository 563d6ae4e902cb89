"""The page of the matching table: means, targets and gaps by protocol, RecBole beside ours, speeds, what is not trained yet."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.matching_report import report
from benchmarks.matching_runs import pairs_digest
from benchmarks.matching_speed import TIMED, count, rates
from benchmarks.matching_tables import INPUTS, PEERS, TABLES, WARM_STARTS, all_runs
from benchmarks.runs import Results, chunks
from trainer.config import TrainingConfig
from trainer.recipes import list_rows, load_recipe

_COMMON = {"parameters": 1234, "epochs": 4, "seconds_per_epoch": 2.5, "seconds_per_evaluation": 0.5, "date": "2026-01-01", "threads": 1}


def _ours(recipe: str, row: str, seed: int, tests: dict[str, tuple[float, float]]) -> dict[str, Any]:
    test = {protocol: {"hit_rate@10": hit, "ndcg@10": ndcg} for protocol, (hit, ndcg) in tests.items()}
    named = {"table": recipe, "row": row, "seed": seed, "settings": {}, "test": test, "test_pairs": "a", "versions": {"keras": "3"}}
    return {**named, **_COMMON}


def _recbole(row: str, hit: float, ndcg: float, **changed: Any) -> dict[str, Any]:
    named = {"table": "movielens_100k_implicit", "row": row, "seed": 2020, "settings": None, "test_pairs": "a"}
    return {
        **named,
        **_COMMON,
        "versions": {"recbole": "1"},
        "test": {"hit_rate@10": hit, "ndcg@10": ndcg},
        "ended_by": "early stopping",
        "minutes": 10.0,
        **changed,
    }


def _page(*runs: dict[str, Any]) -> str:
    return report({(run["table"], run["row"], run["seed"]): run for run in runs})


def test_a_run_is_in_the_table_of_each_protocol() -> None:
    tests = {"sampled:100": (0.82, 0.59), "full": (0.26, 0.14), "sampled:100:any": (0.83, 0.60)}
    page = _page(*(_ours("movielens_1m_implicit", "sasrec", seed, tests) for seed in (0, 1)))
    # Deviation of two equal values: 0. The target of the full corpus has no NDCG.
    assert "| sasrec | 2 | 0.8200 +- 0.0000 | 0.5900 +- 0.0000 | 0.8245 / 0.5905 | 0.8245 / 0.5905 | -0.0045 / -0.0005 | 1,234 |" in page
    assert "| sasrec | 2 | 0.2600 +- 0.0000 | 0.1400 +- 0.0000 |  | 0.2500 | +0.0100 | 1,234 | 4 | 2.50 | 0.50 | 1 |" in page
    assert "| sasrec | 2 | 0.8300 +- 0.0000 | 0.6000 +- 0.0000 | 0.8100 / 0.5610 |  |  | 1,234 |" in page
    assert "0 of 1 rows hold their target; missed: sasrec by 0.0045 / 0.0005." in page
    assert "1 of 1 rows hold their target." in page
    assert "**28 of 30 runs are still to be trained; none yet of popularity, ease, bpr" in page
    assert "files of the NCF paper" not in page


def test_recbole_is_the_target_of_ours() -> None:
    own = {"hit_rate@10": 0.04, "ndcg@10": 0.01}
    cut = _recbole("RecBole Caser", 0.05, 0.02, ended_by="time (60 min)", minutes=61.0, test_unmasked=own)
    ours = [_ours("movielens_100k_implicit", row, 0, {"full": scores}) for row, scores in (("bpr", (0.12, 0.06)), ("caser", (0.11, 0.05)))]
    page = _page(*ours, _recbole("RecBole BPR", 0.1166, 0.0631), cut, _recbole("RecBole Caser, 10 items", 0.1, 0.05))
    assert "| bpr | 1 | 0.1200 | 0.0600 |  | 0.1166 / 0.0631 | +0.0034 / -0.0031 |" in page
    assert "| caser | 1 | 0.1100 | 0.0500 |  | 0.1000 / 0.0500 | +0.0100 / +0.0000 |" in page
    assert "| RecBole Caser | 1 | 0.0500 | 0.0200 |  |  |  | 1,234 |" in page
    assert "1 of 2 rows hold their target; missed: bpr by 0.0000 / 0.0031." in page
    assert "RecBole Caser got 4 epochs in 61 minutes, and would have gone on." in page
    assert "By its own evaluation, which ranks films that were seen too, RecBole Caser has 0.0400 / 0.0100." in page
    assert "The pairs of users and test films are the same in both programs." in page


def test_what_is_read_of_a_data_directory(tmp_path: Path) -> None:
    data = SimpleNamespace(path=tmp_path, shards=lambda split: sorted(tmp_path.glob(f"{split}-*.parquet")))
    pq.write_table(pa.table({"_item": [b"7", b"50"]}), tmp_path / "items.parquet")
    for shard, rows in enumerate(([[0, 1, 0], [1]], [[1, 0, 1, 0, 1, 0]])):
        pq.write_table(pa.table({"_items": rows}), tmp_path / f"train-{shard}.parquet")
    pq.write_table(pa.table({"_user": [b"2", b"10"], "_targets": [[1], [0]]}), tmp_path / "test-0.parquet")
    # Of three users two have a next item; at most four positions of each count.
    assert count(data, 4) == {"positives": 10, "sequences": 2, "positions": 2 + 4}
    assert pairs_digest(data) == hashlib.sha256(b"10\t7\n2\t50\n").hexdigest()


def test_speeds_stand_beside_those_of_recbole() -> None:
    counts = {"positives": 1000, "sequences": 10, "positions": 990}
    assert rates(counts, 2.0, negatives=4, sequences=False) == {"examples_per_second": 2500.0}
    assert rates(counts, 2.0, negatives=1, sequences=True) == {"sequences_per_second": 5.0, "positions_per_second": 495.0}
    line = {"table": "speed", "seed": 0, "settings": None, "date": "2026-01-01", "versions": {}, "threads": 2}
    page = _page(
        {**line, "row": "SASRec", "sequences_per_second": 300.0, "positions_per_second": 45000.0, "seconds_per_evaluation": 1.5},
        {**line, "row": "RecBole SASRec", "sequences_per_second": 150.0, "positions_per_second": 150.0},
    )
    sizes = TIMED["SASRec"].text
    assert f"| SASRec beside RecBole SASRec | {sizes} | sequences | 300 | 150 | 2.00 | 2.0 |" in page
    assert f"| SASRec beside RecBole SASRec | {sizes} | positions | 45,000 | 150 | 300.00 |  |" in page
    assert "Missed" not in page
    assert "1.50 s (SASRec)" in page
    assert "**Still to be timed: NeuMF, RecBole NeuMF, RecBole SASRec, full softmax.**" in page


def test_speeds_below_their_target_say_by_how_much_and_what_was_tried() -> None:
    line = {"table": "speed", "seed": 0, "settings": None, "date": "2026-01-01", "versions": {}, "threads": 2}
    rates_of = {"NeuMF": 230.0, "RecBole NeuMF": 200.0}
    page = _page(*({**line, "row": row, "examples_per_second": rate, "seconds_per_evaluation": 1.0} for row, rate in rates_of.items()))
    # 230 / 200 = 1.15, and the target is 2.
    assert f"| {TIMED['NeuMF'].text} | examples | 230 | 200 | 1.15 | 2.0 |" in page
    assert f"Missed: NeuMF beside RecBole NeuMF by 0.85. Tried for NeuMF: {TIMED['NeuMF'].tried}." in page


def test_the_page_says_what_repeats_a_row() -> None:
    page = _page(_ours("movielens_1m_ncf", "gmf", 0, {"file": (0.7, 0.4)}))
    assert "with `--warm_start` and the runs that a row begins with (neumf_pretrained)" in page


def test_tables_name_rows_and_protocols_that_there_are() -> None:
    for table in TABLES:
        rows = list_rows(table.recipe)
        named = {*table.rows, *table.published, *table.targets, *table.peers, *table.tried}
        assert named <= {*rows}
        for row in table.rows or rows:
            settings = load_recipe(f"{table.recipe}:{row}", None, None).values
            assert table.protocol in settings.get("protocols", TrainingConfig().protocols)
    assert {*INPUTS} == {table.recipe for table in TABLES}
    for (recipe, row), before in WARM_STARTS.items():
        assert {row, *before} <= {*list_rows(recipe)}
        assert all((recipe, each) not in WARM_STARTS for each in before)
    assert {timed.row for timed in TIMED.values()} <= {row for row, _ in all_runs("movielens_1m_implicit")}
    assert {*PEERS} <= {*list_rows("movielens_100k_implicit")}


def test_results_of_two_processes_do_not_replace_each_other(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    first, second = Results(path), Results(path)
    first.add(_recbole("RecBole BPR", 0.1, 0.05))
    second.add(_ours("movielens_1m_ncf", "gmf", 0, {"file": (0.7, 0.4)}))
    kept = Results(path)
    assert {row for _, row, _ in kept.runs} == {"RecBole BPR", "gmf"}
    assert kept.has("movielens_1m_ncf", ("gmf", 0), {})
    assert not kept.has("movielens_1m_ncf", ("gmf", 0), {"model": "gmf"})
    assert not kept.has("movielens_1m_ncf", ("gmf", 1), {})


@pytest.mark.parametrize(("together", "sizes"), [(1, [1, 1, 1]), (2, [2, 1])])
def test_a_process_takes_runs_of_one_row(together: int, sizes: list[int]) -> None:
    runs = [("fm", 0), ("lr", 0), ("fm", 1)]
    if together == 1:
        assert list(chunks(runs, 1)) == [(("fm", 0),), (("lr", 0),), (("fm", 1),)]
    assert [len(each) for each in chunks(runs, together)] == sizes
