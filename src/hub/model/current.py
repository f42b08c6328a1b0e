"""`current_task()` and `current_tasks()`: what the calling code is processing."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final, TypeVar, final, overload

from google.protobuf.message import Message

from hub.model.calls import ChildTask, TaskCalls, call_request, parsed
from hub.model.errors import CallsUnavailable, NotInTask
from hub.model.model import Model
from hub.types import InstanceId, ModelName, TaskId

Req = TypeVar("Req", bound=Message)
Resp = TypeVar("Resp", bound=Message)

LONGEST_MESSAGE: Final = 1_000
"""Characters of a progress message that are stored."""


@final
class TaskControl:
    """The link between the run of a task and the code of its model.

    Args:
        report_progress: Called with a fraction and a message, from the thread that the model runs in; returns at once.
        calls: Makes calls of other models; `None` where that is not possible.
    """

    __slots__ = ("_calls", "cancelled", "report_progress")

    def __init__(self, report_progress: Callable[[float | None, str], None], calls: TaskCalls | None = None) -> None:
        self.report_progress = report_progress
        self.cancelled = False
        self._calls = calls

    @property
    def calls(self) -> TaskCalls:
        """Raises `CallsUnavailable` where there are none."""
        if self._calls is None:
            raise CallsUnavailable(
                "this model has run_in_process", "leave run_in_process out, or let the caller make the call"
            )
        return self._calls


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentTask:
    """The task of a request that `process_request` or `process_batch` is called with.

    Attributes:
        attempt: Number of this run of the task, from 1. Above 1 an earlier run was interrupted, possibly half-way, or failed
            and is retried.
        deadline: Unix time in seconds after which the outcome is not needed; `None` if there is no limit.
    """

    id: TaskId
    attempt: int
    deadline: float | None
    model: ModelName
    instance: InstanceId
    control: TaskControl = field(repr=False, compare=False)

    @property
    def cancelled(self) -> bool:
        """Whether the task has been cancelled or its deadline has passed.

        For a plain `process_request`, whose thread cannot be interrupted: check it regularly, and return. An `async def`
        is cancelled at its next `await`.
        """
        return self.control.cancelled

    def report(self, fraction: float | None = None, message: str = "") -> None:
        """Reports progress; clients receive it as `progress` of the task, shortly afterwards.

        Returns at once. It may be called at any rate (the last report counts, about five a second are sent), from the event
        loop, a worker thread, or a process of the model's own. Reports are lost while the store is out of reach.

        Args:
            fraction: Share of the work that is done, from 0 to 1; `None` if unknown.
            message: Text for clients, up to `LONGEST_MESSAGE` characters.

        Raises:
            ValueError: `fraction` is not between 0 and 1.
        """
        if fraction is not None and not (isfinite(fraction) and 0 <= fraction <= 1):
            raise ValueError(f"fraction is {fraction!r}; report progress as a number from 0 to 1, or None")
        if not self.cancelled:
            self.control.report_progress(fraction, message[:LONGEST_MESSAGE])

    @overload
    async def call(self, model: type[Model[Req, Resp]], request: Req) -> Resp: ...

    @overload
    async def call(self, model: str, request: Message, response: type[Resp]) -> Resp: ...

    async def call(
        self, model: type[Model[Any, Any]] | str, request: Message, response: type[Any] | None = None
    ) -> Any:
        """Sends a request to another model as a task of its own, waits, and returns its response.

        ```python
        reply = await hub.current_task().call(Other, OtherRequest(text="..."))
        reply = await hub.current_task().call("Other", OtherRequest(text="..."), OtherResponse)
        ```

        The task belongs to this one: it has the same trace, its deadline is the earliest of this task's, of the cancel
        scopes around the call and of the other model's `default_timeout`, and it ends at the latest when this task ends, in
        any way. A later attempt of this task that makes the same call finds the response, or the task that still runs,
        instead of running it again; a task that has ended without a response is made anew. The call counts as running
        here all the time, so this task keeps its place in `concurrency`.

        If the caller is cancelled, as by `anyio.move_on_after` or by an error beside it in a task group, the task is
        cancelled too. Make many calls at once in an ordinary task group.

        Args:
            model: The class of the model, or its name, which then needs `response`.
            request: Its request message.
            response: The class of its response message.

        Raises:
            CallFailed: The task has failed, was cancelled, or its deadline has passed.
            CallCycle: The model is processing one of the tasks that wait for this one, or this one.
            UnknownModel: No model of that name has ever logged in.
            ModelUnavailable: No instance of it is alive.
            TooManyCalls: This task has made `hub.ports.result_store.MAX_CHILDREN` calls, all attempts together.
            QueueFull: The broker takes no more messages for the model.
            ConnectionLost: Broker or store were out of reach for the instance's `store_timeout`.
            CallsUnavailable: The caller is not in the event loop that hub runs the model in.
            RunOver: This task has ended.
        """
        sent, expected = call_request(model, request, response)
        return parsed(sent.model, None, expected, await self.control.calls.call(sent))

    @overload
    async def submit(self, model: type[Model[Req, Resp]], request: Req) -> ChildTask[Resp]: ...

    @overload
    async def submit(self, model: str, request: Message, response: type[Resp]) -> ChildTask[Resp]: ...

    async def submit(
        self, model: type[Model[Any, Any]] | str, request: Message, response: type[Any] | None = None
    ) -> ChildTask[Any]:
        """As `call`, but returns as soon as the task is accepted: `ChildTask.result()` waits for its response.

        The task ends when this one ends; a task that is to go on belongs to a client.

        Raises:
            HubError: As `call` says, `CallFailed` apart.
        """
        sent, expected = call_request(model, request, response)
        calls = self.control.calls
        return ChildTask(calls, await calls.submit(sent), sent.model, expected)

    @overload
    def call_sync(self, model: type[Model[Req, Resp]], request: Req) -> Resp: ...

    @overload
    def call_sync(self, model: str, request: Message, response: type[Resp]) -> Resp: ...

    def call_sync(self, model: type[Model[Any, Any]] | str, request: Message, response: type[Any] | None = None) -> Any:
        """As `call`, for a plain `def`: blocks the calling thread until the response is there.

        When this task is cancelled or its deadline passes, the call ends with an error at once. Cancel scopes do not bound
        it. With `run_in_process` there are no calls.

        Raises:
            HubError: As `call` says; `CallsUnavailable` in the thread of an event loop.
        """
        sent, expected = call_request(model, request, response)
        return parsed(sent.model, None, expected, self.control.calls.call_from_thread(sent))


_current: Final[ContextVar[CurrentTask | tuple[CurrentTask, ...]]] = ContextVar("hub.current_task")
"""A tuple in `process_batch`."""


def current_task() -> CurrentTask:
    """The task of the calling `process_request`, also in threads and tasks that it started.

    Raises:
        NotInTask: The caller is not in a `process_request`. In `process_batch`, `current_tasks` has the tasks.
    """
    current = _current.get(None)
    if current is None or isinstance(current, tuple):
        raise NotInTask(0 if current is None else len(current))
    return current


def current_tasks() -> tuple[CurrentTask, ...]:
    """The tasks of the calling `process_batch`, one for each request, in the same order; in `process_request` its only one.

    A task that has left its batch, because it was cancelled or its deadline has passed, keeps its place and is `cancelled`.

    Raises:
        NotInTask: The caller is neither in a `process_batch` nor in a `process_request`.
    """
    current = _current.get(None)
    if current is None:
        raise NotInTask
    return current if isinstance(current, tuple) else (current,)


@contextmanager
def processing(task: CurrentTask | Sequence[CurrentTask]) -> Generator[None]:
    """Makes `task` the current one while the block runs; a sequence, those of a batch."""
    token = _current.set(task if isinstance(task, CurrentTask) else tuple(task))
    try:
        yield
    finally:
        _current.reset(token)
