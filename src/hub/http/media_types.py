"""The media types of hub, and the `Content-Type` of a request, which must be declared.

Browsers let any page send a body without a type to any server; so a body without one is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, final

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from typing_extensions import override

from hub.errors import HubError

JSON: Final = "application/json"

PROTOBUF: Final = "application/x-protobuf"

PROTOBUF_NAMES: Final = frozenset({PROTOBUF, "application/protobuf", "application/vnd.google.protobuf"})
"""The names that are in use for a serialized message; none of them is registered with IANA."""

NDJSON: Final = "application/x-ndjson"

NDJSON_NAMES: Final = frozenset({NDJSON, "application/ndjson", "application/jsonl", "application/json-lines"})
"""The names that are in use for lines of JSON; none of them is registered with IANA."""

EVENT_STREAM: Final = "text/event-stream"

_SHOWN: Final = 200
"""Characters of a client's `Content-Type` that an error quotes."""

_MESSAGES: Final = f"{JSON} (in UTF-8) or {PROTOBUF}"
_MESSAGE_TYPES: Final = {**dict.fromkeys(PROTOBUF_NAMES, PROTOBUF), JSON: JSON}


@final
class UnsupportedBody(HubError):
    """A body of another type than the route accepts, or of none."""

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


def declared_type(headers: Mapping[str, str], wanted: str) -> str:
    """The media type of the body, in lower case; empty if its character set is not UTF-8.

    Raises:
        UnsupportedBody: It is not declared. `wanted` says what would be right.
    """
    declared = headers.get("content-type")
    if declared is None or not declared.strip():
        raise UnsupportedBody(None, wanted)
    media_type, _, parameters = declared.partition(";")
    return media_type.strip().lower() if _utf8(parameters) else ""


def message_type(headers: Mapping[str, str]) -> str:
    """`JSON` or `PROTOBUF`: the form of the message in the body.

    Raises:
        UnsupportedBody: The body is of another type, or of none.
    """
    found = _MESSAGE_TYPES.get(declared_type(headers, _MESSAGES))
    if found is None:
        raise UnsupportedBody(headers["content-type"], _MESSAGES)
    return found


async def require_json(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
    """A Litestar guard of routes that accept JSON.

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
