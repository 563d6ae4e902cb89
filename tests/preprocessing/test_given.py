"""Vocabularies that a spec gives: what is wrong with one is said before any row is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_specs import ColonnadeError, FeatureSpec, Vocabulary
from preprocessing.given import check_given, given_tokens


def test_tokens_in_order() -> None:
    assert given_tokens("t", Vocabulary(tokens=("b", 7, "a"))).to_pylist() == [b"b", b"7", b"a"]
    assert given_tokens("t", Vocabulary(tokens=("b", 7, "a"), max_size=2)).to_pylist() == [b"b", b"7"]


def test_files_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_bytes(b"z\r\n a \n\xff")
    assert given_tokens("t", Vocabulary(file="words.txt")).to_pylist() == [b"z", b" a ", b"\xff"]
    assert given_tokens("t", Vocabulary(file=str(tmp_path / "words.txt"), max_size=1)).to_pylist() == [b"z"]


@pytest.mark.parametrize(
    ("content", "option", "message"),
    [
        (None, "", r"Vocabulary file 'words.txt' of table 'x' cannot be read: .*Give the path of a text file"),
        (b"", "", "'words.txt' of table 'x' is empty"),
        (b"a\n\nb\n", "", "has an empty line, 2"),
        (b"a\nb\na\n", "", "has 'a' 2 times"),
        (b"a\nb\n", ", num_oov_buckets: 0, oov_token: c", "lacks its oov_token, 'c'. Add it"),
        (b"a\nc\n", ", num_oov_buckets: 0, oov_token: c, max_size: 1", "lacks its oov_token, 'c' among its first 1 tokens"),
    ],
)
def test_mistakes(content: bytes | None, option: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "words.txt").write_bytes(content)
    encoding = f"{{type: vocabulary, file: words.txt{option}}}"
    spec = FeatureSpec.from_yaml(f"name: g\nfeatures: [{{kind: categorical, name: x, encoding: {encoding}}}]\nlabel: {{column: y}}")
    with pytest.raises(ColonnadeError, match=message):
        check_given(spec)
