"""Bytes on their way to the server."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, final

from pamqp import base, frame

TAKEN_AT_ONCE: Final = 1024 * 1024
"""Bytes from which on the writer gets what waits in several portions, because each is a copy."""


@final
class OutputBuffer:
    """Frames that wait for the writer.

    What belongs together (the method, header and body frames of a message) is added in one call, so nothing can get
    between, and a publisher that is cancelled never leaves half a message behind.

    Args:
        on_first: Called when the output was empty and is no longer: time to wake the writer.
    """

    __slots__ = ("_on_first", "_parts", "size")

    def __init__(self, on_first: Callable[[], None] = lambda: None) -> None:
        self.size = 0
        self._parts: deque[bytes | memoryview] = deque()
        self._on_first = on_first

    def add(self, *data: bytes | memoryview) -> None:
        was_empty = not self.size
        for part in data:
            if part:
                self._parts.append(part)
                self.size += len(part)
        if was_empty and self.size:
            self._on_first()

    def add_method(self, channel: int, method: base.Frame) -> None:
        self.add(frame.marshal(method, channel))

    def take(self) -> bytes:
        """What waits; if that is more than `TAKEN_AT_ONCE`, the first parts with so many bytes or a little more."""
        if self.size <= TAKEN_AT_ONCE:
            data = b"".join(self._parts)
            self._parts.clear()
        else:
            data = b"".join(self._first_parts())
        self.size -= len(data)
        return data

    def _first_parts(self) -> Iterable[bytes | memoryview]:
        size = 0
        while self._parts and size < TAKEN_AT_ONCE:
            part = self._parts.popleft()
            size += len(part)
            yield part
