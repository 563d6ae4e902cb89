"""Parquet's own types become what the job makes of them."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa
import pytest

from feature_specs import CategoricalFeature, Hash
from serving.convert import convert

_MOMENT = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("cells", "dtype", "expected"),
    [
        (pa.array([63.0, None, 1.5, float("nan")]), "string", [b"63", b"", b"1.5", b""]),
        (pa.array([True, False, None]), "string", [b"1", b"0", b""]),
        (pa.array([True, False, None]), "int64", [1, 0, -1]),
        (pa.array([_MOMENT, None], pa.timestamp("ns", "UTC")), "int64", [1704067200, -1]),
    ],
)
def test_types(cells: pa.Array, dtype: Any, expected: list[object]) -> None:
    feature = CategoricalFeature(name="f", dtype=dtype, encoding=Hash(num_buckets=5))
    raw, bad = convert(feature, cells)
    assert raw["f"].numpy().tolist() == expected
    assert not len(bad)
