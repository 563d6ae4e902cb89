"""Files as streams of bytes: on any Beam file system, decompressed, and out of zip archives.

A member of an archive has a path of its own, `data.zip!/folder/ratings.dat`. Before the job reads, `unpack` writes what is compressed into
its staging folder, because only a plain file can be cut in ranges.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from feature_specs import ColonnadeError

SUFFIXES = (".gz", ".bz2", ".xz")
_MEMBER = ".zip!/"
_MAGIC = {b"\x1f\x8b\x08": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\x00": ".xz"}
_COPY_BYTES = 1 << 22
_DAMAGED = (EOFError, RuntimeError, NotImplementedError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, gzip.BadGzipFile)


@dataclass(frozen=True)
class InputFile:
    """One file of the user.

    Attributes:
        path: Its name, for messages too.
        size: Number of bytes of `stored`.
        stored: Where its bytes lie, if elsewhere: an unpacked copy.
    """

    path: str
    size: int
    stored: str | None = None

    @property
    def base_name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]


def members(archive: InputFile) -> list[InputFile]:
    """Returns the files in a zip archive.

    Raises:
        ColonnadeError: It is none.
    """
    with _clear_errors(archive.path, "open"), _plain(archive.path) as stream, zipfile.ZipFile(stream) as opened:
        return [InputFile(f"{archive.path}!/{member.filename}", member.file_size) for member in opened.infolist() if not member.is_dir()]


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """Opens a file for reading its bytes, decompressed.

    Raises:
        ColonnadeError: It cannot be opened or, also inside the block, read or decompressed.
    """
    with _clear_errors(path, "read"), _plain(path) as stream:
        kind = compression(path, stream)
        if kind is None:
            yield stream
        else:
            # Not Beam's own: it takes a truncated file for a short one.
            yield {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}[kind](stream)  # type: ignore[operator]


def is_packed(path: str) -> bool:
    """Whether a file can only be read from its begin: it is compressed or in an archive."""
    if _MEMBER in path:
        return True
    with _clear_errors(path, "read"), _plain(path) as stream:
        return compression(path, stream) is not None


def compression(path: str, stream: BinaryIO) -> str | None:
    """Returns the suffix that stands for how a file is compressed: that of its name or, without one, by its first bytes."""
    suffix = next((suffix for suffix in SUFFIXES if path.endswith(suffix)), None)
    if suffix is None:
        head = stream.read(6)
        stream.seek(0)
        suffix = next((suffix for magic, suffix in _MAGIC.items() if head.startswith(magic)), None)
    return suffix


def unpack(files: Sequence[InputFile], folder: str) -> list[InputFile]:
    """Copies what is compressed or in an archive, unpacked, into `folder`.

    Raises:
        ColonnadeError: A file is damaged.
    """
    unpacked = []
    for file in files:
        if not is_packed(file.path):
            unpacked.append(file)
            continue
        stored = f"{folder}/{len(unpacked):05d}-{abs(zlib.crc32(file.path.encode())):08x}"
        size = 0
        with opened(file.path) as stream, FileSystems.create(stored, compression_type="uncompressed") as copy:
            while piece := stream.read(_COPY_BYTES):
                size += copy.write(piece)
        unpacked.append(replace(file, size=size, stored=stored))
        check_not_empty(unpacked[-1])
    return unpacked


def check_not_empty(file: InputFile) -> None:
    """Refuses a file without a byte.

    Raises:
        ColonnadeError: It is one.
    """
    if file.size == 0:
        raise ColonnadeError(f"Input {file.path!r} is empty (0 bytes). Give a file with rows.")


@contextmanager
def _plain(path: str) -> Iterator[BinaryIO]:
    """Opens the bytes of a file as they are."""
    if _MEMBER not in path:
        with FileSystems.open(path, compression_type="uncompressed") as stream:
            yield stream
        return
    archive, member = path.split(_MEMBER, 1)
    with _plain(f"{archive}.zip") as stream, zipfile.ZipFile(stream) as opened, opened.open(member) as inside:
        yield inside  # type: ignore[misc]


@contextmanager
def _clear_errors(path: str, verb: str) -> Iterator[None]:
    try:
        yield
    except ColonnadeError:
        raise
    except (*_DAMAGED, OSError, ValueError, BeamIOError) as error:
        said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        if isinstance(error, _DAMAGED) or said == "Invalid data stream":
            raise ColonnadeError(f"Cannot decompress {path!r}: {said}. Fetch the file again.") from error
        raise ColonnadeError(f"Cannot {verb} {path!r}: {said}.") from error
