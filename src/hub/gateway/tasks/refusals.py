"""Refuses requests in front of all layers and routes of the gateway, where a refusal costs a tenth of a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, final

from litestar.datastructures import Headers
from litestar.types import HTTPScope, Receive, Send

from hub.errors import HubError
from hub.gateway.errors import GatewayBusy
from hub.gateway.tasks.backpressure import QueueLimiter
from hub.gateway.tasks.congestion import Congestion, request_mark
from hub.gateway.tasks.metrics import SubmitMetrics
from hub.http.auth import credential_check
from hub.http.conditional import NO_STORE
from hub.http.middleware.asgi import HttpApp, encoded_problem
from hub.types import ModelName

_MODELS: Final = "/v1/models/"
_TASKS: Final = "/v1/tasks"
_SUBMITS: Final = frozenset({"", "tasks"})
"""What follows the name of the model in the path of a request that makes one task."""


class _Reply(NamedTuple):
    """A reply that is encoded once, for any number of requests."""

    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes

    async def send(self, send: Send) -> None:
        """Sends messages of its own each time: the layers around change them, each for its client."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.content, "more_body": False})


@final
class EarlyRefusals:
    """Decides which requests are refused before anything of them is read but the head.

    * Submits and calls of a model whose queue is full: 429, as `QueueLimiter.admit` would answer a little later.
    * These, batches and reads of tasks while the gateway does not keep up: 503. See `Congestion`.

    Everything else passes: health, metrics, pages, the list of models, and cancelling, which makes less work.

    Args:
        queues: Which queues are full.
        congestion: Whether the gateway keeps up.
        metrics: Counts the submits that are refused.
        keys: The credentials of clients. A request without one is left to the routes, which answer 401: a 429 would
            tell that there is such a model.
    """

    def __init__(
        self,
        queues: QueueLimiter,
        congestion: Congestion,
        metrics: SubmitMetrics,
        keys: Sequence[str],
    ) -> None:
        self._queues = queues
        self._congestion = congestion
        self._metrics = metrics
        self._accepts = credential_check(keys)
        self._busy = _encoded(GatewayBusy(congestion.busy_after))

    def layer(self, app: HttpApp) -> HttpApp:
        """A layer in front of `app`, which answers what is not refused.

        To be put in front of `hub.http.middleware.methods`: the server drops the body of a reply to a `HEAD`. A request
        that is not refused counts as under way from here on, except while its body is awaited.
        """
        congestion = self._congestion

        async def asgi(scope: HTTPScope, receive: Receive, send: Send) -> None:
            path, method = scope["path"], scope["method"]
            submits = method == "POST" and path.startswith(_MODELS)
            if not submits and not (method in {"GET", "HEAD"} and path.startswith(_TASKS)):
                await app(scope, receive, send)
                return
            refusal = self._full_queue(scope) if submits else None
            if refusal is None and congestion.refuses():
                refusal = self._busy
            if refusal is not None:
                await refusal.send(send)
                return
            mark = congestion.enter()

            async def receiving() -> Any:
                congestion.leave(mark)
                return await receive()

            token = request_mark.set(mark)
            try:
                await app(scope, receiving, send)
            finally:
                request_mark.reset(token)
                congestion.leave(mark)

        return asgi

    def _full_queue(self, scope: HTTPScope) -> _Reply | None:
        name, _, rest = scope["path"][len(_MODELS) :].partition("/")
        error = self._queues.known_full(ModelName(name)) if rest in _SUBMITS else None
        if error is None or not self._accepts(Headers.from_scope(scope)):
            return None
        self._metrics.refused(name, error)
        return _encoded(error)


def _encoded(error: HubError) -> _Reply:
    return _Reply(error.status, *encoded_problem(error, NO_STORE))
