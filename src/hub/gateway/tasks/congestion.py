"""Whether the gateway keeps up: how long the oldest submit or look-up is under way, and refusing more above a bound."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Final, final

import structlog
from anyio import current_time
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from hub.gateway.errors import GatewayBusy
from hub.http.middleware.asgi import send_problem

QUIET: Final = 60.0
"""Seconds between two log lines about refusals at least."""

_MODELS: Final = "/v1/models/"
_TASKS: Final = "/v1/tasks"

_log = structlog.get_logger("hub.gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class CongestionStatistics:
    """`under_way` submits and look-ups are not done yet, the oldest for `oldest` seconds; `refused` requests so far."""

    under_way: int
    oldest: float
    refused: int


@final
class Congestion:
    """Knows the submits that are not accepted yet and the look-ups of tasks that are not answered yet, with their age.

    The age of the oldest is what tells overload from a burst: requests that come at once are all young, however many
    they are. It grows when more arrives than this process, the broker or the store can take. What arrives then is
    refused until the oldest is young again, so that what has been let in is done in a bounded time. Waiting for an outcome
    does not count, and neither does waiting for the body of a client.

    Args:
        limit: Seconds that the oldest may be under way; 0: any time.
    """

    def __init__(self, limit: float = 0.0) -> None:
        self._limit = limit or inf
        self._began: dict[object, float] = {}
        self._refused = 0
        self._told = -inf

    def statistics(self) -> CongestionStatistics:
        return CongestionStatistics(under_way=len(self._began), oldest=self._oldest(), refused=self._refused)

    @contextmanager
    def step(self) -> Generator[None]:
        """Counts what is done in the block as under way."""
        mark = object()
        self._began[mark] = current_time()
        try:
            yield
        finally:
            del self._began[mark]

    def refusal(self) -> GatewayBusy | None:
        """The answer to a request that arrives now and must not be taken. Counts it."""
        oldest = self._oldest()
        if oldest <= self._limit:
            return None
        self._refused += 1
        if (now := current_time()) - self._told > QUIET:
            self._told = now
            _log.warning(
                "more requests than the gateway can take: further ones get 503 until it has caught up",
                under_way=len(self._began),
                oldest=round(oldest, 2),
                setting="busy_after",
            )
        return GatewayBusy(oldest)

    def _oldest(self) -> float:
        # A dict keeps the order of insertion, so the first one is the oldest.
        began = next(iter(self._began.values()), None)
        return 0.0 if began is None else current_time() - began


def with_refusals(app: ASGIApp, congestion: Congestion) -> ASGIApp:
    """Refuses submits, calls, batches and reads of tasks while the gateway does not keep up, before they cost anything.

    Everything else passes: health, metrics, pages, the list of models, and cancelling, which makes less work.
    """

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and _costs(scope) and (busy := congestion.refusal()) is not None:
            await send_problem(busy, send, headers={"Cache-Control": "no-store"})
        else:
            await app(scope, receive, send)

    return asgi


def _costs(scope: HTTPScope) -> bool:
    path, method = scope["path"], scope["method"]
    return (method == "POST" and path.startswith(_MODELS)) or (method in {"GET", "HEAD"} and path.startswith(_TASKS))
