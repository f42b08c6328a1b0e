"""What the routes of every server are written with: the type of a request, and values that Litestar injects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias

from litestar import Request
from litestar.datastructures import State
from litestar.di import Provide
from litestar.types import Receive, Scope

HttpRequest: TypeAlias = Request[None, None, State]


class IncomingRequest(Protocol):
    """What a route reads of a request, whether Litestar calls it or `hub.http.middleware.direct`."""

    @property
    def scope(self) -> Scope:
        """The request as ASGI has it."""
        ...

    @property
    def receive(self) -> Receive:
        """Returns the next message of the client."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers by their names in lower case; of several lines with one name the first."""
        ...

    @property
    def query_params(self) -> Mapping[str, str]:
        """The parameters of the query; of several with one name the first."""
        ...

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            HTTPException: It is larger than the server's limit, or the client has gone.
        """
        ...


def provide(value: object) -> Provide:
    """A dependency that is `value` for every request."""

    def dependency() -> object:
        return value

    return Provide(dependency, sync_to_thread=False)
