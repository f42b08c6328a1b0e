"""Server-sent events as bytes (WHATWG HTML, section 9.2)."""

from __future__ import annotations


def retry(seconds: float) -> bytes:
    """Sets the time that the client waits before it connects again."""
    return b"retry: %d\n\n" % round(seconds * 1000)


def comment(text: str) -> bytes:
    """A line that clients ignore; it keeps proxies from closing a silent connection."""
    return f": {text}\n\n".encode()


def event(name: str, document: bytes, *, identity: int | str | None = None) -> bytes:
    """One event.

    Args:
        name: Its type.
        document: Its data: one line of text.
        identity: Its id, which a client that connects again sends as `Last-Event-ID`.
    """
    line = b"" if identity is None else b"id: %s\n" % str(identity).encode()
    return b"event: %s\n%sdata: %s\n\n" % (name.encode(), line, document)
