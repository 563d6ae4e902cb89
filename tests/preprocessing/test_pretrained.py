"""Pretrained vectors: aligned with the vocabulary by token, from either format, and every file that is not what it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_specs import ColonnadeError, FeatureSpec, Pretrained
from preprocessing import pretrained as module
from preprocessing.artifacts import content_digest
from preprocessing.pretrained import check_pretrained, write_pretrained

TOKENS = [b"b", b"zz", b"a\xff", b"4"]
VECTORS = np.array([[1, 2], [3, 4], [5, 6], [7, 8]], np.float64)


def spec_of(pretrained: dict[str, Any], dim: int | None = None) -> FeatureSpec:
    feature = {"kind": "categorical", "name": "w", "table": "a word", "encoding": {"type": "vocabulary"}, "embedding_dim": dim}
    return FeatureSpec.model_validate({"name": "words", "features": [{**feature, "pretrained": pretrained}], "label": {"column": "y"}})


def npy(folder: Path, tokens: list[bytes] = TOKENS, vectors: np.ndarray = VECTORS) -> dict[str, Any]:
    np.save(folder / "v.npy", vectors)
    (folder / "v.txt").write_bytes(b"".join(token + b"\n" for token in tokens))
    return {"file": str(folder / "v.npy"), "tokens": str(folder / "v.txt")}


def parquet(folder: Path, tokens: Any = None, vectors: Any = None, **columns: str) -> dict[str, Any]:
    tokens = pa.array(TOKENS, pa.binary()) if tokens is None else tokens
    names = Pretrained(file="v.parquet", **columns)
    vectors = pa.array(VECTORS.tolist()) if vectors is None else vectors
    pq.write_table(pa.table({names.token_column: tokens, names.vector_column: vectors}), folder / "v.parquet")
    return {"file": str(folder / "v.parquet"), **columns}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory whose vocabulary is a?, c, b, 4."""
    assets = tmp_path / "data" / "transform_fn" / "assets"
    assets.mkdir(parents=True)
    (assets / "vocabulary-a%20word").write_bytes(b"a\xff\nc\nb\n4\n")
    (tmp_path / "data" / "statistics.json").write_text("{}")
    return tmp_path / "data"


@pytest.mark.parametrize("rows", [1, 3, 100])
@pytest.mark.parametrize(
    "make",
    [
        npy,
        lambda folder: npy(folder, vectors=VECTORS.astype(np.float16)),
        lambda folder: npy(folder, vectors=VECTORS.astype(np.int32)),
        parquet,
        lambda folder: parquet(folder, vectors=pa.array(VECTORS.tolist(), pa.list_(pa.float32(), 2))),
        lambda folder: parquet(folder, pa.array(TOKENS, pa.binary()).dictionary_encode(), token_column="key", vector_column="values"),
    ],
)
def test_aligned_by_token(make: Any, rows: int, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH", rows)
    spec = spec_of(make(tmp_path))
    check_pretrained(spec)
    without = content_digest(data, {})
    assert write_pretrained(spec, data) == {"a word": {"tokens": 4, "found": 3}}
    found = np.load(data / "pretrained-a%20word.npy")
    none = [np.nan, np.nan]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [none, [5, 6], none, [1, 2], [7, 8], none])  # padding, a?, c, b, 4, OOV
    assert content_digest(data, {}) != without


def test_integers_of_parquet_are_the_vocabulary_s_decimals(data: Path, tmp_path: Path) -> None:
    spec = spec_of(parquet(tmp_path, pa.array([7, 4, 1, 0])))
    assert write_pretrained(spec, data)["a word"]["found"] == 1
    np.testing.assert_array_equal(np.load(data / "pretrained-a%20word.npy")[4], [3, 4])


def test_tables_without_vectors_write_nothing(data: Path) -> None:
    spec = FeatureSpec.from_yaml("{name: x, features: [{kind: categorical, name: w, encoding: {type: vocabulary}}], label: {column: y}}")
    check_pretrained(spec)
    assert write_pretrained(spec, data) == {}
    assert not list(data.glob("*.npy"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: {"file": f"{folder}/none.parquet"}, r"cannot read '.*none\.parquet': .*Correct the path in the spec"),
        (lambda folder: {**npy(folder), "tokens": f"{folder}/none.txt"}, r"cannot read '.*none\.txt'"),
        (lambda folder: npy(folder, vectors=np.zeros(4)), r"v\.npy' should be an array of numbers \[N, D\]\. Received: float64 \[4\]"),
        (lambda folder: npy(folder, vectors=np.zeros((0, 2))), r"should be an array of numbers \[N, D\]\. Received: float64 \[0, 2\]"),
        (lambda folder: npy(folder, vectors=np.asfortranarray(np.ones((4, 2)))), r"in Fortran order\. Write it with numpy\.save"),
        (lambda folder: npy(folder, vectors=np.array([["a", "b"]] * 4)), r"Received: str"),
        (lambda folder: {**npy(folder), "file": str((folder / "x.npy").write_bytes(b"1,2\n") and folder / "x.npy")}, r"is no \.npy file"),
        (lambda folder: npy(folder, TOKENS[:3]), r"has 4 vectors, its tokens file '.*v\.txt' 3 lines\. Give one line a vector"),
        (lambda folder: npy(folder, [*TOKENS, b"more"]), r"has 4 vectors, its tokens file '.*v\.txt' more lines"),
        (lambda folder: npy(folder, [b"b", b"x", b"b", b"x"]), r"has token 'b' more than once\. Keep one vector a token"),
        (lambda folder: npy(folder, vectors=np.array([[1, 2], [1, 2], [np.nan, 2], [1, 2]])), r"token 'a.' has NaN or infinity"),
        (lambda folder: npy(folder, vectors=VECTORS * 1e60), r"token .* has NaN or infinity"),
        (lambda folder: parquet(folder) | {"vector_column": "vectr"}, r"no column 'vectr'\. Did you mean 'vector'\? It has: token"),
        (lambda folder: parquet(folder, vectors=pa.array([[1.0], [1.0, 2.0]] * 2)), r"has vectors of 1 and 2 numbers\. Make them equal"),
        (lambda folder: parquet(folder, vectors=pa.array([1.0] * 4)), r"'vector' should hold lists of numbers\. Received: double"),
        (lambda folder: parquet(folder, pa.array([[1]] * 4)), r"'token' should hold texts or integers\. Received: list"),
        (lambda folder: parquet(folder, pa.array([], pa.string()), pa.array([], pa.list_(pa.float32()))), r"has no vectors"),
        (lambda folder: {"file": str((folder / "x.parquet").write_bytes(b"no") and folder / "x.parquet")}, r"is no Parquet file"),
    ],
)
def test_what_is_wrong_is_one_clear_error(make: Any, message: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ColonnadeError, match=message):
        write_pretrained(spec_of(make(tmp_path)), data)


def test_a_repeated_token_is_found_across_batches(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH", 1)
    with pytest.raises(ColonnadeError, match="has token 'b' more than once"):
        write_pretrained(spec_of(npy(tmp_path, [b"b", b"x", b"y", b"b"])), data)


def test_a_truncated_file_is_noticed(data: Path, tmp_path: Path) -> None:
    given = npy(tmp_path)
    Path(given["file"]).write_bytes(Path(given["file"]).read_bytes()[:-8])
    with pytest.raises(ColonnadeError, match=r"ends before its 4 vectors do"):
        write_pretrained(spec_of(given), data)


def test_the_width_is_checked_before_the_job(tmp_path: Path) -> None:
    check_pretrained(spec_of(npy(tmp_path), dim=2))
    with pytest.raises(ColonnadeError, match=r"has vectors of 2 numbers, and table 'a word' declares embedding_dim 3\. Leave"):
        check_pretrained(spec_of(npy(tmp_path), dim=3))
    with pytest.raises(ColonnadeError, match=r"cannot read"):
        check_pretrained(spec_of({"file": "nowhere.parquet"}))
