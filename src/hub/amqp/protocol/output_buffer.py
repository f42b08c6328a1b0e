"""Bytes on their way to the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from pamqp import base, frame


@final
class OutputBuffer:
    """Whole frames that wait for the writer.

    What belongs together (the method, header and body frames of a message) is added in one call, so nothing can get
    between, and a publisher that is cancelled never leaves half a message behind.

    Args:
        on_first: Called when the output was empty and is no longer: time to wake the writer.
    """

    __slots__ = ("_on_first", "_parts", "size")

    def __init__(self, on_first: Callable[[], None] = lambda: None) -> None:
        self.size = 0
        self._parts: list[bytes] = []
        self._on_first = on_first

    def add(self, data: bytes) -> None:
        if not data:
            return
        self._parts.append(data)
        self.size += len(data)
        if len(self._parts) == 1:
            self._on_first()

    def add_method(self, channel: int, method: base.Frame) -> None:
        self.add(frame.marshal(method, channel))

    def take(self) -> bytes:
        """Everything that waits; the output is empty afterwards."""
        data = b"".join(self._parts)
        self._parts.clear()
        self.size = 0
        return data
