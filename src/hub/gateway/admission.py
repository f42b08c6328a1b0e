"""From a request to an accepted task, and to its outcome."""

from __future__ import annotations

from typing import Final, final

from anyio import current_time

from hub.errors import HubError, LinkLost
from hub.gateway.catalog import Catalog, ServedModel
from hub.gateway.dispatch import Dispatch, TraceContext
from hub.gateway.metrics import GatewayMetrics
from hub.gateway.negotiation import JSON, HttpRequest, body_type
from hub.http.headers import MAX_WAIT
from hub.task import Task, TaskRecord

MAX_TRACE: Final = 512
"""Characters of `traceparent` and of `tracestate` that are passed on (W3C Trace Context section 3.3.1.5)."""


@final
class Admission:
    """What the two routes that take work have in common.

    Attributes:
        call_wait: Seconds that a synchronous call waits when the client does not say.
    """

    def __init__(self, catalog: Catalog, dispatch: Dispatch, metrics: GatewayMetrics, *, call_wait: float) -> None:
        self.call_wait: Final = min(call_wait, MAX_WAIT)
        self._catalog = catalog
        self._dispatch = dispatch
        self._metrics = metrics

    def find(self, model: str) -> ServedModel:
        """The model, if it is alive. Raises what `Catalog.find` does."""
        return self._catalog.find(model)

    async def submit(self, request: HttpRequest, model: ServedModel, *, waiting: bool) -> Task:
        """Checks the body of a request and makes a task of it; returns once that is accepted.

        Raises:
            UnsupportedBody, MalformedJson, InvalidDocument, UndecodableBody: The body is no request of the model.
            HubError: As `Acceptance` says.
        """
        kind = body_type(request)
        content = await request.body()
        body = model.codec.request_from_json(content) if kind == JSON else model.codec.checked_request(content)
        trace = TraceContext(
            request.headers.get("traceparent", "")[:MAX_TRACE], request.headers.get("tracestate", "")[:MAX_TRACE]
        )
        began = current_time()
        result = "cancelled"
        try:
            task = await self._dispatch.submit(model.name, model.fingerprint, body, trace=trace, waiting=waiting)
            result = "accepted"
        except HubError as error:
            result = error.code
            raise
        finally:
            self._metrics.submitted(model.name, result, current_time() - began)
        return task

    async def outcome(self, task: Task, seconds: float) -> TaskRecord | None:
        """The task once it has ended, or after `seconds` as it is by then; `None` if the store cannot tell.

        The task is accepted, so a lost store is no error here: the reply still names it.
        """
        began = current_time()
        try:
            record = await self._dispatch.wait(task.id, seconds)
        except LinkLost:
            return None
        self._metrics.waited(task.model, record.state, current_time() - began)
        return record
