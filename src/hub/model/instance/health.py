"""What tells an orchestrator how an instance is: no token is asked, and nothing is told that needs one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from litestar import Response, get
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from hub.model.instance.health_reporter import HealthReporter

_NO_STORE: Final = {"Cache-Control": "no-store"}


class LiveBody(Struct, frozen=True):
    """The answer to `GET /health/live`."""

    live: bool = True


class ReadyBody(Struct, frozen=True, kw_only=True):
    """The answer to `GET /health/ready`.

    Attributes:
        ready: Whether the instance takes tasks.
        reason: Why it does not; empty if it does. What the model's own `health` raised is not in it: `/ping` tells that, to
            those who hold the token.
    """

    ready: bool
    reason: str = ""


def health_routes(presence: HealthReporter) -> Sequence[ControllerRouterHandler]:
    """The routes for the probes of an orchestrator. Asking does not count as a ping of the registry."""

    @get("/health/live")
    async def live() -> Response[LiveBody]:
        """The event loop turns. An instance that drains is live until it ends."""
        return Response(LiveBody(), headers=_NO_STORE)

    @get("/health/ready")
    async def ready() -> Response[ReadyBody]:
        """200 if `/ping` would be answered with 200, the store takes outcomes and the broker messages, else 503.

        `Model.health` is asked, and has a second.
        """
        ping = await presence.ping()
        hindrance = presence.hindrance
        if not ping.reason and hindrance is not None:
            return Response(ReadyBody(ready=False, reason=hindrance), status_code=503, headers=_NO_STORE)
        if not ping.reason:
            return Response(ReadyBody(ready=True), headers=_NO_STORE)
        reason = "the model's health says no; GET /ping tells why" if ping.consuming else ping.reason
        return Response(ReadyBody(ready=False, reason=reason), status_code=503, headers=_NO_STORE)

    return live, ready
