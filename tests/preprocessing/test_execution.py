"""Where the stages run changes nothing: this process, worker processes, Beam."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from feature_specs import ColonnadeError, FeatureSpec
from preprocessing import progress
from preprocessing.execution import Execution, InProcess, InWorkers, OnBeam, choose
from preprocessing.pipeline import build
from preprocessing.sources import text


def _double(number: int) -> dict[str, Any]:
    progress.advance(number)
    return {"doubled": 2 * number, "process": os.getpid()}


def _refuse(number: int) -> dict[str, Any]:
    raise ColonnadeError(f"Not {number}.")


def _fail(number: int) -> dict[str, Any]:
    raise KeyError(f"a bug with {number}")


def _die(number: int) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {"number": number}


@pytest.fixture(params=["process", "workers", "beam"])
def execution(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    made: Execution = {
        "process": partial(InProcess, show=False),
        "workers": partial(InWorkers, 2, show=False),
        "beam": partial(OnBeam, ["--runner=DirectRunner"], tmp_path, show=False),
    }[request.param]()
    yield made
    made.close()


def test_records_come_in_the_order_of_the_items(execution: Execution) -> None:
    records = execution.map("double", _double, list(range(20)))
    assert [record["doubled"] for record in records] == list(range(0, 40, 2))
    assert (os.getpid() in {record["process"] for record in records}) != isinstance(execution, InWorkers)
    assert execution.map("nothing", _double, []) == []


def test_a_users_mistake_stays_one(execution: Execution) -> None:
    with pytest.raises(ColonnadeError, match=r"^Not 3\.$"):
        execution.map("refuse", _refuse, [3])


def test_workers_report_rows_and_say_where_they_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(progress, "advance", seen.append)
    execution = InWorkers(2, show=False)
    try:
        execution.map("double", _double, [1, 2, 3])
        assert sorted(seen) == [1, 2, 3]
        with pytest.raises(RuntimeError, match=r"_fail(.|\n)*a bug with 1"):
            execution.map("fail", _fail, [1])
    finally:
        execution.close()


def test_a_worker_that_dies_is_an_error_not_a_hang() -> None:
    execution = InWorkers(2, show=False)
    try:
        with pytest.raises(ColonnadeError, match="ended unexpectedly"):
            execution.map("die", _die, [1])
    finally:
        execution.close()


@pytest.mark.parametrize(
    ("size", "options", "expected"),
    [
        (1 << 20, [], InProcess),
        (1 << 30, [], InWorkers),
        (1 << 30, ["--direct_num_workers=1"], InProcess),
        (1 << 10, ["--direct_num_workers", "2"], InWorkers),
        (1 << 30, ["--runner=DirectRunner"], OnBeam),
        (1 << 10, ["--direct_running_mode=multi_threading"], OnBeam),
    ],
)
def test_the_size_of_the_input_decides_unless_the_user_does(
    size: int, options: list[str], expected: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preprocessing.execution.cores", lambda: 2)
    chosen = choose(size, options, tmp_path, show=False)
    chosen.close()
    assert isinstance(chosen, expected)


def test_the_data_is_the_same_byte_by_byte(
    tiny_spec: FeatureSpec, tiny_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "RANGE_BYTES", 4000)
    contents = []
    for options in (["--direct_num_workers=1"], ["--direct_num_workers=2"], ["--runner=DirectRunner"]):
        folder = tmp_path / str(len(contents))
        build(tiny_spec, folder, [str(tiny_files)], options, show_progress=False)
        paths = [*folder.glob("*.*"), *folder.glob("transform_fn/assets/*")]
        contents.append({str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)})
    assert len(contents[0]) > 10
    assert contents[0] == contents[1] == contents[2]


def test_rows_longer_than_a_block_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_PARSED_BYTES", 64)
    ragged: dict[int, str] = {}
    data = b"a,b\n" * 40 + b"x" * 500 + b",y\n" + b"odd\n" + b"c,d\n"
    table = text._by_arrow(data, b",", True, ("p", "q"), ("q",), ragged)
    assert table is not None
    assert table["q"].combine_chunks() == pa.array([b"b"] * 40 + [b"y", b"d"], pa.binary())
    assert list(ragged) == [41]
