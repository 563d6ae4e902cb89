from __future__ import annotations

from pathlib import Path

import pytest

from feature_specs import ColonnadeError
from trainer.exporters import BestExporter, Evaluated, Exporter, FinalExporter, LatestExporter, check_names


class Versions:
    """Stands for writing exports: each is a folder with the next number."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, folder: Path) -> Path:
        numbers = [int(path.name) for path in folder.glob("[0-9]*")]
        version = folder / str(max(numbers, default=0) + 1)
        version.mkdir(parents=True)
        self.made.append(str(version.relative_to(folder.parent)))
        return version


def run(exporter: Exporter, base: Path, values: list[float], metric: str = "auc", first_step: int = 10) -> list[str]:
    versions = Versions()
    for number, value in enumerate(values):
        exporter(Evaluated(first_step + 10 * number, {"auc": 0.5, "log_loss": 1.0, metric: value}, "auc"), base, versions)
    return versions.made


def kept(base: Path, name: str) -> list[str]:
    return sorted(path.name for path in (base / name).iterdir() if path.is_dir())


def test_best_exports_what_is_better_and_keeps_so_many(tmp_path: Path) -> None:
    nan = float("nan")
    made = run(BestExporter(exports_to_keep=2), tmp_path, [0.6, 0.6, nan, 0.7, 0.65, 0.8])
    assert made == ["best/1", "best/2", "best/3"]
    assert kept(tmp_path, "best") == ["2", "3"]


def test_best_by_a_metric_where_less_is_better(tmp_path: Path) -> None:
    exporter = BestExporter("by_loss", metric="log_loss")
    assert run(exporter, tmp_path, [0.6, 0.5, 0.55], "log_loss") == ["by_loss/1", "by_loss/2"]


def test_a_resumed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    run(BestExporter(), tmp_path, [0.6, 0.7])
    assert run(BestExporter(), tmp_path, [0.7, 0.65, 0.71], first_step=20) == ["best/3"]
    run(LatestExporter(), tmp_path, [0.6, 0.7])
    assert run(LatestExporter(), tmp_path, [0.7, 0.65], first_step=20) == ["latest/3"]


def test_latest_exports_every_time_and_keeps_so_many(tmp_path: Path) -> None:
    run(LatestExporter(exports_to_keep=2), tmp_path, [0.6, 0.5, 0.4])
    assert kept(tmp_path, "latest") == ["2", "3"]


def test_final_exports_once_at_the_end(tmp_path: Path) -> None:
    assert run(FinalExporter(), tmp_path, [0.6, 0.7]) == []
    versions = Versions()
    for _ in range(2):
        FinalExporter()(Evaluated(20, {"auc": 0.7}, "auc", is_last=True), tmp_path, versions)
    assert versions.made == ["final/1"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LatestExporter(exports_to_keep=0), r"exports_to_keep should be at least 1\. Received: 0"),
        (lambda: FinalExporter("a/b"), r"that of a folder, and no number\. Received: 'a/b'"),
        (lambda: FinalExporter("1"), r"no number\. Received: '1'"),
        (lambda: check_names((FinalExporter("x"), LatestExporter("x"))), r"Two exporters are named 'x'"),
        (
            lambda: BestExporter(metric="acu")(Evaluated(1, {"auc": 0.5}, "auc"), Path("nowhere"), Versions()),
            r"cannot compare by 'acu'\. Did you mean 'auc'\? Metrics of this task: auc\.",
        ),
    ],
)
def test_mistakes_are_named(make: object, message: str) -> None:
    with pytest.raises(ColonnadeError, match=message):
        make()
