"""The rows that tests of histories, splits and negatives share."""

from __future__ import annotations

from pathlib import Path

import pytest
from shop import kept_rows, write_shop


@pytest.fixture(scope="session")
def shop_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the raw files. Treat it as read-only."""
    return write_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def shop_rows(shop_files: Path) -> list[dict[str, str]]:
    """The rows that have a label."""
    return kept_rows(shop_files)
