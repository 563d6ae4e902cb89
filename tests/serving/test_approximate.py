"""An index of the items' vectors finds what all scores would, nearly; what it lacks is measured and told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tiny_matching import TinyMatching, export

import serving.approximate
import serving.recommend
from feature_specs import ColonnadeError
from preprocessing.artifacts import DataDirectory
from serving.recommend import recommend_file

faiss = pytest.importorskip("faiss", reason="the extra `ann` is not installed")


class RoundAbout(TinyMatching):
    """Vectors without ties, of very different lengths, so that the nearest is not the one with the largest product."""

    def query(self, features: dict) -> tf.Tensor:
        return super().query(features) + tf.cast(features["user"] % 7, tf.float32)[:, tf.newaxis] * 0.37

    def candidates(self, features: dict) -> tf.Tensor:
        ids = tf.cast(features["movie"], tf.float32)[:, tf.newaxis]
        return super().candidates(features) * (1 + 0.113 * ids) + ids * tf.constant([[0.001, 0.002, -0.003, 0.004]])


@pytest.fixture
def users(strings: DataDirectory, tmp_path: Path) -> Path:
    table = pq.read_table(strings.path / "sample.parquet", columns=["raw.user", "raw.age", "raw.history"])
    pq.write_table(table.rename_columns(["user", "age", "history"]), tmp_path / "users.parquet")
    return tmp_path / "users.parquet"


def lists(path: Path) -> list[set[str]]:
    return [set(row["item_ids"]) for row in map(json.loads, path.read_text().splitlines())]


@pytest.mark.parametrize("kind", ["inner", "distance"])
@pytest.mark.parametrize("include_seen", [True, False])
def test_recall_is_measured_and_told(
    kind: str, include_seen: bool, strings: DataDirectory, users: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.approximate, "_ITEMS_A_CELL", 5)  # 40 items make 8 cells
    said: list[str] = []
    monkeypatch.setattr(serving.approximate.tqdm, "write", said.append)
    version = export(RoundAbout(strings, kind), strings, tmp_path)
    arguments = {"k": 5, "include_seen": include_seen}
    recommend_file(version, users, tmp_path / "exact.jsonl", **arguments)
    recommend_file(version, users, tmp_path / "found.jsonl", **arguments, index="approximate")

    told = json.loads((version / "assets.extra" / "items.json").read_text())
    assert (told["items"], told["cells"], told["k"]) == (40, 8, 5)
    assert said == [
        f"approximate: recall@5 {told['recall']:.4f} against exact, of {told['users']} users; {told['probed']} of 8 cells are looked into"
    ]
    exact, found = lists(tmp_path / "exact.jsonl"), lists(tmp_path / "found.jsonl")
    # Every other user, from the second on.
    by_hand = [len(one & other) / 5 for one, other in zip(exact, found, strict=True)]
    assert told["recall"] == pytest.approx(np.mean(by_hand[1::2]))
    assert np.mean(by_hand[::2]) >= 0.95

    # The index is made once.
    before = (version / "assets.extra" / "items.faiss").stat().st_mtime_ns
    recommend_file(version, users, tmp_path / "again.jsonl", **arguments, index="approximate")
    assert (version / "assets.extra" / "items.faiss").stat().st_mtime_ns == before
    assert (tmp_path / "again.jsonl").read_text() == (tmp_path / "found.jsonl").read_text()


def test_all_cells_give_the_exact_lists(strings: DataDirectory, users: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving.approximate, "_WANTED_RECALL", 1.1)
    version = export(RoundAbout(strings), strings, tmp_path)
    for index in ("exact", "approximate"):
        recommend_file(version, users, tmp_path / f"{index}.parquet", k=60, index=index)
    exact, found = (pq.read_table(tmp_path / f"{index}.parquet") for index in ("exact", "approximate"))
    assert found["item_ids"] == exact["item_ids"]
    flat = [pa.compute.list_flatten(table["scores"]).to_numpy() for table in (exact, found)]
    np.testing.assert_allclose(flat[0], flat[1], rtol=1e-5)


def test_a_query_of_zeros_gets_the_first_items(strings: DataDirectory, users: Path, tmp_path: Path) -> None:
    # All items score 0 there, and of equals the first of the catalogue, the most popular ones, are meant.
    class Silent(RoundAbout):
        def query(self, features: dict) -> tf.Tensor:
            return super().query(features) * tf.cast(features["user"] % 2, tf.float32)[:, tf.newaxis]

    version = export(Silent(strings), strings, tmp_path)
    for index in ("exact", "approximate"):
        recommend_file(version, users, tmp_path / f"{index}.jsonl", k=5, index=index)
    exact, found = ([json.loads(line) for line in (tmp_path / f"{i}.jsonl").read_text().splitlines()] for i in ("exact", "approximate"))
    silent = [row for row, one in enumerate(exact) if not any(one["scores"])]
    assert len(silent) > 5
    assert [found[row]["item_ids"] for row in silent] == [exact[row]["item_ids"] for row in silent]


def test_what_has_no_index_is_told(strings: DataDirectory, users: Path, tmp_path: Path) -> None:
    version = export(TinyMatching(strings, "other"), strings, tmp_path)
    with pytest.raises(ColonnadeError, match="neither inner products nor distances, so there is no index of its items. Leave out --index"):
        recommend_file(version, users, tmp_path / "lists.jsonl", index="approximate")


def test_a_folder_that_cannot_be_written_to_keeps_no_index(
    matching: Path, users: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.approximate, "INDEX_FILE", Path("gone") / "items.faiss")
    before = sorted(matching.rglob("*"))
    recommend_file(matching, users, tmp_path / "lists.jsonl", index="approximate")
    assert len(lists(tmp_path / "lists.jsonl")) == 30
    assert sorted(matching.rglob("*")) == before


def test_without_faiss_the_extra_is_named(matching: Path, users: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving.recommend, "find_spec", lambda _: None)
    with pytest.raises(ColonnadeError, match=r"needs faiss, which is not installed: pip install 'colonnade\[ann\]'"):
        recommend_file(matching, users, tmp_path / "lists.jsonl", index="approximate")
