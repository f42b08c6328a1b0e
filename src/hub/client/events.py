"""Server-sent events from bytes (WHATWG HTML, section 9.2.6). Nothing awaits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

EVENT_STREAM: Final = "text/event-stream"


@final
@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event. `id` is empty if it has none of its own."""

    name: str
    data: bytes
    id: str = ""


@final
class EventDecoder:
    """Turns the bytes of a stream into events, however they are cut. Comments and `retry` are ignored."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        """Of the line that has not ended."""
        self._name = ""
        self._id = ""
        self._data: list[bytes] = []

    def feed(self, content: bytes) -> Iterator[ServerEvent]:
        """The events that end in `content`."""
        *lines, rest = content.split(b"\n")
        if lines:
            lines[0] = b"".join((*self._pieces, lines[0]))
            self._pieces.clear()
        self._pieces.append(rest)
        for line in lines:
            event = self._line(line.removesuffix(b"\r"))
            if event is not None:
                yield event

    def _line(self, line: bytes) -> ServerEvent | None:
        if not line:
            event = ServerEvent(self._name or "message", b"\n".join(self._data), self._id) if self._data else None
            self._name, self._id, self._data = "", "", []
            return event
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"event":
                self._name = value.decode(errors="replace")
            case b"id":
                self._id = value.decode(errors="replace")
            case b"data":
                self._data.append(value)
            case _:
                pass
        return None
