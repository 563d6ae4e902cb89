"""Where raw rows come from: files, the tables joined to them, and how to fetch them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from feature_specs.features import Frozen


class TextTable(Frozen):
    """A delimited text file, UTF-8, one row a line.

    Attributes:
        files: Base name or glob of the files; `--input` values are matched against it. All inputs where not given.
        delimiter: One character.
        header: Whether the first line of each file names the columns.
        columns: Names of the columns, in order; needed without a header, and replaces the names of a header.
        quoting: Whether double quotes protect delimiters and line ends.
    """

    files: str | None = None
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    header: bool = True
    columns: tuple[str, ...] | None = None
    quoting: bool = True


class Join(Frozen):
    """Columns of a side table (users, items), looked up by key; the side table is held in memory.

    Attributes:
        table: The side table.
        key: Column that both sides have; unique in the side table.
    """

    table: TextTable
    key: str


class PypiWheel(Frozen):
    """Files inside a pinned wheel of the Python package index, fetched once.

    Attributes:
        package: Name of the distribution.
        version: Exact version.
        sha256: Checksum of the wheel.
        members: Paths inside the wheel; nothing else is unpacked.
    """

    type: Literal["pypi_wheel"] = "pypi_wheel"
    package: str
    version: str
    sha256: str
    members: tuple[str, ...]


class Source(Frozen):
    """The raw rows of a data set.

    Attributes:
        rows: The table that gives one example a row.
        joins: Side tables, applied in order.
        fetch: How to get the files where `--input` is not given.
        homepage: Where the data set is described.
        licence: Under which terms.
    """

    rows: TextTable = TextTable()
    joins: tuple[Join, ...] = ()
    fetch: PypiWheel | None = None
    homepage: str = ""
    licence: str = ""
