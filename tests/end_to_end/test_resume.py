"""A run that is killed, at several points, ends with the numbers of one that is not, bit for bit."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from feature_specs import FeatureSpec

# Runs trainer.task, and kills its own process with SIGKILL when a function is called for the n-th time.
KILLED = """
import importlib, os, signal, sys
from feature_specs.command import load_tensorflow, run_command
module, name, calls, *arguments = sys.argv[1:]
if module != "-":
    load_tensorflow()
    *owner, function = name.split(".")
    place = importlib.import_module(module)
    for part in owner:
        place = getattr(place, part)
    original, left = getattr(place, function), int(calls)
    def killing(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)
    setattr(place, function, killing)
from trainer.task import main
run_command(lambda: main(arguments))
"""
NOWHERE = ("-", "-", "0")
# Each start goes on where the last one was killed: step 0 to 7 is lost by the first, and so on.
POINTS = [
    ("trainer.loop", "Loop.train", "7"),  # inside the first epoch, after a checkpoint
    ("trainer.run", "RunDirectory.write_epochs", "1"),  # at the end of the first epoch, before its line is written
    ("trainer.loop", "Loop.save_weights", "1"),  # while the best weights are kept
    ("trainer.loop", "Loop.save", "3"),  # inside a later epoch, before a checkpoint
    ("trainer.progress", "plot_curves", "1"),  # the line is written, the checkpoint is not
    ("trainer.finish", "compare_sample", "1"),  # trained, tested and exported, not finished
]


def _start(run_dir: Path, spec: Path, data_dir: Path, optimizer: str, point: tuple[str, str, str]) -> subprocess.CompletedProcess[str]:
    flags = f"--model nfm --spec {spec} --data_dir {data_dir} --run_dir {run_dir} --epochs 4 --batch_size 16 --seed 5 --hparams"
    settings = f"embedding_optimizer={optimizer} checkpoint_steps=5 steps_per_call=2 patience=9 embedding_dim=6 hidden_units=8 dropout=0.5"
    command = [sys.executable, "-c", KILLED, *point, *flags.split(), *settings.split()]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def _metrics(run_dir: Path) -> tuple[object, ...]:
    result = json.loads((run_dir / "result.json").read_text())
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    epochs = [(line["epoch"], line["step"], line["loss"], line["train"], line["valid"]) for line in lines]
    return result["metrics"], result["parts"], result["steps"], result["best_epoch"], epochs


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("optimizer", "points"), [("lazy_adam", POINTS), ("adagrad", POINTS[:1])])
def test_killed_and_resumed_is_not_killed(
    tiny_spec: FeatureSpec, tiny_data_dir: Path, tmp_path: Path, optimizer: str, points: list[tuple[str, str, str]]
) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(tiny_spec.to_yaml(), encoding="utf-8")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with ThreadPoolExecutor(1) as beside:
        reference = beside.submit(_start, whole, spec, tiny_data_dir, optimizer, NOWHERE)
        steps = [0]
        for number, point in enumerate([*points, NOWHERE]):
            done = _start(killed, spec, tiny_data_dir, optimizer, point)
            if point is not NOWHERE:
                assert done.returncode == -9, f"{point}: {done.stderr}"
                assert not (killed / "_SUCCESS").exists()
            if number:
                resumed = re.search(r"Resuming .* from step (\d+) ", done.stdout)
                assert resumed is not None, done.stdout
                steps.append(int(resumed.group(1)))
        assert done.returncode == 0, done.stderr
        assert reference.result().returncode == 0, reference.result().stderr
    assert all(step > 0 for step in steps[1:])
    assert steps == sorted(steps)
    assert len(set(steps)) > len(steps) // 2, "most starts went on from further ahead"
    assert _metrics(killed) == _metrics(whole)
    assert (killed / "_SUCCESS").exists()
