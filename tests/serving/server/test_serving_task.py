"""The command: mistakes at once, what it prints, and how it ends."""

from __future__ import annotations

import json
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from feature_specs.errors import ColonnadeError
from serving.task import main

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--model_name", "a:b"], "--model_name should be a name without '/' and ':'"),
        (["--rest_port", "7", "--grpc_port", "7"], "should differ"),
        (["--rest_port", "65536"], "from 0 to 65535"),
        (["--version_labels", "stable=one"], "should be like stable=3. Received: 'stable=one'"),
        (["--host", "256.1.1.1"], "Cannot listen on 256.1.1.1"),
        (["--rest_port", "0", "--grpc_port", "0"], "has no version"),
    ],
)
def test_mistakes(tmp_path: Path, flags: list[str], said: str) -> None:
    with pytest.raises(ColonnadeError, match=said):
        main(["--export_dir", str(tmp_path), *flags])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--export_dirs", "x"], "Did you mean '--export_dir'?"),
        ([], "--export_dir"),
        (["--export_dir", "x", "--max_queue", "0"], "--max_queue should be above 0"),
        (["--export_dir", "x", "--deadline_seconds", "nan"], "--deadline_seconds should be above 0"),
    ],
)
def test_wrong_flags(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(flags)
    assert said in capsys.readouterr().err


def test_a_run_s_own_folder_is_nearly_right(tmp_path: Path) -> None:
    (tmp_path / "export" / "1").mkdir(parents=True)
    with pytest.raises(ColonnadeError, match=f"Did you mean '{tmp_path}/export'"):
        main(["--export_dir", str(tmp_path), "--rest_port", "0", "--grpc_port", "0"])


def test_a_port_in_use_is_noticed_before_tensorflow_is_loaded(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = (
            "import sys\nfrom serving.task import main\n"
            "try:\n    main(sys.argv[1:])\n"
            "except Exception as error:\n    print(error)\n"
            "print([name for name in ('tensorflow', 'aiohttp', 'pandas') if name in sys.modules])"
        )
        command = [sys.executable, "-c", code, "--export_dir", str(tmp_path), "--rest_port", "0", "--grpc_port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    said, loaded = done.stdout.splitlines()
    assert said.startswith(f"Cannot listen on 127.0.0.1, port {port}")
    assert said.endswith("Choose another --grpc_port, or 0 for a free one.")
    assert loaded == "[]"


def test_it_says_that_it_is_stopped_before_it_serves(exported: Path) -> None:
    command = [sys.executable, "-m", "serving.task", "--export_dir", str(exported.parent), "--rest_port", "0", "--grpc_port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Loading TensorFlow")
        time.sleep(0.5)  # in the middle of it
        process.send_signal(signal.SIGTERM)
        said, log = process.communicate(timeout=60)
    assert (process.returncode, said, log) == (143, "Stopped before the model was loaded.\n", "")


def test_it_serves_until_it_is_told_to_stop(exported: Path) -> None:
    command = [sys.executable, "-m", "serving.task", "--export_dir", str(exported.parent), "--rest_port", "0", "--grpc_port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip())
            if line.startswith("Ctrl-C"):
                break
        else:
            raise AssertionError(process.stderr)
        assert lines[0] == f"Serving model 'default', version 8 of {exported.parent}"
        # The line to try works as it is printed.
        curl, flag, body, url = shlex.split(next(line for line in lines if line.startswith("Try:")).removeprefix("Try:"))
        assert (curl, flag) == ("curl", "-d")
        with urllib.request.urlopen(url, body.encode()) as answer:
            assert list(json.loads(answer.read())["outputs"]) == ["logits", "probabilities"]
        process.send_signal(signal.SIGTERM)
        rest, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert rest.startswith("Stopping")
    assert log.startswith("Loading TensorFlow")
    assert "Traceback" not in log
