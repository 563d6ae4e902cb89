"""Text files in blocks of whole rows, each row with the number of its line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

_BLOCK_BYTES = 1 << 22
_LONGEST_QUOTE_BYTES = 1 << 24
_BOM = b"\xef\xbb\xbf"
_NEWLINE, _RETURN, _QUOTE = b'\n\r"'


class Block(NamedTuple):
    """Whole rows of a text file.

    Attributes:
        data: Their bytes, blank lines included.
        starts: Where each row starts in `data`, blank lines left out.
        lines: Number of the line where each row starts, from 1.
    """

    data: bytes
    starts: NDArray[np.int64]
    lines: NDArray[np.int64]

    def rows(self) -> list[bytes]:
        """Returns the rows one by one, without line ends."""
        ends = [*self.starts[1:].tolist(), len(self.data)]
        return [self.data[start:end].strip(b"\r\n") for start, end in zip(self.starts.tolist(), ends, strict=True)]

    def without_first(self) -> Block:
        """Returns all rows but the first, such as a header."""
        end = int(self.starts[1]) if len(self.starts) > 1 else len(self.data)
        return Block(self.data[end:], self.starts[1:] - end, self.lines[1:])


def read_blocks(stream: BinaryIO, *, quoting: bool, block_bytes: int = _BLOCK_BYTES) -> Iterator[Block]:
    """Cuts a stream between rows, in bounded memory.

    Args:
        stream: Opened for bytes.
        quoting: Whether a line end between double quotes belongs to the row. A quote that never closes ends with its line.
        block_bytes: Bytes read at a time.
    """
    rest, line, at_start = b"", 1, True
    while True:
        piece = stream.read(block_bytes)
        data = rest + piece
        if at_start and data.startswith(_BOM):
            data = data[len(_BOM) :]
        at_start = False
        if not piece and data and not data.endswith(b"\n"):
            data += b"\n"
        newlines = np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE)
        ends = _outside_quotes(data, newlines) if quoting else newlines
        if len(newlines) and (not piece or len(data) > _LONGEST_QUOTE_BYTES) and (not len(ends) or ends[-1] != newlines[-1]):
            ends = np.concatenate([ends, newlines[np.searchsorted(newlines, ends[-1] + 1 if len(ends) else 0) :]])
        cut = int(ends[-1]) + 1 if len(ends) else 0
        if cut:
            block = _block(data[:cut], ends, newlines, line)
            if len(block.starts):
                yield block
            line += int(np.searchsorted(newlines, cut))
        rest = data[cut:]
        if not piece:
            return


def _outside_quotes(data: bytes, newlines: NDArray[np.int64]) -> NDArray[np.int64]:
    if b'"' not in data:
        return newlines
    quotes = np.flatnonzero(np.frombuffer(data, np.uint8) == _QUOTE)
    outside: NDArray[np.int64] = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
    return outside


def _block(data: bytes, ends: NDArray[np.int64], newlines: NDArray[np.int64], first_line: int) -> Block:
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts
    blank = (lengths == 0) | ((lengths == 1) & (np.frombuffer(data, np.uint8)[starts] == _RETURN))
    starts = starts[~blank]
    return Block(data, starts, first_line + np.searchsorted(newlines, starts))
