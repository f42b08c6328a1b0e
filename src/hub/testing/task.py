"""The handle of a task that a test has submitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar, final

from anyio import move_on_after
from google.protobuf.message import Message

from hub.ports.result_store import Missing
from hub.stores.memory.store import MemoryStore
from hub.submission.outcomes import cancelled_outcome, expired_outcome, expiry_time
from hub.task import Progress, Task, TaskRecord
from hub.testing.errors import TaskForgotten, error_of
from hub.testing.stream import LocalStream
from hub.types import ModelName, TaskId, TaskState, WallClock

Resp = TypeVar("Resp", bound=Message)


@final
class LocalTask(Generic[Resp]):
    """A task that was submitted by `LocalClient.submit`. Cancelling one of its waits leaves the task running.

    Attributes:
        id: Its id.
        model: The model that processes it.
    """

    def __init__(
        self, task: Task, response: type[Resp], *, streaming: bool, store: MemoryStore, clock: WallClock
    ) -> None:
        self.id: TaskId = task.id
        self.model: ModelName = task.model
        self._task = task
        self._response = response
        self._streaming = streaming
        self._store = store
        self._clock = clock

    @property
    def state(self) -> TaskState:
        """Its state now."""
        return self._record.state

    @property
    def attempt(self) -> int:
        """The number of its present or last run; 0 before the first one."""
        return self._record.attempt

    @property
    def retries(self) -> int:
        """Number of failed runs that were followed by another one, by `retry` of the model."""
        return self._record.retries

    @property
    def progress(self) -> Progress | None:
        """What its present run has reported last; reports are stored about five times a second."""
        return self._record.progress

    async def wait_for(self, condition: Callable[[LocalTask[Resp]], bool]) -> None:
        """Waits until a condition holds, or the task has ended. It is checked after each change of the task.

        ```python
        await task.wait_for(lambda task: task.state is hub.TaskState.RUNNING)
        ```
        """
        record = self._record
        while not condition(self) and not record.state.terminal:
            record = await self._changed(record, until_terminal=False)

    async def result(self) -> Resp:
        """Waits for the response. May be called again.

        Raises:
            TaskUnsuccessful: The task has ended without a response; `ModelFailed`, `TaskWasCancelled`, `DeadlineMissed`.
            TypeError: The model streams: `chunks()` has its responses.
        """
        if self._streaming:
            raise TypeError(f"{self.model} streams its response: use client.stream(), or chunks() of the task")
        record = await self._ended()
        if record.outcome is None or record.outcome.body is None:
            raise error_of(record)
        return self._response.FromString(record.outcome.body)

    def chunks(self, *, on_restart: Callable[[int], None] | None = None) -> LocalStream[Resp]:
        """The chunks of the task of a streaming model, from the first one. Leaving the stream does not cancel the task.

        Args:
            on_restart: Called with the number of a further attempt, whose chunks follow and make the ones so far void.
        """

        async def begun() -> LocalTask[Resp]:
            return self

        return LocalStream(begun, self._store, cancels=False, on_restart=on_restart)

    async def cancel(self) -> None:
        """Ends the task as cancelled, with all that it has called. Does nothing if it has ended."""
        record = self._record
        if not record.state.terminal:
            await self._store.finish([cancelled_outcome(record, self._clock())])

    async def _ended(self) -> TaskRecord:
        record = self._record
        while not record.state.terminal:
            record = await self._changed(record, until_terminal=True)
        return record

    async def _changed(self, seen: TaskRecord, *, until_terminal: bool) -> TaskRecord:
        """The record after a change, or after its deadline: then it is ended as gateways end late tasks."""
        found: TaskRecord | Missing | None = None
        with move_on_after(expiry_time(seen) - self._clock()):
            found = await self._store.wait_for_change(self.id, after=seen.revision, until_terminal=until_terminal)
        if found is None:
            await self.end_if_late()
        return self._record

    async def end_if_late(self) -> None:
        """Ends the task as expired if its deadline has passed and no instance says so, as a gateway does."""
        record = self._record
        if self._clock() >= expiry_time(record):
            await self._store.finish([expired_outcome(record, self._clock())])

    @property
    def seconds_left(self) -> float:
        """Seconds until `end_if_late` has something to do; infinity without a deadline."""
        return expiry_time(self._record) - self._clock()

    @property
    def message(self) -> Task:
        """What is on the queue."""
        return self._task

    def decode(self, body: bytes) -> Resp:
        """A chunk, or the response."""
        return self._response.FromString(body)

    @property
    def error(self) -> Exception | None:
        """Why the task has no response; `None` if it has one, or has not ended."""
        record = self._record
        return error_of(record) if record.outcome is not None and record.outcome.body is None else None

    @property
    def _record(self) -> TaskRecord:
        found = self._store.peek(self.id)
        if isinstance(found, Missing):
            raise TaskForgotten(self.id)
        return found
