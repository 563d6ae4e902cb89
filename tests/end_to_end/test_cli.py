"""The main job's command line: what a finished run leaves, and one clear line for each mistake."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from matplotlib import image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from feature_specs.command import run_command
from tests.end_to_end.conftest import Run, run_flags
from trainer import compare, task

RESULT_KEYS = "model dataset task protocol parameters metrics parts skew examples_per_second seconds seed".split()
BINARY_METRICS = "auc gauc pr_auc log_loss normalized_entropy accuracy precision recall ece calibration_ratio".split()


def _error(main: Callable[[list[str]], int], arguments: list[str], capfd: pytest.CaptureFixture[str], status: int = 1) -> str:
    """Returns the one line that a program prints about a mistake."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as exit_info:
        run_command(lambda: main(arguments))
    out, err = capfd.readouterr()
    assert exit_info.value.code == status
    assert re.fullmatch(r"error: .*\n", err), err
    assert "Traceback" not in out
    return err.removeprefix("error: ").strip()


def _picture(path: Path) -> np.ndarray:
    assert path.read_bytes().startswith(b"\x89PNG")
    return image.imread(path)


def _is_drawn(pixels: np.ndarray) -> bool:
    """Whether each half of the picture shows more than text on white: lines in more than one colour."""
    height, width = pixels.shape[:2]
    colours = [half[half[..., :3].std(axis=2) > 0.15] for half in (pixels[:, : width // 2], pixels[:, width // 2 :])]
    return height > 300 and width > 800 and all(len(np.unique(half.round(1), axis=0)) >= 2 and len(half) > 200 for half in colours)


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        ("--modle nfm", 2, "unknown argument '--modle'. Did you mean '--model'? See --help."),
        ("--model nfm --epoch 3", 2, "unknown argument '--epoch'. Did you mean '--epochs'? See --help."),
        ("--model nfm --epochs three", 2, "argument --epochs: invalid int value: 'three'"),
        ("--model nfm --mixed_precision float8", 2, "argument --mixed_precision: invalid choice: 'float8'"),
        ("--epochs 3", 1, "--model is missing. Name one of --list_models"),
        ("--recipe none", 1, "--model is missing. Name one of --list_models"),
        ("--recipe frappe", 1, "Recipe 'frappe' has values for several models. Name one: --model, or --recipe frappe:ROW."),
        ("--model deepfn", 1, "Unknown model 'deepfn'. Did you mean 'deepfm'? Registered: "),
        ("--model nfm --dataset movielens_100", 1, "Did you mean 'movielens_100k'?"),
        ("--model nfm --recipe movielens", 1, "Unknown recipe 'movielens'. Did you mean 'movielens_1m'?"),
        ("--model nfm --dataset movielens_100k --spec a.yaml", 1, "--dataset and --spec were both given"),
        ("--model nfm --spec none_such.yaml", 1, "There is no spec file 'none_such.yaml'"),
        ("--model nfm --hparams dropout", 1, "--hparams takes key=value pairs. Received: 'dropout'"),
        ("--model nfm --hparams batch_size=many", 1, "Training setting 'batch_size': input should be a valid integer"),
        ("--model nfm --hparams batch_size=0", 1, "Training setting 'batch_size': input should be greater than 0. Received: '0'"),
        ("--model nfm --batch_size 0", 1, "Training setting 'batch_size': input should be greater than 0. Received: 0"),
        ("--model nfm --hparams optimizer=lion", 1, "Training setting 'optimizer': input should be 'adam', 'adagrad' or 'sgd'"),
        ("--model nfm --hparams optimizer=lion --hparams dropout=0.5", 1, "Training setting 'optimizer'"),  # the first counts too
        ("--model nfm --hparams embeding_dim=3", 1, "Unknown hyper-parameter 'embeding_dim'. Did you mean 'embedding_dim'?"),
        ("--model nfm --hparams dropout=high", 1, "Hyper-parameter 'dropout' should be of type float. Received: 'high'"),
        ("--model nfm --hparams dropout=1.5", 1, "dropout=1.5"),
        ("--model nfm --hparams dropout=1.5 --summary", 1, "dropout=1.5"),
        ("--model nfm --hparams embedding_dim=0", 1, "embedding_dim should be at least 1. Received: 0."),
        ("--model nfm --hparams embedding_dim=8", 1, "Received: 8 (user, age, "),
        ("--model nfm --hparams hidden_units=0", 1, "hidden_units=(0,)"),
        ("--model nfm --hparams activation=rule", 1, "activation=rule"),
        ("--model nfm --learning_rate nan", 1, "Training setting 'learning_rate'"),
        ("--model nfm --hparams threshold=1", 1, "Training setting 'threshold': input should be less than 1. Received: '1'"),
        ("--model nfm --warm_start runs/a", 1, "Model 'nfm' does not begin with the weights of other runs. Leave out"),
        ("--model nfm --hparams positive_weight=0", 1, "Training setting 'positive_weight': input should be greater than 0"),
    ],
)
def test_a_wrong_flag_is_one_clear_line(
    flags: str, status: int, message: str, tiny_spec_file: Path, tiny_data_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    places = ["--data_dir", str(tiny_data_dir), "--run_dir", str(tmp_path / "run"), "--hparams", "embedding_dim=6"]
    which = [] if "--spec" in flags or "--dataset" in flags else ["--spec", str(tiny_spec_file)]
    assert message in _error(task.main, [*which, *places, *flags.split()], capfd, status)
    assert list(tmp_path.iterdir()) == []


def test_a_spec_with_an_unknown_key_names_it(tiny_spec_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(tiny_spec_file.read_text().replace("name: city", "name: city\n  widht: 3"))
    message = _error(task.main, ["--model", "nfm", "--spec", str(spec)], capfd)
    assert "widht" in message
    assert "city" in message


def test_data_of_another_spec_is_refused_with_both_fingerprints(
    tiny_spec_file: Path, tiny_data_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(tiny_spec_file.read_text().replace("num_buckets: 7", "num_buckets: 8"))
    message = _error(task.main, run_flags(other, tiny_data_dir, tmp_path / "run"), capfd)
    built_for = json.loads((tiny_data_dir / "_SUCCESS").read_text())["fingerprint"]
    assert built_for[:12] in message
    assert len(re.findall(r"\b[0-9a-f]{12}\b", message)) == 2
    assert "python -m preprocessing.task" in message


@pytest.mark.parametrize("keep_size", [False, True], ids=["cut", "overwritten"])
def test_a_damaged_shard_is_named(
    keep_size: bool, tiny_spec_file: Path, tiny_data_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_data_dir, tmp_path / "data")
    shard = next((tmp_path / "data").glob("valid-*.parquet"))
    content = shard.read_bytes()
    shard.write_bytes(content[:-100] + (b"\0" * 100 if keep_size else b""))
    message = _error(task.main, run_flags(tiny_spec_file, tmp_path / "data", tmp_path / "run"), capfd)
    assert shard.name in message
    assert "Preprocess again" in message or "Rebuild it" in message


def test_missing_raw_files_are_named(tiny_spec_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flags = run_flags(tiny_spec_file, tmp_path / "data", tmp_path / "run")
    assert "none_such" in _error(task.main, [*flags, "--input", str(tmp_path / "none_such-*.csv")], capfd)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "data" / "_SUCCESS").exists()


def test_listing(capsys: pytest.CaptureFixture[str]) -> None:
    assert task.main(["--list_models"]) == 0
    assert re.search(r"^nfm +ranking +He and Chua, .*https://arxiv.org/abs/1708.05027", capsys.readouterr().out, re.MULTILINE)


def test_the_summary_adds_up(finished_run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    elsewhere = tmp_path / "run"
    assert task.main([*(str(elsewhere) if flag == str(finished_run.path) else flag for flag in finished_run.flags), "--summary"]) == 0
    *layers, total = [line.split() for line in capsys.readouterr().out.strip().splitlines()[1:]]
    parameters = [int(line[-1].replace(",", "")) for line in (*layers, total)]
    assert sum(parameters[:-1]) == parameters[-1] == json.loads((finished_run.path / "result.json").read_text())["parameters"]
    assert not elsewhere.exists()


def test_the_run_directory_holds_what_the_contract_says(finished_run: Run) -> None:
    run = finished_run.path
    files = "config.json spec.json versions.json transform_fn checkpoints events metrics.jsonl curves.png result.json export _SUCCESS"
    assert {path.name for path in run.iterdir()} == {*files.split(), "sample.parquet"}
    assert (run / "export" / "1" / "saved_model.pb").is_file()
    assert (run / "spec.json").read_text() == (run / "export" / "1" / "assets.extra" / "spec.json").read_text()
    assert json.loads((run / "versions.json").read_text()).keys() >= {"python", "tensorflow", "keras"}


def test_the_result_has_the_contract_s_keys(finished_run: Run) -> None:
    result = json.loads((finished_run.path / "result.json").read_text())
    assert set(result) == {*RESULT_KEYS, "threshold", "best_epoch", "epochs", "steps", "export"}
    assert result["metrics"].keys() == {"valid", "test"}
    for metrics in result["metrics"].values():
        assert set(metrics) == set(BINARY_METRICS)
    assert (result["model"], result["dataset"], result["task"], result["seed"]) == ("nfm", "tiny", "binary", 5)
    assert (result["epochs"], result["steps"]) == (3, 51)
    assert sum(result["parts"].values()) == pytest.approx(1)
    assert result["skew"].keys() == {"features", "score"}
    assert result["skew"]["features"] <= 1e-5
    assert result["skew"]["score"] <= 1e-5
    assert result["seconds"]["total"] > result["seconds"]["train"] > 0


def test_metrics_and_events_have_one_line_an_epoch(finished_run: Run) -> None:
    lines = [json.loads(line) for line in (finished_run.path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 17), (2, 34), (3, 51)]
    for split, metrics in (("valid", BINARY_METRICS), ("train", [name for name in BINARY_METRICS if name != "gauc"])):
        events = EventAccumulator(str(finished_run.path / "events" / split))
        events.Reload()
        for metric in metrics:
            logged = [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in events.Tensors(f"metrics/{metric}")]
            written = [(line["step"], np.nan if line[split][metric] is None else line[split][metric]) for line in lines]
            np.testing.assert_allclose(sorted(logged), written, rtol=1e-6, err_msg=f"{split} {metric}")
    best = max(lines, key=lambda line: line["valid"]["auc"])
    result = json.loads((finished_run.path / "result.json").read_text())
    assert result["best_epoch"] == best["epoch"]
    assert result["metrics"]["valid"] == best["valid"]


def test_the_curves_are_drawn(finished_run: Run) -> None:
    assert _is_drawn(_picture(finished_run.path / "curves.png"))


def test_the_console_ends_with_a_table_and_the_paths(finished_run: Run) -> None:
    result = json.loads((finished_run.path / "result.json").read_text())
    test = result["metrics"]["test"]
    assert re.search(rf"^  auc +\S+ +{test['auc']:.5f}$", finished_run.console, re.MULTILINE)
    assert finished_run.console.count(" valid auc ") == 3
    *_, run, export = finished_run.console.strip().splitlines()
    assert str(finished_run.path) in run
    assert Path(export.split()[-1]) == finished_run.path / "export" / "1"


def test_a_finished_run_says_so_and_changes_nothing(finished_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished_run.path.rglob("*")}
    assert task.main([*finished_run.flags, "--profile_steps", "1"]) == 0
    out = capsys.readouterr().out
    assert "is finished already" in out
    assert "--profile_steps: no step was left to profile." in out
    assert re.search(r"^  auc ", out, re.MULTILINE)
    assert {path: path.stat().st_mtime_ns for path in finished_run.path.rglob("*")} == before


def test_other_files_than_the_data_was_made_from_are_refused(
    finished_run: Run, tiny_files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    same = [str(path) for path in sorted(tiny_files.iterdir())]
    (tmp_path / "new.csv").write_text("user,item,rating,time,price,clicks\n")
    assert task.main([*finished_run.flags, "--input", *same]) == 0
    for flags in (finished_run.flags, [*finished_run.flags, "--run_dir", str(tmp_path / "run")]):  # a finished run; finished data
        message = _error(task.main, [*flags, "--input", str(tmp_path / "new.csv")], capfd)
        assert "was built from other files: " in message
        assert "received new.csv instead. Use another directory, or rebuild this one: rm -r" in message
    assert not (tmp_path / "run").exists()


def test_other_flags_on_a_run_name_what_differs(finished_run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    message = _error(task.main, [*finished_run.flags, "dropout=0.25", "--seed", "6"], capfd)
    assert "dropout: 0.5 != 0.25" in message
    assert "seed: 5 != 6" in message
    assert "epochs" not in message
    assert "--run_dir" in message


def test_a_folder_that_is_no_run_is_left_alone(
    tiny_spec_file: Path, tiny_data_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert "holds no run" in _error(task.main, run_flags(tiny_spec_file, tiny_data_dir, tmp_path), capfd)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_compare_prints_every_run_and_draws_them(finished_run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    shutil.copytree(finished_run.path, other, ignore=shutil.ignore_patterns("_SUCCESS", "result.json"))
    picture = tmp_path / "compare.png"
    assert compare.main([str(finished_run.path), str(other), "--output", str(picture)]) == 0
    out = capfd.readouterr().out
    auc = json.loads((finished_run.path / "result.json").read_text())["metrics"]["test"]["auc"]
    assert re.search(rf"^{finished_run.path.name} +nfm +test +3 +{auc:.5f} ", out, re.MULTILINE)
    assert re.search(r"^other +nfm +valid +3 ", out, re.MULTILINE)
    assert _is_drawn(_picture(picture))
    assert "no run directory" in _error(compare.main, [str(tmp_path / "none")], capfd)
    lines = [json.loads(line) for line in (other / "metrics.jsonl").read_text().splitlines()]
    unevaluated = "".join(json.dumps({name: value for name, value in line.items() if name != "valid"}) + "\n" for line in lines)
    (other / "metrics.jsonl").write_text(unevaluated)
    assert compare.main([str(other), str(finished_run.path), "--output", str(picture)]) == 0
    assert re.search(r"^other +nfm +valid +3( +-)+$", capfd.readouterr().out, re.MULTILINE)
    (other / "metrics.jsonl").unlink()
    assert "has finished an epoch" in _error(compare.main, [str(other), "--output", str(picture)], capfd)
