"""The table that tests of `infer` share."""

from __future__ import annotations

from pathlib import Path

import pytest
from infer_table import COLUMNS, write


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file whose name has a space in it."""
    return write(tmp_path_factory.mktemp("infer") / "my data.csv", COLUMNS)
