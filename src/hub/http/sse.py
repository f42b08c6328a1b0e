"""Server-sent events as bytes (WHATWG HTML, section 9.2). Nothing here awaits."""

from __future__ import annotations

from typing import Final

EVENT_STREAM: Final = "text/event-stream"


def retry(seconds: float) -> bytes:
    """Tells the client how long to wait before it connects again."""
    return b"retry: %d\n\n" % round(seconds * 1000)


def comment(text: str) -> bytes:
    """A line that clients skip, and that keeps a silent connection from being cut."""
    return f": {text}\n\n".encode()


def event(name: str, document: bytes, *, number: int | None = None) -> bytes:
    """One event.

    Args:
        name: What clients listen for.
        document: Its data: one line of text.
        number: Sent back as `Last-Event-ID` by a client that connects again.
    """
    identity = b"" if number is None else b"id: %d\n" % number
    return b"event: %s\n%sdata: %s\n\n" % (name.encode(), identity, document)
