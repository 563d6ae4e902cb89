"""docs/features.md says what is so: every line is a feature, every shape is what comes out, and no kind or option is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml

from feature_specs import FeatureSpec, Identity, Vocabulary
from feature_specs.features import AnyFeature, Column, Derivation, Encoding, Initializer, Pretrained

PAGE = Path(__file__).parent.parent.parent / "docs" / "features.md"
_ROW = re.compile(r"\| `(\{kind: .*?\})` \| (.*) \| ([^|]*) \| ([^|]*) \|")
_KINDS = get_args(get_args(AnyFeature)[0])
_PARTS = [get_args(get_args(union)[0]) for union in (Encoding, Derivation, Initializer)]


def _rows() -> list[tuple[str, str, str]]:
    """Line, transformed, in the model."""
    found = [_ROW.fullmatch(line) for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert all(found), "each row of a table should be a line of YAML, what it becomes and two shapes"
    return [(match[1], match[3], match[4]) for match in found if match]


@cache
def _page() -> FeatureSpec:
    features = [yaml.safe_load(line) for line, *_ in _rows()]
    tree = {"name": "page", "features": features, "label": {"column": "clicked"}, "keys": {"user": "user", "time": "at"}}
    return FeatureSpec.model_validate(tree)


def _cell(name: str, parts: dict[str, str]) -> str:
    return "; ".join(text if part == name else f"`{part}` {text}" for part, text in parts.items()) or "-"


def _transformed(column: Column) -> str:
    shape = {"single": "[B]", "vector": f"[B, {column.size}]", "list": "[B, T]"}[column.layout]
    return f"{column.dtype} {shape}"


@pytest.mark.parametrize("row", _rows(), ids=lambda row: row[0])
def test_lines_are_features_with_these_columns(row: tuple[str, str, str]) -> None:
    feature = next(f for f in _page().features if f.name == yaml.safe_load(row[0])["name"])
    assert _cell(feature.name, {column.name: _transformed(column) for column in feature.outputs}) == row[1]


def _keys(tree: object) -> Iterator[tuple[str, object]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield key, value
            yield from _keys(value)


def test_no_kind_and_no_option_is_left_out() -> None:
    trees = [yaml.safe_load(line) for line, *_ in _rows()]
    used = {(key, str(value)) for tree in trees for key, value in _keys(tree)}
    assert {str(tree["kind"]) for tree in trees} == {kind.model_fields["kind"].default for kind in _KINDS}
    for model in (*_KINDS, Pretrained, *(part for parts in _PARTS for part in parts)):
        options = set(model.model_fields) - {"kind", "type", "dtype"}
        assert options <= {key for key, _ in used}, f"options of {model.__name__} that no line shows"
    types = {part.model_fields["type"].default for parts in _PARTS for part in parts}
    assert types <= {value for key, value in used if key == "type"}


def test_every_choice_is_named() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for model in (*_KINDS, *_PARTS[0]):
        for name, field in model.model_fields.items():
            choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
            without = [choice for choice in choices if str(choice) not in text and choice != field.default]
            assert not without, f"values of {name} that the page does not name"


def test_shapes_in_the_model(tmp_path: Path) -> None:
    import numpy as np

    from trainer.layers import SequenceFeatures

    spec = _page()
    rows: dict[str, int] = {}
    for name, encoding in spec.tables.items():
        given = len(encoding.tokens or ()) if isinstance(encoding, Vocabulary) else 0
        rows[name] = encoding.num_rows(given or 5)
    pretrained: dict[str, Any] = {}
    for name in ("brand", "word"):
        pretrained[name] = tmp_path / f"{name}.npy"
        np.save(pretrained[name], np.zeros((rows[name], 50), np.float32))
    features: dict[str, Any] = {}
    for column in spec.outputs:
        shape = {"single": (2,), "vector": (2, column.size), "list": (2, 3)}[column.layout]
        features[column.name] = np.ones(shape, np.int64 if column.dtype == "int64" else np.float32)
    features["baskets_steps"] = np.array([[0, 0, 1], [0, 1, 2]])
    layer = SequenceFeatures(spec, table_rows=rows, embedding_dim=16, pretrained=pretrained)
    vectors, _ = layer(features)
    for line, _, expected in _rows():
        feature = next(f for f in spec.features if f.name == yaml.safe_load(line)["name"])
        length = "T" if feature.is_list else "1"
        parts = {name: f"[B, {length}, {vectors[name].shape[2]}]".replace("16]", "D]") for name in feature.fields}
        assert _cell(feature.name, parts) == expected, line
        assert all(vectors[name].shape[1] in ((1,) if length == "1" else (2, 3)) for name in feature.fields)
    assert isinstance(spec.tables["slot"], Identity)
