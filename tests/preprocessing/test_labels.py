"""Labels: every way to declare one, and every way to be without."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_specs.spec import Label
from preprocessing.labels import labels


def _made(cells: list[bytes | None], **declared: Any) -> tuple[list[float], dict[int, str]]:
    reasons: dict[int, str] = {}
    array = labels(Label(column="y", **declared), {"y": pa.array(cells, pa.binary())}, len(cells), reasons)
    assert array.type == pa.float32()
    return array.to_pylist(), reasons


def test_zero_or_one() -> None:
    values, reasons = _made([b"0", b"1", b"1.0", b"0.5", b"", None, b"yes", b"nan", b"inf"])
    assert values[:3] == [0.0, 1.0, 1.0]
    assert reasons == {
        3: "column 'y': '0.5' is not 0 or 1; give the label a threshold",
        4: "label 'y' is missing",
        5: "label 'y' is missing",
        6: "column 'y': 'yes' is not a finite number",
        7: "label 'y' is missing",
        8: "column 'y': 'inf' is not a finite number",
    }


def test_any_number() -> None:
    values, reasons = _made([b"-2.5", b"1e3", b""], task="regression")
    assert values[:2] == [-2.5, 1000.0]
    assert reasons == {2: "label 'y' is missing"}


def test_threshold_belongs_to_the_positives_however_it_is_rounded() -> None:
    values, reasons = _made([b"0.7", b"0.69", b"5", b"-1", b"x"], threshold=0.7)
    assert values[:4] == [1.0, 0.0, 1.0, 0.0]
    assert list(reasons) == [4]


@given(st.decimals(-1000, 1000, places=2))
def test_a_value_written_like_the_threshold_reaches_it(value: object) -> None:
    assert _made([str(value).encode()], threshold=float(str(value)))[0] == [1.0]


def test_values_that_are_positive_and_negative() -> None:
    cells = [b">50K", b"<=50K", b"", None, b">50K.", b"\xff"]
    values, reasons = _made(cells, positive=[">50K"], negative=["<=50K"])
    assert values[:2] == [1.0, 0.0]
    assert reasons == {
        2: "label 'y' is missing",
        3: "label 'y' is missing",
        4: "column 'y': '>50K.' is not one of the label's values '>50K', '<=50K'",
        5: "column 'y': '\ufffd' is not one of the label's values '>50K', '<=50K'",
    }
    values, reasons = _made(cells, positive=[">50K", ">50K."])
    assert values == [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    assert list(reasons) == [2, 3]
    # Nothing may be a value too: bought, or not.
    values, reasons = _made(cells, positive=[">50K", ">50K."], negative=[""])
    assert values[2:4] == [0.0, 0.0]
    assert list(reasons) == [1, 5]


def test_implicit() -> None:
    reasons: dict[int, str] = {}
    assert labels(Label(implicit=True), {}, 3, reasons).to_pylist() == [1.0, 1.0, 1.0]
    assert not reasons


def test_an_earlier_reason_stays() -> None:
    reasons = {0: "another"}
    labels(Label(column="y"), {"y": pa.array([b"x"], pa.binary())}, 1, reasons)
    assert reasons == {0: "another"}


@pytest.mark.parametrize("declared", [{}, {"positive": ["1"]}, {"threshold": 1.0}])
def test_a_list_of_one_value_is_that_value(declared: dict[str, Any]) -> None:
    reasons: dict[int, str] = {}
    cells = pa.array([[b"1"], None, [], [b"1", b"0"], [b"0"]], pa.list_(pa.binary()))
    made = labels(Label(column="y", **declared), {"y": cells}, 5, reasons).to_pylist()
    assert (made[0], made[4]) == (1.0, 0.0)
    assert reasons == {
        1: "label 'y' is missing",
        2: "label 'y' is missing",
        3: "column 'y': a list of 2 is not one value",
    }
