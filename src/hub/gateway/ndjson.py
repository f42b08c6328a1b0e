"""Lines out of bytes as they arrive (NDJSON, JSON Lines). Nothing here awaits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

NDJSON: Final = "application/x-ndjson"

NDJSON_NAMES: Final = frozenset({NDJSON, "application/ndjson", "application/jsonl", "application/json-lines"})
"""The names under which lines of JSON are known; none of them is registered with IANA."""

_BLANKS: Final = b" \t\r"

_SHORT: Final = 64
"""Blanks in a line at most that is skipped in one step with its neighbours: empty lines cost nothing to send."""


@dataclass(frozen=True, slots=True)
class LongLine:
    """Stands for a line that is longer than it may be; its bytes were dropped."""


@final
class LineSplitter:
    r"""Cuts a stream of bytes into lines, and never holds more of it than one line of the allowed length.

    A line ends with `\n` or `\r\n`, the last one may go without. Lines of nothing but blanks are left out. How the
    stream is cut into chunks makes no difference.

    Args:
        limit: Bytes of a line at most, not counting its `\n`.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._begun = bytearray()
        self._too_long = False
        self._empty_lines = re.compile(rb"(?:[ \t\r]{0,%d}\n)+" % min(limit, _SHORT))

    def feed(self, chunk: bytes) -> Iterator[bytes | LongLine]:
        """The lines that end in `chunk`. Take all of them before the next call."""
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            if not (self._begun or self._too_long) and (empty := self._empty_lines.match(chunk, start)):
                start = empty.end()
                continue
            self._go_on(chunk, start, end)
            yield from self._end()
            start = end + 1
        self._go_on(chunk, start, len(chunk))

    def finish(self) -> Iterator[bytes | LongLine]:
        """The last line, if the stream has ended without a line end."""
        yield from self._end()

    def _go_on(self, chunk: bytes, start: int, end: int) -> None:
        if len(self._begun) + end - start > self._limit:
            self._begun.clear()
            self._too_long = True
        if not self._too_long:
            self._begun += memoryview(chunk)[start:end]

    def _end(self) -> Iterator[bytes | LongLine]:
        line, too_long = bytes(self._begun), self._too_long
        self._begun.clear()
        self._too_long = False
        if too_long:
            yield LongLine()
        elif line.strip(_BLANKS):
            yield line.removesuffix(b"\r")
