"""Content codings: what a request body is decoded from, piece by piece and bounded. Nothing here awaits."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, final

from typing_extensions import override

from hub.errors import HubError

ACCEPTED: Final = "gzip, deflate"
"""The codings that a request body may have; `Accept-Encoding` of a 415 (RFC 9110 section 12.5.3)."""

PIECE: Final = 64 * 1024
"""Bytes that are decoded in one step at most, which takes a fraction of a millisecond."""

RATIO: Final = 100
"""Bytes that a byte of a body may decode to, on top of the limit to a body: JSON compresses to a tenth or a twentieth."""

MEMBER: Final = 128
"""Bytes that a member of gzip counts for beside its own: to begin one costs as much as to decode about so many."""

_WINDOWS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""Coding -> `wbits` of zlib: gzip's header (RFC 1952), or zlib's (RFC 1950), which HTTP calls deflate."""


@final
class UnsupportedCoding(HubError):
    """A body in a content coding that is not read here."""

    code = "unsupported_content_encoding"
    status = 415
    title = "Unsupported content encoding"

    def __init__(self, declared: str) -> None:
        super().__init__(declared)
        self.declared = declared

    @override
    def __str__(self) -> str:
        return f"Content-Encoding is {self.declared!r}; send the body as it is, or in one of these: {ACCEPTED}"


@final
class MalformedCoding(HubError):
    """A body that is not what its `Content-Encoding` says."""

    code = "malformed_content_encoding"
    status = 400
    title = "The body is not in its content encoding"

    def __init__(self, coding: str, reason: str) -> None:
        super().__init__(coding, reason)
        self.coding = coding
        self.reason = reason

    @override
    def __str__(self) -> str:
        return f"Content-Encoding is {self.coding!r}, but {self.reason}"


@final
class SuspiciousCoding(HubError):
    """A body whose decoded size is out of proportion to what was sent: decoding goes no further."""

    code = "content_too_large"
    status = 413
    title = "Content Too Large"

    def __init__(self, limit: int, reason: str) -> None:
        super().__init__(limit, reason)
        self.limit = limit
        self.reason = reason

    @override
    def __str__(self) -> str:
        return f"{self.reason}; send it without Content-Encoding, or in several requests"


def coding_of(declared: str) -> str | None:
    """The coding that `Content-Encoding` names, in lower case; `None` if the body is as it is.

    Raises:
        UnsupportedCoding: It is another coding, or more than one.
    """
    codings = [coding for coding in (part.strip().lower() for part in declared.split(",")) if coding]
    applied = [coding for coding in codings if coding != "identity"]
    if not applied:
        return None
    if len(applied) > 1 or applied[0] not in _WINDOWS:
        raise UnsupportedCoding(declared)
    return applied[0]


@final
class Decoder:
    """Decodes a body as it arrives; a body of gzip may have several members (RFC 1952 section 2.2).

    How large the decoded body may be is for its reader to say. What is refused here is what costs without limit although
    its reader would never see it: more than `RATIO` times the bytes that were sent, or bytes that decode to nothing.

    Args:
        coding: What `coding_of` returned.
        limit: Bytes that a body, or a part of it, has at most when it is read; the slack of both refusals.
    """

    def __init__(self, coding: str, *, limit: int) -> None:
        self._coding = coding
        self._limit = limit
        self._stream = zlib.decompressobj(_WINDOWS[coding])
        self._complete = False
        self._taken = 0
        self._members = 1
        self._given = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The pieces that `chunk` adds, one for each step; some are empty. Take all of them before the next call.

        Raises:
            MalformedCoding: It cannot be decoded.
            SuspiciousCoding: It decodes to far too much, or to far too little.
        """
        self._taken += len(chunk)
        full = False
        while chunk or full:
            piece, chunk = self._step(chunk)
            full = len(piece) == PIECE and not self._complete
            self._given += len(piece)
            self._check()
            yield piece

    def finish(self) -> None:
        """Says that the body has ended.

        Raises:
            MalformedCoding: In the middle of what it was to be.
        """
        if not self._complete:
            raise MalformedCoding(self._coding, "the body ends in the middle of it; send all of it")

    def _step(self, chunk: bytes) -> tuple[bytes, bytes]:
        trailing = self._complete
        if trailing:
            if self._coding == "deflate":
                raise MalformedCoding(self._coding, "there are bytes after its end")
            self._stream = zlib.decompressobj(_WINDOWS[self._coding])
            self._complete = False
            self._members += 1
        try:
            piece = self._stream.decompress(chunk, PIECE)
        except zlib.error as error:
            reason = "there are bytes after its end" if trailing else f"the body cannot be decoded: {error}"
            raise MalformedCoding(self._coding, reason) from None
        self._complete = self._stream.eof
        return piece, self._stream.unused_data if self._complete else self._stream.unconsumed_tail

    def _check(self) -> None:
        if self._given > self._limit + RATIO * self._taken:
            raise SuspiciousCoding(self._limit, f"the body decodes to more than {RATIO} times its size")
        if self._taken + MEMBER * self._members > self._limit + self._given:
            raise SuspiciousCoding(self._limit, "most of the body decodes to nothing")
