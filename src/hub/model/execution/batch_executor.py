"""Executes `process_batch` of a model: from the serialized requests of concurrent tasks to their serialized responses."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Self, cast, final

from anyio import AsyncContextManagerMixin
from google.protobuf.message import Message
from opentelemetry.trace import Link, SpanContext, SpanKind, get_current_span
from structlog.contextvars import bind_contextvars
from typing_extensions import override

from hub.model.current import CurrentTask, current_tasks, processing
from hub.model.errors import FrameTooLarge, NotInTask
from hub.model.execution.batch_results import METHOD, checked
from hub.model.execution.codec import MessageCodec
from hub.model.execution.dynamic_batcher import DynamicBatcher, OnAbandoned
from hub.model.execution.model_method import ModelMethod
from hub.model.execution.own_loop import OwnLoop
from hub.model.execution.process.frames import REQUEST_LIMIT
from hub.model.execution.process.pool import ProcessPool
from hub.model.model import AnyModel
from hub.observability.tracing import tracer


@dataclass(frozen=True, slots=True)
class _Request:
    """A request of a batch.

    Attributes:
        message: What the model gets: a message or bytes; for a model in processes, the serialized message.
        task: The task; `None` in tests that have none.
        span: The span of the run of the task.
    """

    message: Message | bytes
    task: CurrentTask | None
    span: SpanContext


@final
class BatchExecutor(AsyncContextManagerMixin):
    """Calls `process_batch` of one model, in batches of up to `max_batch_size` concurrent requests, while its block runs.

    Args:
        model: The model.
        codec: Its messages.
        loop: The event loop of its coroutines; `None` for that of the caller.
        pool: Its processes; `None` to call `model` itself. Entered by the caller.
    """

    def __init__(self, model: AnyModel, codec: MessageCodec, *, loop: OwnLoop | None, pool: ProcessPool | None) -> None:
        self._name = model.name
        self._codec = codec
        self._pool = pool
        self._method = ModelMethod(model, METHOD, threads=model.concurrency, loop=loop)
        self._batcher: DynamicBatcher[_Request, object] = DynamicBatcher(
            self._process if pool is None else self._process_elsewhere,
            name=model.name,
            limit=model.max_batch_size,
            wait=model.max_batch_wait,
            concurrency=model.concurrency,
        )
        self.flush = self._batcher.flush
        self.statistics = self._batcher.statistics

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with self._batcher:
            yield self

    async def execute(self, body: bytes, on_abandoned: OnAbandoned, *, alone: bool) -> bytes:
        """Processes a serialized request in a batch, and returns the serialized response.

        Args:
            body: The request.
            on_abandoned: Called on cancellation if its batch is being processed, with an event that is set when that ends.
            alone: In a batch without others.

        Raises:
            Undecodable: `body` is not the request message of the model. The others of its batch are processed without it.
            WrongResponse: In its place of what the model returned is neither its response message nor an exception.
            UnreadableResponse: In its place is a message that cannot be parsed.
            FrameTooLarge: `body` is too large for a process of the model.
            WrongBatch: The model did not return as many responses as there were requests.
            Exception: What the model returned in its place, or raised for the batch; see `Executor.execute`.
        """
        if self._pool is not None and len(body) > REQUEST_LIMIT:
            raise FrameTooLarge(len(body), REQUEST_LIMIT)
        message = self._codec.decode(body) if self._pool is None else body
        request = _Request(message, _task_of_caller(), get_current_span().get_span_context())
        response = await self._batcher.submit(request, on_abandoned, alone=alone)
        return cast("bytes", response) if self._pool else self._codec.encode(response)  # those of processes are encoded

    async def _process(self, requests: Sequence[_Request], on_abandoned: OnAbandoned) -> Sequence[object]:
        with self._batch(requests):
            returned = await self._method.call([each.message for each in requests], on_abandoned=on_abandoned)
            return checked(returned, len(requests), self._name)

    async def _process_elsewhere(self, requests: Sequence[_Request], _: OnAbandoned) -> Sequence[bytes | Exception]:
        assert self._pool is not None  # noqa: S101 - see __init__
        with self._batch(requests):
            return await self._pool.call_batch([(cast("bytes", each.message), each.task) for each in requests])

    @contextmanager
    def _batch(self, requests: Sequence[_Request]) -> Generator[None]:
        """The block processes these requests: its context is that of the batch, and of none of its tasks."""
        tasks = [each.task for each in requests if each.task is not None]
        if tasks:
            bind_contextvars(model=tasks[0].model, instance=tasks[0].instance, batch=len(requests))
        with _batch_span(self._name, [each.span for each in requests]), processing(tasks):
            yield


def _task_of_caller() -> CurrentTask | None:
    try:
        (task,) = current_tasks()
    except NotInTask:
        return None
    return task


@contextmanager
def _batch_span(model: str, members: Sequence[SpanContext]) -> Generator[None]:
    """Makes a span the current one that belongs to no trace of the tasks, and is linked to the spans of all of them.

    As OpenTelemetry's semantic conventions for messaging spans say of batches: a span has one parent, so links connect it
    to many.
    """
    maker = tracer()
    if maker is None:
        yield
        return
    with maker.start_as_current_span(
        f"{METHOD} {model}",
        kind=SpanKind.INTERNAL,
        links=[Link(member) for member in members if member.is_valid],
        attributes={"messaging.batch.message_count": len(members)},
        record_exception=False,  # the spans of the tasks have it
        set_status_on_exception=False,
    ):
        yield
