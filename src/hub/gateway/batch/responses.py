"""The answers of a batch: in the order of its lines, and never too many at a time. Nothing here awaits."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, final

IN_FLIGHT: Final = 256
"""Lines that are being accepted at once: as many as one group of `hub.concurrency.batching` takes."""

IN_FLIGHT_BYTES: Final = 16 * 1024 * 1024
"""Bytes of those lines, above which no further one is begun."""

PENDING: Final = 10_000
"""Lines whose answers have not been sent, above which no further one is begun: what a client may write before it reads."""

PENDING_BYTES: Final = 4 * 1024 * 1024
"""Bytes of answers that have not been sent, above which no further line is begun."""


@dataclass(slots=True)
class _Slot:
    size: int
    answer: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderedResponsesStatistics:
    """`begun` lines in all; the answers of `pending` ones were not taken yet, and `in_flight` of these have none."""

    begun: int
    pending: int
    in_flight: int


@final
class OrderedResponses:
    """Puts answers into the order in which their lines were begun, whichever is there first."""

    def __init__(self) -> None:
        self._lines: deque[_Slot] = deque()
        self._taken = 0
        self._in_flight = 0
        self._in_flight_bytes = 0
        self._pending_bytes = 0

    def statistics(self) -> OrderedResponsesStatistics:
        return OrderedResponsesStatistics(begun=self.begun, pending=len(self._lines), in_flight=self._in_flight)

    @property
    def begun(self) -> int:
        """Lines begun so far, which is the index of the next one."""
        return self._taken + len(self._lines)

    @property
    def ready(self) -> bool:
        """Whether there is something to take."""
        return bool(self._lines) and self._lines[0].answer is not None

    def has_room(self, size: int) -> bool:
        """Whether a line of so many bytes may begin now; a lone line always may."""
        return not self._lines or (
            self._in_flight < IN_FLIGHT
            and self._in_flight_bytes + size <= IN_FLIGHT_BYTES
            and len(self._lines) < PENDING
            and self._pending_bytes < PENDING_BYTES
        )

    def begin(self, size: int) -> int:
        """Makes room for the answer to the next line, and returns the line's index."""
        index = self.begun
        self._lines.append(_Slot(size))
        self._in_flight += 1
        self._in_flight_bytes += size
        return index

    def answer(self, index: int, text: bytes) -> None:
        line = self._lines[index - self._taken]
        line.answer = text
        self._in_flight -= 1
        self._in_flight_bytes -= line.size
        self._pending_bytes += len(text)

    def take(self, size: int) -> bytes:
        """The next answers, as they stand in the reply: all that are there, until they are at least `size` bytes."""
        texts: list[bytes] = []
        while self.ready and size > 0:
            text = self._lines.popleft().answer or b""
            texts.append(text)
            size -= len(text)
            self._taken += 1
            self._pending_bytes -= len(text)
        return b"".join(texts)
