"""From a request to an accepted task, and to its outcome."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Final, final

import structlog
from anyio import current_time

from hub.errors import HubError, QueueFull
from hub.gateway.accepted import Accepted
from hub.gateway.catalog import Catalog, ServedModel
from hub.gateway.codecs import Codecs
from hub.gateway.dispatch import Dispatch
from hub.gateway.errors import HungUp, IdempotencyConflict, ModelLoading, ModelNotAlive
from hub.gateway.hanging_up import while_connected
from hub.gateway.metrics import GatewayMetrics
from hub.gateway.naming import name_task
from hub.gateway.negotiation import JSON, HttpRequest, body_type
from hub.gateway.queues import Queues
from hub.gateway.submit_options import ResultTtls, SubmitOptions
from hub.http.headers import MAX_WAIT
from hub.task import TaskRecord

_log = structlog.get_logger("hub.gateway")


@final
class Admission:
    """What the routes that take work have in common.

    Attributes:
        call_wait: Seconds that a synchronous call waits when the client does not say.
        codecs: For the outcomes.
    """

    def __init__(
        self,
        catalog: Catalog,
        dispatch: Dispatch,
        queues: Queues,
        metrics: GatewayMetrics,
        codecs: Codecs,
        *,
        call_wait: float,
        ttls: ResultTtls,
        cancel_on_disconnect: bool,
    ) -> None:
        self.call_wait: Final = min(call_wait, MAX_WAIT)
        self.codecs: Final = codecs
        self._ttls = ttls
        self._cancels = cancel_on_disconnect
        self._catalog = catalog
        self._dispatch = dispatch
        self._queues = queues
        self._metrics = metrics

    def find(self, model: str) -> ServedModel:
        """The model, if it is alive. Raises what `Catalog.find` does."""
        try:
            return self._catalog.find(model)
        except (ModelLoading, ModelNotAlive) as error:
            self._metrics.refused(error.model, error.code)
            raise

    def options(self, request: HttpRequest, model: ServedModel) -> SubmitOptions:
        """What the headers of a request say of the tasks that it makes. Raises what `SubmitOptions.of` does."""
        return SubmitOptions.of(request.headers, model.known.terms, self._ttls)

    async def submit(self, request: HttpRequest, model: ServedModel, *, waiting: bool) -> Accepted:
        """Makes a task of a request whose body is one request message, and names it. Raises what its parts do."""
        kind = body_type(request)
        options = self.options(request, model)
        try:
            content = await request.body()
            with self._dispatch.congestion.step():
                task = await self.submit_body(model, kind, content, options, waiting=waiting)
        except IdempotencyConflict as conflict:
            name_task(request, conflict.task)
            raise
        name_task(request, task.id)
        return task

    async def submit_body(
        self, model: ServedModel, kind: str, content: bytes, options: SubmitOptions, *, waiting: bool
    ) -> Accepted:
        """Checks one request message and makes a task of it; returns once that is accepted.

        Args:
            model: Whose task it is.
            kind: `JSON` or `PROTOBUF`, which `content` is.
            content: The message as the client sent it.
            options: What else the client says of it.
            waiting: Whether somebody waits here for its end.

        Raises:
            MalformedJson, InvalidDocument, UndecodableBody: The body is no request of the model.
            Overloaded: Its queue is full.
            HubError: As `Dispatch.submit` says.
        """
        began = current_time()
        try:
            await self._queues.admit(model)
            read = model.codec.request_from_json if kind == JSON else model.codec.checked_request
            body = await read(content)
            accepted = await self._submit(model, body, options, waiting=waiting)
        except HubError as error:
            self._metrics.refused(model.name, error.code)
            raise
        self._metrics.accepted(model.name, current_time() - began, replayed=accepted.replayed)
        return accepted

    async def outcome(self, task: Accepted, seconds: float) -> TaskRecord | None:
        """The task once it has ended, or after `seconds` as it is by then; `None` if the store cannot tell.

        The task is accepted, so a store that is out of reach for all of that time, or that has lost the task, is no
        error here: the reply names it.
        """
        if task.record is not None and task.record.state.terminal:
            return task.record
        began = current_time()
        try:
            record = await self._dispatch.wait_out(task, seconds)
        except HubError as error:
            _log.warning("the outcome of an accepted task cannot be told", task=task.id, reason=str(error))
            return None
        self._metrics.waited(task.model, record.state, current_time() - began)
        return record

    async def call(self, request: HttpRequest, task: Accepted, seconds: float) -> TaskRecord | None:
        """The same for a client that waits for nothing else: when it hangs up, its task is cancelled.

        Unless it gave an `Idempotency-Key`: then it may come again for the same task.

        Raises:
            HungUp: It did; there is nobody to answer.
        """
        if not self._cancels or task.keyed:
            return await self.outcome(task, seconds)
        try:
            return await while_connected(request.receive, partial(self.outcome, task, seconds))
        except HungUp as gone:
            hung_up = gone
        _log.info("the caller has hung up", task=task.id, model=task.model)
        with suppress(HubError):  # nobody is there to be told
            await self._dispatch.cancel(task.id)
        raise hung_up

    async def _submit(self, model: ServedModel, body: bytes, options: SubmitOptions, *, waiting: bool) -> Accepted:
        try:
            with self._queues.place(model.name):
                return await self._dispatch.submit(model.name, model.fingerprint, body, options, waiting=waiting)
        except QueueFull as full:
            raise await self._queues.refusal(model) from full
