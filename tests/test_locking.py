"""One process at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from feature_specs import ColonnadeError
from feature_specs.locking import locked


def test_a_second_process_is_told_and_the_lock_ends_with_the_first(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from feature_specs.locking import locked\n"
        "with locked(Path(sys.argv[1]), 'busy'):\n    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ColonnadeError, match="come back later"), locked(tmp_path, "come back later"):
            pass
        holder.kill()
    with locked(tmp_path, "never"):
        assert list(tmp_path.iterdir()) == []
