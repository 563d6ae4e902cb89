"""Parquet files, and TFRecord files of tf.Example read without TensorFlow, which takes seconds to import."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from feature_specs.errors import ColonnadeError

Columns = dict[str, list[Any]]


def read_parquet(path: Path, rows: int) -> tuple[Columns, int, int]:
    """Returns up to `rows` rows (0: all) as columns of text, how many they are, and how many the file has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        total = int(file.metadata.num_rows)
        wanted = min(rows or total, total)
        batches, count = [], 0
        for batch in file.iter_batches(batch_size=min(65_536, max(wanted, 1))):
            batches.append(batch)
            count += batch.num_rows
            if count >= wanted:
                break
        table = pa.Table.from_batches(batches, schema=file.schema_arrow).slice(0, wanted)
    except (OSError, pa.ArrowException) as error:
        raise ColonnadeError(f"Cannot read {str(path)!r} as Parquet: {' '.join(str(error).split())}. Write the file again.") from error
    return {name: _texts(table[name].combine_chunks()) for name in table.column_names}, table.num_rows, total


def _texts(values: Any) -> list[Any]:  # noqa: ANN401 (an Arrow array)
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    if pa.types.is_dictionary(kind):
        return _texts(values.dictionary_decode())
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        values = pc.cast(pc.cast(values, pa.timestamp("s"), safe=False), pa.int64())
    elif pa.types.is_boolean(kind):
        values = pc.cast(values, pa.int8())
    return [_text(value) for value in values.to_pylist()]


def _text(value: Any) -> Any:  # noqa: ANN401 (whatever a column holds)
    if value is None:
        return ""
    if isinstance(value, list):
        return [_text(element) for element in value]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, bool):
        return str(int(value))
    return value if isinstance(value, str | dict) else str(value)


def read_tfrecords(stream: BinaryIO, rows: int) -> tuple[Columns, int, bool]:
    """Returns up to `rows` examples (0: all) as columns of text, how many they are, and whether these are all.

    Raises:
        ColonnadeError: A record is cut off, or holds no tf.Example.
    """
    columns: Columns = {}
    count = 0
    while head := stream.read(12):
        if rows and count >= rows:
            break
        length = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else 0
        record = stream.read(length + 4) if 0 < length < 1 << 30 else b""
        if len(record) < length + 4 or not length:
            raise ColonnadeError(f"Record {count + 1} is cut off: this is no sound TFRecord file. Write it again.")
        try:
            values = dict(_features(record[:length]))
        except (IndexError, ValueError, struct.error) as error:
            raise ColonnadeError(f"Record {count + 1} holds no tf.Example: {error}.") from error
        for name, value in values.items():
            column = columns.setdefault(name, [])
            column.extend([[]] * (count - len(column)))
            column.append(value)
        count += 1
    for name, column in columns.items():
        column.extend([[]] * (count - len(column)))
        if all(len(value) <= 1 for value in column):
            columns[name] = [value[0] if value else "" for value in column]
    return columns, count, not head


def _features(example: bytes) -> Iterator[tuple[str, list[str]]]:
    """Yields name and values of each feature of a serialized tf.Example."""
    for features in _parts(example, 1):
        for entry in _parts(features, 1):
            name = b"".join(_parts(entry, 1)).decode(errors="replace")
            values: list[str] = []
            for feature in _parts(entry, 2):
                for data in _parts(feature, 1):
                    values += [value.decode(errors="replace") for value in _parts(data, 1)]
                for data in _parts(feature, 2):
                    floats = b"".join(_parts(data, 1))
                    values += [f"{number:.9g}" for number in struct.unpack(f"<{len(floats) // 4}f", floats)]
                for data in _parts(feature, 3):
                    values += [str(number) for packed in _parts(data, 1) for number in _integers(packed)]
            yield name, values


def _parts(message: bytes, wanted: int) -> Iterator[bytes]:
    """Yields what field `wanted` of a protocol buffer message holds; a single number as the bytes of a packed list of one."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        start, kind = place, tag & 7
        if kind == 0:
            _, place = _varint(message, place)
        elif kind == 2:
            length, start = _varint(message, place)
            place = start + length
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
        else:
            raise ValueError("unknown wire type")
        if place > len(message):
            raise ValueError("a field reaches beyond its message")
        if tag >> 3 == wanted:
            yield message[start:place]


def _integers(packed: bytes) -> Iterator[int]:
    place = 0
    while place < len(packed):
        number, place = _varint(packed, place)
        yield number - (1 << 64) if number >= 1 << 63 else number


def _varint(data: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[place]
        number |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return number, place
