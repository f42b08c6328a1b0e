"""What a failed TLS handshake, or a connection that was cut at its start, says about the URL."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Final

from anyio import BrokenResourceError, EndOfStream, connect_tcp, move_on_after

PROBE_TIME: Final = 2.0
"""Seconds for a look at a port. It comes after a failed attempt, so the host has just answered."""

_PASSING: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError, ssl.SSLWantReadError)
"""The connection was cut: a proxy without a server behind it, a server that stops."""

_BROKEN: Final = (OSError, BrokenResourceError, EndOfStream)


def tls_refusal(error: BaseException, *, trust: str) -> str | None:
    """Why TLS cannot work at this URL, with the repair; `None` if `error` is something else, or may pass.

    Args:
        error: What connecting raised; its causes are looked at too.
        trust: How to name further certificate authorities, for the repair.
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
    """Whether a server completes a TLS handshake at this port within `PROBE_TIME`, with whatever certificate."""
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
    """The first bytes that a server answers to `question` within `PROBE_TIME`; empty if there are none."""
    with move_on_after(PROBE_TIME):
        try:
            async with await connect_tcp(host, port) as stream:
                await stream.send(question)
                return await stream.receive()
        except _BROKEN:
            return b""
    return b""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and what it was made of: causes, contexts, and errors that libraries put into the arguments of theirs."""
    seen: set[int] = set()
    todo = [error]
    while todo:
        each = todo.pop(0)
        if id(each) not in seen:
            seen.add(id(each))
            yield each
            todo += [more for more in (each.__cause__, each.__context__, *each.args) if isinstance(more, BaseException)]
