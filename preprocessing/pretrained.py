"""Pretrained vectors: the rows that a table begins with, aligned with its vocabulary by token.

A file is read a batch at a time, whatever its size; what is kept is one array of the table's own rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from numpy.typing import NDArray

from feature_specs import ColonnadeError, FeatureSpec, Pretrained
from feature_specs.errors import did_you_mean
from preprocessing.artifacts import pretrained_file

_BATCH = 1 << 16


class Batch(NamedTuple):
    """Tokens, binary, and their vectors `[n, D]`."""

    tokens: pa.Array
    vectors: NDArray


def pretrained_tables(spec: FeatureSpec) -> dict[str, Pretrained]:
    """Returns the files of the tables that begin with pretrained vectors."""
    options = {table: getattr(owner, "pretrained", None) for table, owner in spec.table_options.items()}
    return {table: pretrained for table, pretrained in options.items() if pretrained is not None}


def check_pretrained(spec: FeatureSpec) -> None:
    """Looks at the beginning of every file, so that the job does not fail at its end.

    Raises:
        ColonnadeError: A file cannot be read, or its vectors have another width than the spec says.
    """
    for table, pretrained in pretrained_tables(spec).items():
        first = next(_batches(pretrained, 1), None)
        if first is None:
            raise ColonnadeError(f"{_where(pretrained)} has no vectors. Give a file with some, or leave out `pretrained`.")
        width, declared = first.vectors.shape[1], spec.table_options[table].embedding_dim
        if declared not in (None, width):
            raise ColonnadeError(
                f"{_where(pretrained)} has vectors of {width} numbers, and table {table!r} declares embedding_dim {declared}. Leave "
                "embedding_dim out: the table takes the width of the vectors."
            )


def write_pretrained(spec: FeatureSpec, folder: Path) -> dict[str, dict[str, int]]:
    """Writes `pretrained-<table>.npy`, `[rows, D]`, for every table that has pretrained vectors; NaN where the file has none.

    Args:
        spec: The data set.
        folder: The data directory, with `transform_fn` in it.

    Returns:
        By table, how many `tokens` its vocabulary has, and how many of them were `found`.

    Raises:
        ColonnadeError: A file is not what it should be.
    """
    from preprocessing.analysis import first_tokens, vocabulary_sizes  # loads TensorFlow

    coverage: dict[str, dict[str, int]] = {}
    wanted = pretrained_tables(spec)
    sizes = vocabulary_sizes(spec, folder / "transform_fn") if wanted else {}
    for table, pretrained in wanted.items():
        tokens = pa.array(first_tokens(folder / "transform_fn", table, sizes[table]), pa.binary())
        vectors, found = _aligned(pretrained, tokens, spec.tables[table].num_rows(len(tokens)))
        np.save(folder / pretrained_file(table), vectors)
        coverage[table] = {"tokens": len(tokens), "found": found}
    return coverage


def _aligned(pretrained: Pretrained, vocabulary: pa.Array, rows: int) -> tuple[NDArray[np.float32], int]:
    aligned = None
    seen = np.zeros(len(vocabulary), bool)
    for batch in _batches(pretrained, _BATCH):
        if aligned is None:
            aligned = np.full((rows, batch.vectors.shape[1]), np.nan, np.float32)
        places = pc.fill_null(pc.index_in(batch.tokens, value_set=vocabulary), -1).to_numpy(zero_copy_only=False)
        known = np.flatnonzero(places >= 0)
        distinct, counts = np.unique(places[known], return_counts=True)
        twice = distinct[(counts > 1) | seen[distinct]]
        if len(twice):
            raise ColonnadeError(f"{_where(pretrained)} has token {_shown(vocabulary[twice[0]])} more than once. Keep one vector a token.")
        seen[distinct] = True
        with np.errstate(over="ignore"):
            vectors = batch.vectors[known].astype(np.float32)
        unfit = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(unfit):
            token = vocabulary[places[known[unfit[0]]]]
            raise ColonnadeError(f"{_where(pretrained)}: the vector of token {_shown(token)} has NaN or infinity in it. Leave it out.")
        aligned[1 + places[known]] = vectors  # row 0 is padding
    if aligned is None:
        raise ColonnadeError(f"{_where(pretrained)} has no vectors. Give a file with some, or leave out `pretrained`.")
    return aligned, int(seen.sum())


def _batches(pretrained: Pretrained, rows: int) -> Iterator[Batch]:
    """Yields the file in batches of at most so many rows."""
    batches = _from_parquet(pretrained, rows) if pretrained.tokens is None else _from_npy(pretrained, pretrained.tokens, rows)
    width = None
    for batch in batches:
        width = width or batch.vectors.shape[1]
        if batch.vectors.shape[1] != width:
            raise ColonnadeError(f"{_where(pretrained)} has vectors of {width} and of {batch.vectors.shape[1]} numbers. Make them equal.")
        yield batch


def _from_npy(pretrained: Pretrained, tokens: str, rows: int) -> Iterator[Batch]:
    with _opened(pretrained.file) as file, _opened(tokens) as lines:
        shape, dtype = _npy_header(pretrained, file)
        taken = 0
        while taken < shape[0]:
            size = min(rows, shape[0] - taken)
            content = file.read(size * shape[1] * dtype.itemsize)
            if len(content) < size * shape[1] * dtype.itemsize:
                raise ColonnadeError(f"{_where(pretrained)} ends before its {shape[0]:,} vectors do. Copy it again.")
            read = [line.rstrip(b"\r\n") for line in islice(lines, size)]
            if len(read) < size:
                raise _other_number(pretrained, shape[0], f"{taken + len(read):,}")
            yield Batch(pa.array(read, pa.binary()), np.frombuffer(content, dtype).reshape(size, shape[1]))
            taken += size
        # Where only the beginning is looked at, this is not reached.
        if next(iter(lines), b""):
            raise _other_number(pretrained, shape[0], "more")


def _other_number(pretrained: Pretrained, vectors: int, tokens: str) -> ColonnadeError:
    return ColonnadeError(
        f"{_where(pretrained)} has {vectors:,} vectors, its tokens file {pretrained.tokens!r} {tokens} lines. Give one line a vector."
    )


def _npy_header(pretrained: Pretrained, file: IO[bytes]) -> tuple[tuple[int, int], np.dtype]:
    try:
        version = np.lib.format.read_magic(file)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = reader(file)
    except ValueError as error:
        raise ColonnadeError(f"{_where(pretrained)} is no .npy file: {' '.join(str(error).split())}. Write it with numpy.save.") from error
    if len(shape) != 2 or 0 in shape or is_fortran or dtype.kind not in "fiu":
        order = " in Fortran order" if is_fortran else ""
        raise ColonnadeError(
            f"{_where(pretrained)} should be an array of numbers [N, D]. Received: {dtype.name} {list(shape)}{order}. Write it with "
            "numpy.save(file, numpy.ascontiguousarray(vectors))."
        )
    return shape, dtype


def _from_parquet(pretrained: Pretrained, rows: int) -> Iterator[Batch]:
    columns = [pretrained.token_column, pretrained.vector_column]
    with _opened(pretrained.file) as stream:
        try:
            file = pq.ParquetFile(stream)
        except (OSError, pa.ArrowException) as error:
            raise ColonnadeError(f"{_where(pretrained)} is no Parquet file: {' '.join(str(error).split())}.") from error
        for column in columns:
            names = file.schema_arrow.names
            if column not in names:
                hint = did_you_mean(column, names)
                raise ColonnadeError(f"{_where(pretrained)} has no column {column!r}.{hint} It has: {', '.join(names)}.")
        for batch in file.iter_batches(rows, columns=columns, use_threads=False):
            if len(batch):
                yield Batch(_as_tokens(pretrained, batch.column(columns[0])), _as_vectors(pretrained, batch.column(columns[1])))


def _as_tokens(pretrained: Pretrained, column: pa.Array) -> pa.Array:
    try:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        return column.cast(pa.string()).cast(pa.binary()) if pa.types.is_integer(column.type) else column.cast(pa.binary())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ColonnadeError(
            f"{_where(pretrained)}: column {pretrained.token_column!r} should hold texts or integers. Received: {column.type}."
        ) from error


def _as_vectors(pretrained: Pretrained, column: pa.Array) -> NDArray:
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        raise ColonnadeError(f"{_where(pretrained)}: column {pretrained.vector_column!r} should hold lists of numbers. Received: {kind}.")
    lengths = np.unique(pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False))
    if len(lengths) > 1 or lengths[0] == 0:
        raise ColonnadeError(f"{_where(pretrained)} has vectors of {' and '.join(map(str, lengths[:3]))} numbers. Make them equal.")
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), int(lengths[0]))


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    try:
        stream = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    except (OSError, BeamIOError) as error:
        reason = " ".join(str(error).split())
        raise ColonnadeError(f"Pretrained vectors: cannot read {path!r}: {reason}. Correct the path in the spec.") from error
    with stream:
        yield stream


def _where(pretrained: Pretrained) -> str:
    return f"Pretrained vectors {pretrained.file!r}"


def _shown(token: pa.Scalar) -> str:
    return repr(token.as_py().decode("utf-8", errors="replace"))
