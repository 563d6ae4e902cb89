"""Numbers in the transform graph, against NumPy and scikit-learn; sketches in parts against the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.preprocessing import KBinsDiscretizer, QuantileTransformer

from feature_specs import FeatureSpec
from preprocessing.counting import Counter, add_numbers, empty_numbers, read_numbers
from preprocessing.numbers import boundaries, quantiles, ranks, statistics
from preprocessing.scaling import transformed_numbers
from preprocessing.sketches import Histogram, Numbers

NUMBERS = st.floats(-1e6, 1e6, width=32)


def spec_of(*declared: str) -> FeatureSpec:
    features = "\n".join(f"- {{name: x{i}, {one}}}" for i, one in enumerate(declared))
    return FeatureSpec.from_yaml(f"name: numbers\nfeatures:\n{features}\nlabel: {{column: y}}\n")


def sketch(train: np.ndarray, limit: int = 1 << 16) -> Numbers:
    numbers = Numbers(Histogram(limit))
    numbers.add(train[np.isfinite(train)].astype(np.float32))
    return numbers


def transformed(declared: str, train: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns what becomes of `values`, where the training split holds `train`."""
    spec = spec_of(declared)
    columns = np.atleast_2d(train.T)
    return transformed_numbers(spec, {"x0": tf.constant(values, tf.float32)}, {"x0": [sketch(column) for column in columns]})["x0"].numpy()


@pytest.mark.parametrize("with_ties", [False, True])
@pytest.mark.parametrize("rows", [2, 3, 50, 999, 1000, 1001, 5000])
def test_quantile_normal_is_scikit_learns(rows: int, with_ties: bool) -> None:
    rng = np.random.default_rng(rows)
    train = rng.lognormal(size=rows).astype(np.float32)
    train = np.round(train * 20) / 4 if with_ties else train
    values = np.concatenate([train, rng.lognormal(size=100), [-1, 0, 1e9]]).astype(np.float32)
    oracle = QuantileTransformer(n_quantiles=min(1000, rows), output_distribution="normal", subsample=None)
    expected = oracle.fit(train[:, None].astype(np.float64)).transform(values[:, None].astype(np.float64))[:, 0]
    found = transformed("kind: numeric, scaling: quantile_normal", train, values)
    if not with_ties:
        np.testing.assert_allclose(found, expected, atol=2e-4)
    # Rounding tears some of its equal points apart, which moves the middle of their ranks by less than one point.
    np.testing.assert_allclose(norm.cdf(found), norm.cdf(expected), atol=1 / min(1000, rows))


def test_quantile_normal_of_one_number_or_none_is_zero() -> None:
    for train in (np.array([3.0, 3.0]), np.zeros(0)):
        found = transformed("kind: numeric, scaling: quantile_normal", train, np.array([3, -1e9, 1e9, np.nan]))
        assert found.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("buckets", [2, 4, 10])
def test_quantile_buckets_are_scikit_learns(buckets: int) -> None:
    train = np.random.default_rng(buckets).normal(size=501).astype(np.float32)
    oracle = KBinsDiscretizer(buckets, encode="ordinal", strategy="quantile", quantile_method="linear", subsample=None)
    expected = oracle.fit_transform(train[:, None].astype(np.float64))[:, 0]
    assert (transformed(f"kind: bucketized, quantiles: {buckets}", train, train) - 1).tolist() == expected.tolist()


def test_equal_quantiles_leave_buckets_empty_and_shift_nothing() -> None:
    # Seven of ten numbers are 0: the quartiles are 0, 0 and 1.75.
    train = np.array([0] * 7 + [7, 8, 9], np.float32)
    assert boundaries(sketch(train), 4).tolist() == [0, 0, 5.25]
    found = transformed("kind: bucketized, quantiles: 4", train, np.array([-1, 0, 1, 7, np.nan, np.inf]))
    assert found.tolist() == [1, 3, 3, 4, 0, 0]


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ("none", [4, -2, 1, 1]),
        ("z_score", [2, -2, 0, 0]),
        ("min_max", [1, 0, 0.5, 0.5]),
        ("log1p", [np.log(5), 0, np.log(2), np.log(2)]),
    ],
)
def test_scalings_of_numbers_beyond_the_training_range(scaling: str, expected: list[float]) -> None:
    # Mean 1, deviation 1.5 (population), from -0.5 to 2.5; what is missing or infinite is the mean.
    train = np.array([-0.5, 2.5, -0.5, 2.5], np.float32)
    found = transformed(f"kind: numeric, scaling: {scaling}", train, np.array([4, -2, np.nan, -np.inf]))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("scaling", ["none", "z_score", "min_max", "log1p", "quantile_normal"])
def test_numbers_of_a_vector_are_scaled_on_their_own(scaling: str) -> None:
    rng = np.random.default_rng(1)
    train = rng.normal(size=(40, 3)).astype(np.float32) * [1, 10, 100]
    values = rng.normal(size=(9, 3)) * 50
    values[4, 1] = np.nan
    together = transformed(f"kind: numeric, size: 3, scaling: {scaling}", train, values)
    apart = [transformed(f"kind: numeric, scaling: {scaling}", train[:, i], values[:, i]) for i in range(3)]
    np.testing.assert_allclose(together, np.stack(apart, axis=1), rtol=1e-6)


@settings(deadline=None, max_examples=50)
@given(numbers=st.lists(NUMBERS, min_size=1, max_size=60), shares=st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_quantiles_are_numpys(numbers: list[float], shares: list[float]) -> None:
    found = quantiles(sketch(np.array(numbers)).histogram, np.array(shares))
    np.testing.assert_allclose(found, np.quantile(np.float32(numbers).astype(np.float64), shares), rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(
    numbers=st.lists(NUMBERS, min_size=2, max_size=80),
    cuts=st.lists(st.integers(0, 80), max_size=3),
    limit=st.sampled_from([4, 16, 1 << 16]),
)
def test_the_order_and_grouping_of_rows_change_nothing(numbers: list[float], cuts: list[int], limit: int) -> None:
    def found(parts: list[np.ndarray]) -> list[Any]:
        total = Numbers(Histogram(limit))
        for part in parts:
            total.merge(sketch(part, limit))
        return [*statistics([total]), *ranks([total], 7), boundaries(total, 5)]

    values = np.array(numbers)
    pieces = np.split(values, sorted(cut for cut in cuts if cut < len(values)))
    for one, other in zip(found(pieces), found(pieces[::-1]), strict=True):
        np.testing.assert_array_equal(one, other)
    whole = statistics([sketch(values, limit)])
    np.testing.assert_allclose(statistics([sketch(values)]), whole, rtol=1e-6)


def test_more_numbers_than_cells_keep_quantiles_close() -> None:
    train = np.random.default_rng(0).lognormal(size=50_000).astype(np.float32)
    coarse = sketch(train, 1 << 10)
    shares = np.linspace(0, 1, 101)
    assert coarse.histogram.error > 0
    found, exact = quantiles(coarse.histogram, shares), np.quantile(train, shares)
    np.testing.assert_allclose(found, exact, rtol=2 * coarse.histogram.error)
    # Evenly spread over their cells, the numbers are nearer than the cells are wide.
    assert np.abs(found / exact - 1)[5:-5].mean() < coarse.histogram.error / 4


def test_sequences_are_cut_before_they_are_counted() -> None:
    import pyarrow as pa

    spec = spec_of("kind: numeric_sequence, scaling: min_max, max_length: 2, keep: last")
    feature = spec.features[0]
    known = empty_numbers(feature)
    add_numbers(known, feature, pa.array([[1000, 1, 3], [], [5, np.inf]], pa.list_(pa.float32())))
    raw = {"x0": tf.ragged.constant([[9, 3, 1], [], [np.inf, 5, np.nan, 3]], tf.float32, 1, row_splits_dtype=tf.int64)}
    assert transformed_numbers(spec, raw, {"x0": known})["x0"].to_list() == [[0.5, 0], [], [1, 0.5]]


def test_numbers_come_back_from_files_as_they_were_counted(tmp_path: Path) -> None:
    import pyarrow as pa

    spec = spec_of("kind: numeric, scaling: quantile_normal")
    (tmp_path / "numbers").mkdir()
    counters = [Counter(spec), Counter(spec), Counter(spec)]  # the last one has seen no row
    for number, counter in enumerate(counters):
        values = np.random.default_rng(number).normal(size=100_000).astype(np.float32)
        if number < 2:
            counter.add(pa.table({"x0": values, "_split": np.zeros(100_000, np.int64)}))
        counter.write(str(tmp_path), number)
    (total,) = read_numbers(spec, [str(tmp_path / "numbers" / f"{number:05d}.arrow") for number in range(3)])["x0"]
    (expected,) = counters[0].numbers["x0"]
    expected.merge(counters[1].numbers["x0"][0])
    assert (total.count, total.low, total.high) == (200_000, expected.low, expected.high)
    np.testing.assert_array_equal(total.parts, expected.parts)
    assert total.histogram.shift == expected.histogram.shift > 0
    for name in ("cells", "counts"):
        np.testing.assert_array_equal(getattr(total.histogram, name), getattr(expected.histogram, name))
