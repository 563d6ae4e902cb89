"""Scored rows as CSV, TSV, JSON lines or Parquet; the file appears under its name only when it is complete."""

from __future__ import annotations

import abc
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_specs.errors import ColonnadeError
from serving.mixed import is_mixed, to_texts, whole

_FIRST_PRINTABLE = 0x20


class Writer(abc.ABC):
    """Takes tables of the same columns, one after the other."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    @abc.abstractmethod
    def write(self, table: pa.Table) -> None:
        """Appends the rows of `table`."""

    def close(self) -> None:
        """Completes the file."""
        return


class ParquetWriter(Writer):
    """Parquet with the types of the first table; later tables are cast to them."""

    _writer: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> None:
        """Appends the rows of `table`."""
        columns = {name: _readable(table[name]) for name in table.column_names}
        if self._writer is None:
            # A column without any value yet may hold anything later: strings can.
            fields = [(name, pa.string() if pa.types.is_null(column.type) else column.type) for name, column in columns.items()]
            self._writer = pq.ParquetWriter(self.file, pa.schema(fields))
        schema = self._writer.schema
        if missing := [name for name in columns if name not in schema.names]:
            raise ColonnadeError(f"Column {missing[0]!r} is not in the first rows of the input, so Parquet has no place for it. {_ADVICE}")
        arrays = [_cast(name, columns.get(name), schema.field(name).type, table.num_rows) for name in schema.names]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=schema))

    def close(self) -> None:
        """Writes the footer."""
        if self._writer is not None:
            self._writer.close()


_ADVICE = "Write to a .jsonl file instead."


def _cast(name: str, column: pa.ChunkedArray | None, kind: pa.DataType, rows: int) -> pa.ChunkedArray:
    if column is None:
        return pa.chunked_array([pa.nulls(rows, kind)])
    try:
        return column.cast(kind)
    except pa.ArrowException as error:
        raise ColonnadeError(f"Column {name!r} is {kind} in the first rows of the input and {column.type} later. {_ADVICE}") from error


def _readable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns text as strings and not as bytes; bytes that are no UTF-8 are replaced by U+FFFD."""
    if is_mixed(column):
        return pa.chunked_array([to_texts(whole(column))])
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        return column
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        decoded = [None if value is None else value.decode(errors="replace") for value in column.to_pylist()]
        return pa.chunked_array([pa.array(decoded, pa.string())])


class TextWriter(Writer):
    """Lines made of the texts of all columns; the columns are turned to text one by one, not the rows."""

    def _write_lines(self, parts: list[pa.Array | str]) -> None:
        arrays = [pa.scalar(part.encode(), pa.binary()) if isinstance(part, str) else part for part in parts]
        self.file.write(_joined_bytes(pc.binary_join_element_wise(*arrays, b"")))


class CsvWriter(TextWriter):
    """CSV with a header, quotes only where they are needed; lists are JSON texts, other bytes stay as they are."""

    delimiter = ","
    _names: list[str] | None = None

    def write(self, table: pa.Table) -> None:
        """Appends the rows of `table`."""
        if self._names is None:
            self._names = table.column_names
            header = self._quoted(pa.array([name.encode() for name in self._names], pa.binary()))
            self.file.write(self.delimiter.encode().join(header.to_pylist()) + b"\n")
        if unknown := [name for name in table.column_names if name not in self._names]:
            raise ColonnadeError(f"Column {unknown[0]!r} is not in the first rows of the input, so it is not in the header. {_ADVICE}")
        delimiter = self.delimiter.encode()
        empty = pa.scalar(b"")
        cells = [self._quoted(_texts(whole(table[name]))) if name in table.column_names else empty for name in self._names]
        self._write_lines([pc.binary_join_element_wise(*cells, delimiter), "\n"])

    def _quoted(self, texts: pa.Array) -> pa.Array:
        data = bytes(_joined_bytes(texts))
        if not any(mark in data for mark in (b'"', b"\r", b"\n", self.delimiter.encode())):
            return texts
        special = pc.match_substring_regex(texts, f'["\r\n{self.delimiter}]')
        quote = pa.scalar(b'"')
        return pc.if_else(special, pc.binary_join_element_wise(quote, pc.replace_substring(texts, '"', '""'), quote, b""), texts)


class TsvWriter(CsvWriter):
    """The same with tabs."""

    delimiter = "\t"


class JsonLinesWriter(TextWriter):
    """One JSON object a line."""

    def write(self, table: pa.Table) -> None:
        """Appends the rows of `table`."""
        parts: list[pa.Array | str] = ["{"]
        for name in table.column_names:
            parts += [json.dumps(name, ensure_ascii=False) + ": ", _json(whole(table[name])), ", "]
        self._write_lines([*parts[:-1], "}\n"])


class _Flushing(JsonLinesWriter):
    """The same, for whoever waits at the other end of a pipe."""

    def write(self, table: pa.Table) -> None:
        """Appends the rows of `table`."""
        super().write(table)
        self.file.flush()


def _joined_bytes(texts: pa.Array) -> memoryview:
    """Returns the bytes of all strings, one after the other, as they lie in memory."""
    if not len(texts):
        return memoryview(b"")
    _, offsets, data = texts.buffers()
    begin, end = np.frombuffer(offsets, np.int32)[[texts.offset, texts.offset + len(texts)]].tolist()
    return memoryview(data)[begin:end] if data is not None else memoryview(b"")


def _has_escapes(data: bytes) -> bool:
    """Whether JSON writes some of these bytes otherwise than they are."""
    return b'"' in data or b"\\" in data or bool(len(data) and np.frombuffer(data, np.uint8).min() < _FIRST_PRINTABLE)


def _texts(column: pa.Array) -> pa.Array:
    """Returns what a CSV cell shows, as bytes; nothing for null and NaN."""
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if is_mixed(column):
        column = to_texts(column)
    if pa.types.is_nested(column.type):
        column = _dumped(_short(column).to_pylist())
    if not pa.types.is_binary(column.type):
        column = column.cast(pa.string()).cast(pa.binary())
    return column.fill_null(b"")


def _json(column: pa.Array) -> pa.Array:
    """Returns every value as JSON, as bytes; equal texts are encoded once."""
    kind = column.type
    if is_mixed(column):
        return column.storage.cast(pa.binary()).fill_null(b"null")
    if pa.types.is_floating(kind):
        finite = pc.if_else(pc.is_finite(column), column, pa.scalar(None, kind))
        return finite.cast(pa.string()).cast(pa.binary()).fill_null(b"null")
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return column.cast(pa.string()).cast(pa.binary()).fill_null(b"null")
    if pa.types.is_list(kind) and not pa.types.is_nested(kind.value_type):
        inside = pc.binary_join(_relisted(column, _json(pc.list_flatten(column))), b", ")
        return pc.binary_join_element_wise(b"[", inside, b"]", b"").fill_null(b"null")
    if pa.types.is_nested(kind):
        return _dumped(_short(column).to_pylist()).fill_null(b"null")
    texts = whole(_readable(pa.chunked_array([column])))
    if pa.types.is_string(texts.type) and not _has_escapes(bytes(_joined_bytes(texts))):
        quote = pa.scalar(b'"')
        return pc.binary_join_element_wise(quote, texts.cast(pa.binary()), quote, b"").fill_null(b"null")
    encoded = texts.dictionary_encode()
    return _dumped(encoded.dictionary.to_pylist()).take(encoded.indices).fill_null(b"null")


def _short(column: pa.Array) -> pa.Array:
    """Returns lists of float32 as doubles with the same shortest texts: 0.1, and not 0.10000000149011612."""
    if not pa.types.is_list(column.type) or column.type.value_type != pa.float32():
        return column
    return _relisted(column, pc.list_flatten(column).cast(pa.string()).cast(pa.float64()))


def _relisted(column: pa.Array, flat: pa.Array) -> pa.Array:
    """Returns lists of the same lengths with other values."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, flat, mask=column.is_null())


def _dumped(values: list[object]) -> pa.Array:
    texts = [None if value is None else json.dumps(value, ensure_ascii=False, default=_plain).encode() for value in values]
    return pa.array(texts, pa.binary())


def _plain(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


_WRITERS: dict[str, Callable[[BinaryIO], Writer]] = {
    ".csv": CsvWriter,
    ".tsv": TsvWriter,
    ".jsonl": JsonLinesWriter,
    ".ndjson": JsonLinesWriter,
    ".parquet": ParquetWriter,
}


def check_output(path: Path) -> None:
    """Raises ColonnadeError where `path` tells no format, or its folder does not exist; "-" is standard output."""
    if path == Path("-"):
        return
    if path.suffix not in _WRITERS:
        raise ColonnadeError(
            f"Output {str(path)!r} is of no known format. Received the suffix {path.suffix!r}; expected one of {', '.join(_WRITERS)}."
        )
    if not path.parent.is_dir():
        raise ColonnadeError(f"The folder {str(path.parent)!r} of the output does not exist. Make it first.")


@contextlib.contextmanager
def open_writer(path: Path) -> Iterator[Writer]:
    """Gives a writer for the format of `path`, told by its suffix; the file is renamed into place when the block ends without an error.

    The path "-" is standard output, as JSON lines; there each row shows as soon as it is written.

    Raises:
        ColonnadeError: The format is not known, the folder does not exist, or the machine does not take the file, or others beside it.
    """
    check_output(path)
    if path == Path("-"):
        yield _Flushing(sys.stdout.buffer)
        return
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with os.fdopen(handle, "wb") as file:
            writer = _WRITERS[path.suffix](file)
            try:
                yield writer
            finally:
                writer.close()
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        if temporary:
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise ColonnadeError(f"Output {str(path)!r} cannot be written: {error}. Make room, or give another path.") from error
        raise


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
