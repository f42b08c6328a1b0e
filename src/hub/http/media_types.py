"""What a request says about the type of its body: always something, since browsers let any page send a body of no type."""

from __future__ import annotations

from typing import Any, Final, final

from litestar.connection import ASGIConnection
from litestar.datastructures import Headers
from litestar.handlers import BaseRouteHandler
from typing_extensions import override

from hub.errors import HubError

JSON: Final = "application/json"

_SHOWN: Final = 200


@final
class UnsupportedBody(HubError):
    """A body of another type than the route takes, or of none."""

    code = "unsupported_media_type"
    status = 415
    title = "Unsupported media type"

    def __init__(self, declared: str | None, wanted: str) -> None:
        super().__init__(declared, wanted)
        self.declared = declared
        self.wanted = wanted

    @override
    def __str__(self) -> str:
        if self.declared is None:
            return f"the request has no Content-Type; say what its body is: {self.wanted}"
        return f"the body is declared as {self.declared[:_SHOWN]!r}; send {self.wanted}"


def declared_type(headers: Headers, wanted: str) -> str:
    """The media type of the body, in lower case; empty if its characters are not UTF-8.

    Raises:
        UnsupportedBody: It is not declared. `wanted` says what would be right.
    """
    declared = headers.get("content-type")
    if declared is None or not declared.strip():
        raise UnsupportedBody(None, wanted)
    media_type, _, parameters = declared.partition(";")
    return media_type.strip().lower() if _utf8(parameters) else ""


async def require_json(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
    """A Litestar guard of routes that take JSON.

    Raises:
        UnsupportedBody: The body is of another type, or of none.
    """
    wanted = f"{JSON} (in UTF-8)"
    if declared_type(connection.headers, wanted) != JSON:
        raise UnsupportedBody(connection.headers["content-type"], wanted)


def _utf8(parameters: str) -> bool:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower() in ("utf-8", "utf8")
    return True
