"""The answers of a batch, in the order of its lines, with limits on how many are under way."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, final

IN_FLIGHT: Final = 256
"""Lines under way at once: as many as one batch of `hub.concurrency.batching` has."""

IN_FLIGHT_BYTES: Final = 16 * 1024 * 1024
"""Bytes of those lines, above which no further one is started."""

PENDING: Final = 10_000
"""Lines with unsent answers, above which no further one is started: a client may write that many before it reads."""

PENDING_BYTES: Final = 4 * 1024 * 1024
"""Bytes of unsent answers, above which no further line is started."""


@dataclass(slots=True)
class _Slot:
    size: int
    answer: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderedResponsesStatistics:
    """`started` lines in all; the answers of `pending` ones are unsent, and `in_flight` of these have none yet."""

    started: int
    pending: int
    in_flight: int


@final
class OrderedResponses:
    """Returns answers in the order in which their lines were started, in whatever order they are added."""

    def __init__(self) -> None:
        self._lines: deque[_Slot] = deque()
        self._popped = 0
        self._in_flight = 0
        self._in_flight_bytes = 0
        self._pending_bytes = 0

    def statistics(self) -> OrderedResponsesStatistics:
        return OrderedResponsesStatistics(started=self.started, pending=len(self._lines), in_flight=self._in_flight)

    @property
    def started(self) -> int:
        """Lines started so far, which is the index of the next one."""
        return self._popped + len(self._lines)

    @property
    def ready(self) -> bool:
        """Whether the next answer can be popped."""
        return bool(self._lines) and self._lines[0].answer is not None

    def has_room(self, size: int) -> bool:
        """Whether a line of `size` bytes may be started now; a lone line always may."""
        return not self._lines or (
            self._in_flight < IN_FLIGHT
            and self._in_flight_bytes + size <= IN_FLIGHT_BYTES
            and len(self._lines) < PENDING
            and self._pending_bytes < PENDING_BYTES
        )

    def start(self, size: int) -> int:
        """Reserves a slot for the answer to the next line, and returns the index of the line."""
        index = self.started
        self._lines.append(_Slot(size))
        self._in_flight += 1
        self._in_flight_bytes += size
        return index

    def answer(self, index: int, text: bytes) -> None:
        line = self._lines[index - self._popped]
        line.answer = text
        self._in_flight -= 1
        self._in_flight_bytes -= line.size
        self._pending_bytes += len(text)

    def pop_ready(self, size: int) -> bytes:
        """The next answers, joined: all that are ready, until they are at least `size` bytes."""
        texts: list[bytes] = []
        while self.ready and size > 0:
            text = self._lines.popleft().answer or b""
            texts.append(text)
            size -= len(text)
            self._popped += 1
            self._pending_bytes -= len(text)
        return b"".join(texts)
