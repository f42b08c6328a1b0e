"""Submits and calls as HTTP has them: headers, limits and metrics around `TaskService`."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Final, final

import structlog

from hub.errors import HubError, ModelUnavailable, QueueFull
from hub.gateway.errors import IdempotencyConflict
from hub.gateway.models.catalog import Catalog, ModelLoading, ServedModel
from hub.gateway.models.codec import CodecResolver
from hub.gateway.tasks.backpressure import QueueLimiter
from hub.gateway.tasks.headers import name_task
from hub.gateway.tasks.metrics import SubmitMetrics
from hub.gateway.tasks.options import ResultTtls, SubmitOptions
from hub.gateway.tasks.service import TaskService
from hub.http.dependencies import IncomingRequest
from hub.http.disconnect import ClientDisconnected, cancelled_on_disconnect
from hub.http.headers import MAX_WAIT
from hub.http.media_types import JSON, message_type
from hub.submission.outcomes import SubmitResult
from hub.task import TaskRecord

_log = structlog.get_logger("hub.gateway")


@final
class SubmissionService:
    """The common part of the routes that make tasks.

    Args:
        catalog: The models.
        tasks: Submits the tasks.
        queues: Limits the queues.
        metrics: Observes submits and waits.
        codecs: Encode the responses.
        call_wait: Seconds that a synchronous call waits unless its client says otherwise.
        ttls: The limits of `Hub-Result-TTL`.
        cancel_on_disconnect: Whether the task of a synchronous call is cancelled when its client disconnects.

    Attributes:
        call_wait: Seconds, at most `MAX_WAIT`.
        codecs: Encode the responses.
    """

    def __init__(
        self,
        catalog: Catalog,
        tasks: TaskService,
        queues: QueueLimiter,
        metrics: SubmitMetrics,
        codecs: CodecResolver,
        *,
        call_wait: float,
        ttls: ResultTtls,
        cancel_on_disconnect: bool,
    ) -> None:
        self.call_wait: Final = min(call_wait, MAX_WAIT)
        self.codecs: Final = codecs
        self._ttls = ttls
        self._cancel_on_disconnect = cancel_on_disconnect
        self._catalog = catalog
        self._tasks = tasks
        self._queues = queues
        self._metrics = metrics

    def find_model(self, name: str) -> ServedModel:
        """The live model of this name. Raises the errors of `Catalog.find`."""
        try:
            return self._catalog.find(name)
        except (ModelLoading, ModelUnavailable) as error:
            self._metrics.refused(error.model, error)
            raise

    def options(self, request: IncomingRequest, model: ServedModel) -> SubmitOptions:
        """The options in the headers of a request. Raises the errors of `SubmitOptions.from_headers`."""
        return SubmitOptions.from_headers(request.headers, model.known.limits, self._ttls)

    async def submit(self, request: IncomingRequest, model: ServedModel, *, waiting: bool) -> SubmitResult:
        """Makes a task of a request whose body is one request message, and names it in the reply.

        Raises:
            HubError: As `message_type`, `options` and `submit_message` say.
        """
        media_type = message_type(request.headers)
        options = self.options(request, model)
        try:
            # Neither the request nor this frame keeps the content, so that a big one goes when it is decoded.
            content = [await request.body()]
            with self._tasks.congestion.step():
                task = await self.submit_message(model, media_type, content.pop(), options, waiting=waiting)
        except IdempotencyConflict as conflict:
            name_task(request, conflict.task)
            raise
        name_task(request, task.id)
        return task

    async def submit_message(
        self, model: ServedModel, media_type: str, content: bytes, options: SubmitOptions, *, waiting: bool
    ) -> SubmitResult:
        """Checks one request message and makes a task of it; returns once that is accepted.

        Args:
            model: The model of the task.
            media_type: `JSON` or `PROTOBUF`, the form of `content`.
            content: The message as the client sent it.
            options: The headers of the request.
            waiting: Whether this process will wait for the end of the task.

        Raises:
            MalformedJson, InvalidDocument, UndecodableBody: The body is no request of the model.
            QueueLimitExceeded: The queue of the model is full.
            HubError: As `TaskService.submit` says.
        """
        began = perf_counter()
        try:
            await self._queues.admit(model)
            decode = model.codec.request_from_json if media_type == JSON else model.codec.checked_request
            body = await decode(content)
            del content
            try:
                with self._queues.reserve_slot(model.name):
                    task = await self._tasks.submit(model.name, model.fingerprint, body, options, waiting=waiting)
            except QueueFull as full:
                raise await self._queues.rejection(model) from full
        except HubError as error:
            self._metrics.refused(model.name, error)
            raise
        self._metrics.accepted(task, perf_counter() - began)
        return task

    async def outcome(self, task: SubmitResult, seconds: float) -> TaskRecord | None:
        """The record of a task once it has ended, or after `seconds` as it is by then; `None` if it cannot be read.

        The task is accepted, so a store that is out of reach for all of that time, or that has lost the task, is no
        error here: the reply names the task.
        """
        if task.record is not None and task.record.state.terminal:
            return task.record
        began = perf_counter()
        try:
            record = await self._tasks.wait_reconnecting(task, seconds)
        except HubError as error:
            _log.warning("the outcome of an accepted task cannot be read", task=task.id, reason=str(error))
            return None
        self._metrics.waited(task.model, record.state, perf_counter() - began)
        return record

    async def outcome_for(self, request: IncomingRequest, task: SubmitResult, seconds: float) -> TaskRecord | None:
        """As `outcome`, until the client of `request` disconnects. The task goes on then.

        Raises:
            ClientDisconnected: The client has disconnected.
        """
        work = partial(self.outcome, task, seconds)
        return await cancelled_on_disconnect(request.scope, request.receive, work)

    async def call(self, request: IncomingRequest, task: SubmitResult, seconds: float) -> TaskRecord | None:
        """As `outcome_for`, for a synchronous call: the task is cancelled when the client disconnects.

        It goes on if the client gave an `Idempotency-Key`, with which it may send the request again.

        Raises:
            ClientDisconnected: The client has disconnected.
        """
        try:
            return await self.outcome_for(request, task, seconds)
        except ClientDisconnected as gone:
            disconnected = gone
        await self.abandon(task)
        raise disconnected

    async def abandon(self, task: SubmitResult) -> None:
        """Cancels the task of a call whose client has disconnected, unless that gave an `Idempotency-Key`."""
        if not self._cancel_on_disconnect or task.idempotent:
            return
        _log.info("the client of a call has disconnected", task=task.id, model=task.model)
        with suppress(HubError):  # no client is left to answer
            await self._tasks.cancel(task.id)
