"""Reads the first rows of files of any format that a spec can name, as columns of text."""

from __future__ import annotations

import bz2
import glob
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

from feature_specs.errors import ColonnadeError
from feature_specs.inference import binary, delimited
from feature_specs.sources import JsonLinesTable, ParquetTable, Table, TFRecordTable, is_hidden

SAMPLE_ROWS = 100_000
_SAMPLE_BYTES = 16 << 20
_OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_SUFFIXES = {".parquet": "parquet", ".pq": "parquet", ".jsonl": "json_lines", ".ndjson": "json_lines", ".tfrecord": "tfrecord"}
_SUFFIXES |= {".tfrecords": "tfrecord", ".csv": "text", ".tsv": "text"}


@dataclass
class Sample:
    """The rows that were read.

    Attributes:
        table: How the spec describes the files.
        columns: Values by column: a text ("" where missing), a list of texts, or a mapping, which no feature can read.
        rows: How many rows were read.
        complete: Whether these are all rows.
        skipped: Rows that could not be read.
        total: All rows, estimated from the share of the bytes that was read; None where that is not known.
        remarks: What a person should know about the reading.
    """

    table: Table
    columns: dict[str, list[Any]]
    rows: int
    complete: bool
    skipped: int = 0
    total: int | None = None
    remarks: list[str] = field(default_factory=list)


def find_files(inputs: Sequence[str]) -> list[Path]:
    """Returns the files that the paths, folders and globs name, each once, sorted.

    Raises:
        ColonnadeError: One of them names nothing.
    """
    found: set[Path] = set()
    for given in inputs:
        path = Path(given)
        several = path.iterdir() if path.is_dir() else (Path(name) for name in glob.glob(given))
        matched = [path] if path.is_file() else [file for file in several if file.is_file() and not is_hidden(file.name)]
        if not matched:
            raise ColonnadeError(f"No file matches {given!r}. Check the path; quote a glob so that the shell leaves it alone.")
        found.update(matched)
    return sorted(found)


def read_sample(files: Sequence[Path], rows: int | None, options: delimited.TextOptions) -> Sample:
    """Reads up to `rows` rows of all files together, the same number of each.

    Args:
        files: Of one format and with the same columns.
        rows: 0 for all; None for the default, which also bounds the bytes.
        options: What is known of text files.

    Raises:
        ColonnadeError: A file cannot be read, or they have no rows.
    """
    # 0 is no limit. Each file gives its share, so that a label that is sorted by file is seen whole.
    each = -(-(SAMPLE_ROWS if rows is None else rows) // len(files))
    limit = _SAMPLE_BYTES // len(files) if rows is None else 0
    samples = [_read(path, each, limit, options) for path in files]
    first = samples[0]
    for path, sample in zip(files[1:], samples[1:], strict=True):
        if sample.table.format != first.table.format:
            formats = f"{files[0].name!r} is {first.table.format}, {path.name!r} is {sample.table.format}"
            raise ColonnadeError(f"{formats}. Give the files of one table.")
        if set(sample.columns) != set(first.columns) and first.table.format != "json_lines":
            odd = sorted(set(sample.columns) ^ set(first.columns))
            both = f"{files[0].name!r} and {path.name!r}"
            raise ColonnadeError(f"{both} have different columns: {', '.join(odd)}. Give the files of one table.")
    names = dict.fromkeys(name for sample in samples for name in sample.columns)
    columns = {name: list(chain.from_iterable(s.columns.get(name, [""] * s.rows) for s in samples)) for name in names}
    count = sum(sample.rows for sample in samples)
    if count == 0:
        raise ColonnadeError(f"{', '.join(path.name for path in files)}: there is no row to learn from. Give a file with rows.")
    totals = [sample.rows if sample.complete else sample.total for sample in samples]
    return Sample(
        first.table,
        columns,
        count,
        all(sample.complete for sample in samples),
        sum(sample.skipped for sample in samples),
        None if None in totals else sum(cast(list[int], totals)),
        list(dict.fromkeys(remark for sample in samples for remark in sample.remarks)),
    )


def _read(path: Path, rows: int, limit: int, options: delimited.TextOptions) -> Sample:
    size = path.stat().st_size
    if size == 0:
        raise ColonnadeError(f"{path.name!r} is empty (0 bytes). Give a file with rows.")
    kind = _format(path)
    if kind != "text" and (flag := "delimiter" if options.delimiter else "columns" if options.columns else ""):
        raise ColonnadeError(f"--{flag} is for delimited text; {path.name!r} is {kind}, which says so itself. Leave --{flag} out.")
    if kind == "parquet":
        columns, count, total = binary.read_parquet(path, rows)
        return Sample(ParquetTable(), columns, count, count == total, total=total)
    with _opened(path) as stream:
        if kind == "tfrecord":
            columns, count, complete = binary.read_tfrecords(stream, rows)
            return Sample(TFRecordTable(), columns, count, complete)
        data = stream.read(limit + 1 if limit else -1)
    whole = not limit or len(data) <= limit
    if not whole:
        data = data[: data.rfind(b"\n", 0, limit) + 1] or data
    if kind == "json_lines":
        columns, count, skipped, used = _json_lines(path, data, rows)
        sample = Sample(JsonLinesTable(), columns, count, whole and used == len(data), skipped)
    else:
        text = delimited.read(path.name, data, rows, options)
        sample = Sample(text.table, text.columns, text.rows, whole and text.used == len(data), text.skipped, remarks=text.remarks)
        used = text.used
    if not sample.complete and path.suffix not in _OPENERS and used:
        sample.total = round(sample.rows * size / used)
    return sample


def _format(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix not in _OPENERS]
    with _opened(path) as stream:
        head = stream.read(4096)
    if head[:4] == b"PAR1":
        return "parquet"
    if head[:2] == b"PK":
        raise ColonnadeError(f"{path.name!r} is a zip archive. Unpack it, and give the file inside.")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ColonnadeError(f"{path.name!r} is UTF-16. Convert it: iconv -f UTF-16 -t UTF-8 {path.name} > utf8-{path.name}")
    if suffixes and suffixes[-1] in _SUFFIXES:
        return _SUFFIXES[suffixes[-1]]
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"[" and suffixes[-1:] == [".json"]:
        raise ColonnadeError(f"{path.name!r} is one JSON list. Write one object a line: jq -c '.[]' {path.name} > {path.stem}.jsonl")
    return "json_lines" if start == b"{" else "text"


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with cast(BinaryIO, _OPENERS.get(path.suffix, open)(path, "rb")) as stream:
            yield stream
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ColonnadeError(f"Cannot read {str(path)!r}: {error}. Fetch or write the file again.") from error


def _json_lines(path: Path, data: bytes, rows: int) -> tuple[dict[str, list[Any]], int, int, int]:
    """Returns columns, rows, rows skipped and bytes used."""
    columns: dict[str, list[Any]] = {}
    count = skipped = used = 0
    for line in io.BytesIO(data):
        if rows and count >= rows:
            break
        used += len(line)
        if not line.strip():
            continue
        try:
            values = json.loads(line.decode("utf-8-sig", errors="replace"))
        except ValueError:
            values = None
        if not isinstance(values, dict):
            skipped += 1
            continue
        for name, value in values.items():
            column = columns.setdefault(name, [])
            column.extend([""] * (count - len(column)))
            column.append(_text(value))
        count += 1
    if not count and skipped:
        raise ColonnadeError(f"{path.name!r} has no line that is a JSON object. Write one object a line.")
    for column in columns.values():
        column.extend([""] * (count - len(column)))
    return columns, count, skipped, used


def _text(value: Any) -> Any:  # noqa: ANN401 (whatever JSON holds)
    """Returns a JSON value as the text that the job makes of it; lists and mappings stay what they are."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, list):
        return [_text(element) for element in value]
    return value if isinstance(value, str | dict) else repr(value)
