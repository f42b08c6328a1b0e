"""Splits a stream of bytes into lines (NDJSON, JSON Lines)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

_BLANKS: Final = b" \t\r"

_BLANK_LINES: Final = re.compile(rb"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class LongLine:
    """In place of a line that is longer than the limit; its bytes were dropped."""


@final
class LineSplitter:
    r"""Splits a stream of bytes into lines; buffers at most one line of the allowed length.

    A line ends with `\n` or `\r\n`, the last one needs no end. Blank lines are left out, however long they are; many of
    them in a chunk cost no more than one. How the stream is cut into chunks makes no difference.

    Args:
        limit: Bytes of a line at most, not counting its `\n`.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._size = 0
        self._blank = True
        self._blanks = 0
        self._accepted = 0

    @property
    def blanks(self) -> int:
        """Bytes of blank lines so far, with their ends."""
        return self._blanks + (self._size if self._blank else 0)

    @property
    def accepted(self) -> int:
        """Bytes of all other lines so far."""
        return self._accepted

    def feed(self, chunk: bytes) -> Iterator[bytes | LongLine]:
        """The lines that end in `chunk`. Iterate over all of them before the next call."""
        start = self._skip(chunk, 0)
        while (end := chunk.find(b"\n", start)) >= 0:
            self._extend(chunk, start, end)
            yield from self._end(1)
            start = self._skip(chunk, end + 1)
        self._extend(chunk, start, len(chunk))

    def finish(self) -> Iterator[bytes | LongLine]:
        """The last line, if the stream has ended without a line end."""
        yield from self._end(0)

    def _skip(self, chunk: bytes, start: int) -> int:
        """The start of the first line that is not blank, or whose end is not in `chunk`."""
        if self._size:
            return start
        run = _BLANK_LINES.match(chunk, start)
        end = max(start, chunk.rfind(b"\n", start, run.end() if run else start) + 1)
        self._blanks += end - start
        return end

    def _extend(self, chunk: bytes, start: int, end: int) -> None:
        piece = memoryview(chunk)[start:end]
        self._blank = self._blank and not bytes(piece).strip(_BLANKS)
        self._size += len(piece)
        if self._size > self._limit:
            self._buffer.clear()
        else:
            self._buffer += piece

    def _end(self, line_end: int) -> Iterator[bytes | LongLine]:
        line, size, blank = bytes(self._buffer), self._size, self._blank
        self._buffer.clear()
        self._size = 0
        self._blank = True
        if blank:
            self._blanks += size + line_end
            return
        self._accepted += size + line_end
        yield LongLine() if size > self._limit else line.removesuffix(b"\r")
