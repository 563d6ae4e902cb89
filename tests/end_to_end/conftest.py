"""One run of the main job on the tiny data set, shared by the tests that look at what it leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from feature_specs import FeatureSpec
from trainer.task import main

SETTINGS = ("checkpoint_steps=7", "steps_per_call=5", "patience=9", "embedding_dim=6", "hidden_units=8", "dropout=0.5")


class Run(NamedTuple):
    path: Path
    flags: list[str]
    console: str


def run_flags(spec: Path, data_dir: Path, run_dir: Path, *settings: str) -> list[str]:
    """Returns flags of three epochs of 17 steps on 272 rows."""
    flags = f"--model nfm --spec {spec} --data_dir {data_dir} --run_dir {run_dir} --epochs 3 --batch_size 16 --seed 5 --hparams"
    return [*flags.split(), *SETTINGS, *settings]


@pytest.fixture(scope="session")
def tiny_spec_file(tiny_spec: FeatureSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spec") / "tiny.yaml"
    path.write_text(tiny_spec.to_yaml(), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def finished_run(tiny_spec_file: Path, tiny_data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The main job, run once in this process, from start to end. Treat it as read-only."""
    path = tmp_path_factory.mktemp("finished") / "run"
    flags = run_flags(tiny_spec_file, tiny_data_dir, path)
    with pytest.MonkeyPatch.context() as patch:
        printed: list[str] = []
        write: Callable[..., None] = lambda *args, **_: printed.append(" ".join(map(str, args)))  # noqa: E731
        patch.setattr("builtins.print", write)
        assert main(flags) == 0
    return Run(path, flags, "\n".join(printed))
