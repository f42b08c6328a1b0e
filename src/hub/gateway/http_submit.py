"""Routes that give a model work."""

from __future__ import annotations

from typing import final

from anyio import current_time
from litestar import Response, post
from litestar.handlers import HTTPRouteHandler

from hub.errors import HubError, LinkLost
from hub.gateway.bodies import AcceptedBody, moment
from hub.gateway.catalog import Catalog, ServedModel
from hub.gateway.dispatch import Dispatch, TraceContext
from hub.gateway.errors import CallTimeout
from hub.gateway.http_tasks import message_reply, succeeded, task_body
from hub.gateway.metrics import GatewayMetrics
from hub.gateway.negotiation import JSON, HttpRequest, body_type, reply_type
from hub.gateway.replies import NO_STORE, json_reply
from hub.http.headers import MAX_WAIT, prefer_wait
from hub.task import Task, TaskRecord
from hub.vocabulary import TaskState

MAX_TRACE: int = 512
"""Characters of `traceparent` and of `tracestate` that are passed on (W3C Trace Context section 3.3.1.5)."""


@final
class SubmitRoutes:
    """`POST /v1/models/{model}` and `POST /v1/models/{model}/tasks`.

    Args:
        call_wait: Seconds that a synchronous call waits when the client does not say.
    """

    def __init__(self, catalog: Catalog, dispatch: Dispatch, metrics: GatewayMetrics, *, call_wait: float) -> None:
        self._catalog = catalog
        self._dispatch = dispatch
        self._metrics = metrics
        self._call_wait = min(call_wait, MAX_WAIT)

    def handlers(self) -> list[HTTPRouteHandler]:
        return [
            post("/v1/models/{model:str}", status_code=200)(self.call_model),
            post("/v1/models/{model:str}/tasks", status_code=202)(self.submit_task),
        ]

    async def call_model(self, request: HttpRequest, model: str) -> Response[bytes]:
        """The synchronous call: the reply is the response message itself."""
        served = self._catalog.find(model)
        kind = reply_type(request)
        asked = prefer_wait(request.headers.get("prefer"))
        task = await self._submit(request, served, waiting=True)
        record = await self._outcome(task, self._call_wait if asked is None else asked)
        if record is None or not record.state.terminal:
            raise CallTimeout(task.id, TaskState.QUEUED if record is None else record.state)
        headers = {**NO_STORE, "Hub-Task": task.id}
        if asked is not None:
            headers["Preference-Applied"] = f"wait={asked:.0f}"
        return message_reply(succeeded(record), served.codec, kind, headers)

    async def submit_task(self, request: HttpRequest, model: str) -> Response[bytes]:
        served = self._catalog.find(model)
        asked = prefer_wait(request.headers.get("prefer"))
        task = await self._submit(request, served, waiting=bool(asked))
        headers = {**NO_STORE, "Location": f"/v1/tasks/{task.id}"}
        record = await self._outcome(task, asked) if asked else None
        if record is not None and record.state.terminal:
            headers["Preference-Applied"] = f"wait={asked:.0f}"
            return json_reply(task_body(record, served.codec), headers=headers)
        accepted = AcceptedBody(
            id=task.id,
            model=task.model,
            state=TaskState.QUEUED if record is None else record.state,
            created_at=moment(task.created_at),
            expires_at=moment(task.created_at + task.result_ttl if record is None else record.expires_at),
        )
        return json_reply(accepted, status=202, headers=headers)

    async def _submit(self, request: HttpRequest, model: ServedModel, *, waiting: bool) -> Task:
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

    async def _outcome(self, task: Task, seconds: float) -> TaskRecord | None:
        """The task after the wait; `None` if the store cannot tell. The task is accepted, whatever happens here."""
        began = current_time()
        try:
            record = await self._dispatch.wait(task.id, seconds)
        except LinkLost:
            return None  # its id is still good, and the reply will name it
        self._metrics.waited(task.model, record.state, current_time() - began)
        return record
