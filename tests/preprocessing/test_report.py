"""The readable table: aligned, at most 140 columns wide, whatever the names and values are."""

from __future__ import annotations

from typing import Any

import pytest

from feature_specs import FeatureSpec
from preprocessing.report import SCREEN_FEATURES, WIDTH, everything, number, percent, screen, shortened, width


def _spec(names: list[str]) -> FeatureSpec:
    features = [{"kind": "categorical", "name": name, "encoding": {"type": "vocabulary"}} for name in names]
    return FeatureSpec.model_validate({"name": "s", "features": features, "label": {"column": "y"}})


def _statistics(names: list[str], **more: Any) -> dict[str, Any]:
    shown = {"rows": 8, "missing_share": 0.25, "values": 6, "oov_share": 0.5, "distinct": 3, "top": [["a", 2], ["b", 1]], **more}
    return {
        "rows": {"in": 1200, "out": 1190, "rejected": 10, "negatives": 0},
        "splits": {"train": 1000, "valid": 190, "test": 0},
        "tables": dict.fromkeys(names, 5),
        "label": {"train": 0.25, "valid": 0.5},
        "features": {name: {"train": shown, "valid": shown} for name in names},
        "drift": {name: {"valid": {"js": 0.01 * i, "linf": 0.1, "warning": i == 3}} for i, name in enumerate(names)},
        "warnings": ["f3: valid differs from train"],
    }


def test_a_small_table_in_full() -> None:
    assert screen(_spec(["city"]), _statistics(["city"]), "data").splitlines() == [
        "rows      1,200 in, 1,190 out, 10 rejected (why: data/rejected-*.jsonl)",
        "splits    train 1,000, valid 190, test 0",
        "labels    train 0.2500, valid 0.5000",
        "tables    city 5",
        "",
        "                      missing %    new %                                    drift",
        "feature  kind         train valid  train valid  distinct  values             valid",
        "city     categorical   25.0  25.0   50.0  50.0         3  a 33.3%, b 16.7%  0.000",
        "(what the columns say: data/statistics.txt)",
        "",
        "warning: f3: valid differs from train",
    ]


def test_of_many_features_the_screen_shows_those_that_need_a_look() -> None:
    names = [f"f{i}" for i in range(200)]
    lines = screen(_spec(names), _statistics(names), "/d").splitlines()
    body = lines[lines.index("") + 3 : -4]
    assert len(body) == SCREEN_FEATURES
    assert [line.split()[0] for line in body[:4]] == ["f3", "f199", "f198", "f197"]
    assert body[0].endswith("0.030*")
    assert "... and 160 more features: /d/statistics.txt" in lines
    whole = everything(_spec(names), _statistics(names))
    assert [line.split()[0] for line in whole.splitlines() if line.startswith("f") and "categorical" in line] == names
    assert "f3: valid differs from train" in whole


@pytest.mark.parametrize("value", ["x" * 300, "東京" * 50, "e\u0301" * 90, "\\xff\\x00" * 20])
def test_long_names_and_values_of_any_script_fit(value: str) -> None:
    names = ["a" * 120, "b"]
    statistics = _statistics(names, top=[[value, 3], ["short", 2], [value, 1]])
    statistics["warnings"] = [value] * 30
    lines = screen(_spec(names), statistics, "data").splitlines()
    assert max(map(width, lines)) <= WIDTH
    assert lines[-1] == "... and 20 more warnings: data/statistics.txt"
    table = lines[lines.index("") + 3 :][:2]
    # Both lines have the same place for everything behind the values.
    assert width(table[0].rstrip()) == width(table[1].rstrip())


def test_every_kind_of_value() -> None:
    numbers = {"min": -1.5, "max": 2e6, "mean": 12.345, "std": 0.001, "quantiles": {"0.25": 0, "0.5": 1234, "0.75": 98765}, "values": 0}
    for more, expected in (
        (numbers, "-1.5 | 0 1,234 98,765 | 2M, mean 12.3 dev 0.001"),
        ({"mean": None}, "a 33.3%, b 16.7%"),
        ({"length_mean": 2.5, "length_max": 50}, "length 2.5, at most 50; a 33.3%, b 16.7%"),
        ({"elements": [{"mean": 1.0, "min": 0, "max": 3}, {"mean": None}, {"mean": 2.0, "min": -1, "max": 3}]}, "-1 to 3, means 1 to 2"),
        ({"distinct": 1_234_567, "distinct_error": 0.016}, "~1.235M"),
        ({"top": []}, "categorical"),
    ):
        assert expected in screen(_spec(["a"]), _statistics(["a"], **more))


def test_numbers_and_shares_for_people() -> None:
    assert [number(n) for n in (0, 3, 0.12345, 999.9, 12345.6, 893286638, 2.5e13, 1e-5, -1e20, None)] == [
        *("0", "3", "0.123", "1,000", "12,346", "893.3M", "25T", "1.0e-05", "-1.0e+20", "-")
    ]
    assert [percent(p) for p in (0, 1, 0.0001, 0.5, 0.12345, 0.99999, None)] == ["0", "100", "<.1", "50.0", "12.3", ">99.9", "-"]
    assert shortened("abcdef", 5) == "abc.."
    assert shortened("東京都東京", 7) == "東京.."
