"""TFRecord files of tf.Example: cut between records; every value is a list, as in the tf.Example itself.

A record is its length (8 bytes), the checksum of that (4), its data, and the checksum of these (4). A record whose data are damaged is set
aside; behind a damaged length nothing can be found any more, so that file is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import google_crc32c
import pyarrow as pa

from feature_specs import ColonnadeError, TFRecordTable
from feature_specs.command import load_tensorflow
from preprocessing.sources import text
from preprocessing.sources.ranges import ParsedRange, Range
from preprocessing.sources.streams import InputFile, is_packed, opened
from preprocessing.sources.values import as_json, as_text, text_form

_HEADER, _FOOTER = struct.Struct("<QI"), struct.Struct("<I")
# Keys that no record before has are not seen.
_SAMPLE_RECORDS = 4096
_SUM = "the checksum of the record does not match"


def plan(table: TFRecordTable, file: InputFile) -> list[Range]:
    """Cuts a file into ranges of about `text.RANGE_BYTES`; its columns are the keys of its first records."""
    stored = file.stored or file.path
    whole = Range(file.path, stored, 0, 0, None, 0, (), table)
    with opened(stored) as stream:
        sample = [record for record, _ in zip(_records(stream.read, file.path), range(_SAMPLE_RECORDS), strict=False)]
    columns = _keys([record for record in sample if record is not None])
    if not columns:
        raise ColonnadeError(f"Input {file.path!r} holds no tf.Example with a feature in its first {len(sample)} records.")
    whole = replace(whole, columns=columns, depths=(1,) * len(columns))
    if file.stored is None and is_packed(file.path):
        return [whole]
    bounds = [(0, 0), *_cuts(file), (file.size, 0)]
    return [
        replace(whole, begin=begin, end=end, size=end - begin, rows_before=before)
        for (begin, before), (end, _) in zip(bounds, bounds[1:], strict=False)
    ]


def _cuts(file: InputFile) -> list[tuple[int, int]]:
    """Returns at which bytes the file is cut, and how many records are before each."""
    cuts: list[tuple[int, int]] = []
    if file.size <= text.RANGE_BYTES:
        return cuts
    with opened(file.stored or file.path) as stream:
        position = 0
        for number in range(file.size):
            if position >= (cuts[-1][0] if cuts else 0) + text.RANGE_BYTES and position < file.size:
                cuts.append((position, number))
            length = _length(stream.read(_HEADER.size), file.path, number, position)
            if length is None:
                break
            position += _HEADER.size + length + _FOOTER.size
            stream.seek(position)
    return cuts


def _length(header: bytes, path: str, number: int, position: int) -> int | None:
    """Returns the length of a record's data; None at the end of the file."""
    if not header:
        return None
    if len(header) < _HEADER.size:
        raise _broken(path, number, position, "it ends in the middle of a record")
    length, checksum = _HEADER.unpack(header)
    if _masked(header[:8]) != checksum:
        raise _broken(path, number, position, "the checksum of a record's length does not match")
    return length


def _masked(data: bytes) -> int:
    checksum = google_crc32c.value(data)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _broken(path: str, number: int, position: int, reason: str) -> ColonnadeError:
    return ColonnadeError(
        f"Cannot read {path!r} as TFRecord: {reason} (record {number + 1}, at byte {position:,}). Nothing behind it can be found. Write or "
        "fetch the file again."
    )


def _records(take: Any, path: str, before: int = 0, begin: int = 0) -> Iterator[bytes | None]:  # noqa: ANN401 (reads n bytes)
    """Yields the data of each record; None where their checksum does not match."""
    number, position = before, begin
    while (length := _length(take(_HEADER.size), path, number, position)) is not None:
        data, footer = take(length), take(_FOOTER.size)
        if len(data) < length or len(footer) < _FOOTER.size:
            raise _broken(path, number, position, "it ends in the middle of a record")
        yield data if _masked(data) == _FOOTER.unpack(footer)[0] else None
        number, position = number + 1, position + _HEADER.size + length + _FOOTER.size


def read(source: Range, wanted: Sequence[str]) -> ParsedRange:
    """Parses the features `wanted` of a range."""
    view, position = memoryview(text.read_bytes(source)), 0

    def take(length: int) -> bytes:
        nonlocal position
        position += length
        return bytes(view[position - length : position])

    records = list(_records(take, source.path, source.rows_before, source.begin))
    ragged = {number: _SUM for number, record in enumerate(records) if record is None}
    table = _decoded([record for record in records if record is not None], wanted)
    if table is None:
        table, ragged = _one_by_one(records, wanted)

    def places(numbers: Sequence[int]) -> Iterator[tuple[int, str]]:
        for number in numbers:
            example = _columns_of(records[number])
            shown = "" if example is None else as_json({name: as_text(example.get(name)) for name in wanted}).decode(errors="replace")
            yield source.rows_before + number + 1, shown

    return ParsedRange(source, table, ragged, places)


def _keys(records: list[bytes]) -> tuple[str, ...]:
    """Returns the features that have a value in some record."""
    batch = _batch(records)
    if batch is not None:
        return tuple(sorted(field.name for field in batch.schema if not pa.types.is_null(field.type)))
    return tuple(sorted({name for record in records for name in _columns_of(record) or ()}))


def _batch(records: list[bytes]) -> pa.RecordBatch | None:
    """Decodes all records at once; None where one is broken or a feature is of several types."""
    load_tensorflow()
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    try:
        return ExamplesToRecordBatchDecoder().DecodeBatch(records) if records else None
    except RuntimeError:
        return None


def _decoded(records: list[bytes], wanted: Sequence[str]) -> pa.Table | None:
    batch = _batch(records)
    if batch is None:
        return None
    missing = pa.nulls(len(records), pa.list_(pa.binary()))
    columns = {name: text_form(batch.column(batch.schema.get_field_index(name))) for name in wanted if name in batch.schema.names}
    return pa.table({name: _as_lists(columns[name]) if name in columns else missing for name in wanted})


def _as_lists(column: pa.Array) -> pa.Array:
    # A feature without a value in any record has no type.
    return column if pa.types.is_list(column.type) else pa.nulls(len(column), pa.list_(pa.binary()))


def _one_by_one(records: Sequence[bytes | None], wanted: Sequence[str]) -> tuple[pa.Table, dict[int, str]]:
    cells: list[list[Any]] = [[] for _ in wanted]
    ragged: dict[int, str] = {}
    for number, record in enumerate(records):
        example = _columns_of(record)
        if example is None:
            ragged[number] = _SUM if record is None else "the record is no tf.Example"
            continue
        for column, name in zip(cells, wanted, strict=True):
            column.append(as_text(example.get(name)))
    table = pa.table({name: pa.array(column, pa.list_(pa.binary())) for name, column in zip(wanted, cells, strict=True)})
    return table, ragged


def _columns_of(record: bytes | None) -> dict[str, list] | None:
    """Returns the values of a tf.Example by feature, those without a value left out; None if it is none."""
    load_tensorflow()
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorflow.core.example.example_pb2 import Example

    if record is None:
        return None
    try:
        features = Example.FromString(record).features.feature
    except DecodeError:
        return None
    kinds = {name: feature.WhichOneof("kind") for name, feature in features.items()}
    columns: dict[str, list] = {name: list(getattr(features[name], kind).value) for name, kind in kinds.items() if kind}
    # As float32 they are shorter.
    floats = {name: text_form(pa.array(columns[name], pa.float32())).to_pylist() for name, kind in kinds.items() if kind == "float_list"}
    return {**columns, **floats}
