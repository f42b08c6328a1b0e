"""Health routes of an instance for an orchestrator. They need no token, and tell nothing that needs one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from litestar import Response, get
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from hub.model.instance.health_reporter import HealthReporter

_NO_STORE: Final = {"Cache-Control": "no-store"}


class LiveBody(Struct, frozen=True):
    """The reply to `GET /health/live`."""

    live: bool = True


class ReadyBody(Struct, frozen=True, kw_only=True):
    """The reply to `GET /health/ready`.

    Attributes:
        ready: Whether the instance receives tasks.
        reason: Why it does not; empty if it does. What the model's `health` raised is only in the reply to `/ping`, which
            needs the token.
    """

    ready: bool
    reason: str = ""


def health_routes(reporter: HealthReporter) -> Sequence[ControllerRouterHandler]:
    """The routes for the probes of an orchestrator. They do not count as pings of the registry."""

    @get("/health/live")
    async def live() -> Response[LiveBody]:
        """200 as long as the event loop runs. An instance that drains is live until it ends."""
        return Response(LiveBody(), headers=_NO_STORE)

    @get("/health/ready")
    async def ready() -> Response[ReadyBody]:
        """200 if the reply to `/ping` would be 200, the store accepts outcomes and the broker messages; else 503.

        Calls `Model.health`, which has a second.
        """
        ping = await reporter.ping()
        hindrance = reporter.hindrance
        if not ping.reason and hindrance is not None:
            return Response(ReadyBody(ready=False, reason=hindrance), status_code=503, headers=_NO_STORE)
        if not ping.reason:
            return Response(ReadyBody(ready=True), headers=_NO_STORE)
        reason = "the model's health raised an error, which GET /ping shows" if ping.consuming else ping.reason
        return Response(ReadyBody(ready=False, reason=reason), status_code=503, headers=_NO_STORE)

    return live, ready
