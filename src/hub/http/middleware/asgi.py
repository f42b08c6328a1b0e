"""What the layers between a server and its routes share: headers of ASGI messages, and replies of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias, final

from hub.errors import HubError
from hub.http.problem_document import PROBLEM_TYPE, encoded_members, problem_members, retry_seconds

if TYPE_CHECKING:
    from litestar.types import HTTPResponseStartEvent, HTTPScope, Receive, Send

HttpApp: TypeAlias = "Callable[[HTTPScope, Receive, Send], Awaitable[None]]"
"""An ASGI application that answers HTTP requests and nothing else."""

_LISTS: Final = frozenset({b"accept", b"accept-encoding", b"content-encoding", b"if-none-match", b"prefer"})
"""Request headers whose values are lists, and which hub reads: several lines of one mean the same as one line."""


def join_lists(scope: HTTPScope) -> HTTPScope:
    """The request with at most one line of each list among the headers that hub reads (RFC 9110 section 5.3)."""
    headers = scope["headers"]
    names = [name for name, _ in headers if name in _LISTS]
    if len(names) == len(set(names)):
        return scope
    joined: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _LISTS:
            joined[name] = joined[name] + b", " + value if name in joined else value
    others = [(name, value) for name, value in headers if name not in _LISTS]
    return {**scope, "headers": [*others, *joined.items()]}


@final
class ReplyHeaders:
    """The headers of a reply that is about to be sent; what is set here is set in the message. ASGI has names in lower case."""

    def __init__(self, message: HTTPResponseStartEvent) -> None:
        self._lines = list(message["headers"])
        message["headers"] = self._lines

    def get(self, name: str) -> str:
        """The value; empty if there is no such header."""
        wanted = name.encode()
        for line, _ in self._lines:
            if line == wanted:
                break
        else:
            return ""
        return b", ".join([value for line, value in self._lines if line == wanted]).decode("latin-1")

    def set(self, name: str, value: str) -> None:
        wanted = name.lower().encode()
        self._lines[:] = [(line, old) for line, old in self._lines if line != wanted]
        self._lines.append((wanted, value.encode("latin-1")))

    def vary_by(self, *names: str) -> None:
        """Adds to `Vary` what is not in it yet."""
        given = self.get("vary")
        if given:
            self.set("vary", _merged(given, names))
        else:
            self._lines.append((b"vary", ", ".join(names).encode()))


async def send_problem(error: HubError, send: Send, *, headers: Mapping[str, str]) -> None:
    """Answers a request with one of hub's own errors, from outside of the routes. `Retry-After` is the error's."""
    lines, content = encoded_problem(error, headers)
    await send({"type": "http.response.start", "status": error.status, "headers": lines})
    await send({"type": "http.response.body", "body": content, "more_body": False})


def encoded_problem(error: HubError, headers: Mapping[str, str]) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The headers and the body of the reply that `send_problem` sends. `headers` come after the error's own."""
    members = problem_members(
        error.status, code=error.code, title=error.title, detail=str(error), extensions=error.extensions
    )
    content = encoded_members(members)
    delay = retry_seconds(error)
    own = {"Content-Type": PROBLEM_TYPE, "Content-Length": str(len(content))}
    again = {} if delay is None else {"Retry-After": str(delay)}
    lines = {name.lower(): value for name, value in {**own, **again, **headers}.items()}
    return [(name.encode(), value.encode("latin-1")) for name, value in lines.items()], content


@lru_cache(256)
def _merged(vary: str, names: tuple[str, ...]) -> str:
    known = [name for name in map(str.strip, vary.split(",")) if name]
    lowered = {name.lower() for name in known}
    return ", ".join([*known, *(name for name in names if name.lower() not in lowered)])
