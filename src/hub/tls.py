"""Diagnosis of URLs by failed TLS handshakes and by connections that were closed at their start."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Final

from anyio import BrokenResourceError, EndOfStream, connect_tcp, move_on_after

PROBE_TIME: Final = 2.0
"""Seconds for a probe of a port. It follows a failed attempt, so the host is known to answer."""

_PASSING: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError, ssl.SSLWantReadError)
"""The connection was closed: by a proxy without a server, or by a server that stops."""

_BROKEN: Final = (OSError, BrokenResourceError, EndOfStream)


def tls_refusal(error: BaseException, *, trust: str) -> str | None:
    """The reason why TLS cannot work at a URL, with the repair; `None` for other errors, and for temporary ones.

    Args:
        error: The error of an attempt to connect; its causes are examined too.
        trust: The way to add certificate authorities, for the repair.
    """
    for each in _chain(error):
        match each:
            case ssl.SSLCertVerificationError():
                why = each.verify_message or each.reason
                return f"its certificate is not valid here ({why}): trust its authority with {trust}, or use its name"
            case ssl.SSLError() if isinstance(each, _PASSING) or "INTERNAL_ERROR" in (each.reason or ""):
                return None
            case ssl.SSLError(reason="WRONG_VERSION_NUMBER" | "RECORD_LAYER_FAILURE" | "HTTP_REQUEST"):
                return "the server does not speak TLS at this port: use the scheme without TLS, or the port with TLS"
            case ssl.SSLError():
                return f"no TLS with it is possible: {each.reason or each}"
            case _:
                pass
    return None


async def speaks_tls(host: str, port: int) -> bool:
    """Whether a server completes a TLS handshake at this port within `PROBE_TIME`, with any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with move_on_after(PROBE_TIME):
        try:
            async with await connect_tcp(host, port, ssl_context=context, tls_standard_compatible=False):
                return True
        except _BROKEN:
            return False
    return False


async def answer_without_tls(host: str, port: int, question: bytes) -> bytes:
    """The first bytes of a server's answer to `question` within `PROBE_TIME`; empty if there is none."""
    with move_on_after(PROBE_TIME):
        try:
            async with await connect_tcp(host, port) as stream:
                await stream.send(question)
                return await stream.receive()
        except _BROKEN:
            return b""
    return b""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error with its causes and contexts, and errors in the arguments of other errors."""
    seen: set[int] = set()
    todo = [error]
    while todo:
        each = todo.pop(0)
        if id(each) not in seen:
            seen.add(id(each))
            yield each
            todo += [more for more in (each.__cause__, each.__context__, *each.args) if isinstance(more, BaseException)]
