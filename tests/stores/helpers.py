"""The adapters that the contract suite of the `ResultStore` port runs against, and tasks for its tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar, cast, final

from anyio import CancelScope
from anyio.lowlevel import checkpoint

from hub.cli.reload.remote import STORE, remote_store
from hub.ports.result_store import ProgressReport, ResultStore
from hub.stores import StoreOptions, open_store
from hub.task import Failure, Outcome, Progress, Task, TaskRecord
from hub.types import Fingerprint, InstanceId, ModelName, TaskState, new_task_id
from tests.cli.remote import calls_to

TIMEOUT: Final = 30.0
"""Seconds that any one wait of the suite may take."""

MANY: Final = 1000
"""Attempts that no test uses up."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter on one server. Each store that it opens stands for a process of its own, except in memory."""

    url: str
    remote: bool = False

    @property
    def shared(self) -> bool:
        """Whether two stores that are opened here see the same records."""
        return not self.url.startswith("memory:")

    def open(self, options: StoreOptions | None = None) -> AbstractAsyncContextManager[ResultStore]:
        opened = open_store(self.url, options)
        return _called(opened) if self.remote else opened


@asynccontextmanager
async def _called(opening: AbstractAsyncContextManager[ResultStore]) -> AsyncGenerator[ResultStore]:
    async with opening as opened, calls_to(**{STORE: opened}) as calls:
        store = remote_store(calls, opened.channel)
        vars(store)["statistics"] = opened.statistics  # those of the process that has the store
        yield store


ONE: Final = InstanceId("instance-1")
TWO: Final = InstanceId("instance-2")


def task(
    *,
    result_ttl: float = 60.0,
    reply_channel: str = "",
    deadline: float | None = None,
    created_at: float = 1.7e9,
    key: str = "",
) -> Task:
    return Task(
        id=new_task_id(),
        model=ModelName("ModelA"),
        body=b"request",
        idempotency_key=key,
        fingerprint=Fingerprint("f" * 64),
        created_at=created_at,
        deadline=deadline,
        result_ttl=result_ttl,
        reply_channel=reply_channel,
    )


def success(of: Task, body: bytes = b"response", *, by: InstanceId = ONE) -> Outcome:
    return Outcome(
        task_id=of.id,
        state=TaskState.SUCCEEDED,
        body=body,
        attempt=1,
        instance=by,
        started_at=1.7e9 + 1.25,
        finished_at=1.7e9 + 2.5,
    )


def failure(of: Task, message: str = "boom") -> Outcome:
    return Outcome(
        task_id=of.id,
        state=TaskState.FAILED,
        failure=Failure(code="model_error", message=message, type="builtins.ValueError"),
        attempt=1,
        finished_at=1.7e9 + 3,
    )


def cancelled(of: Task) -> Outcome:
    """As a gateway says it, which runs nothing itself."""
    return Outcome(
        task_id=of.id,
        state=TaskState.CANCELLED,
        failure=Failure(code="cancelled", message="cancelled by its client"),
        finished_at=1.7e9 + 4,
    )


def death(of: Task) -> Outcome:
    return Outcome(
        task_id=of.id,
        state=TaskState.DEAD,
        failure=Failure(code="attempts_exhausted", message="it killed its instances"),
        attempt=1,
        instance=ONE,
        finished_at=1.7e9 + 5,
    )


def said(
    of: Task, attempt: int, *, fraction: float | None = 0.5, message: str = "half", at: float = 1.7e9 + 2
) -> ProgressReport:
    return ProgressReport(task_id=of.id, attempt=attempt, progress=Progress(fraction=fraction, message=message, at=at))


async def record_of(store: ResultStore, of: Task) -> TaskRecord:
    (found,) = await store.fetch([of.id])
    assert isinstance(found, TaskRecord)
    return found


async def until(condition: Callable[[], bool]) -> None:
    """Returns once `condition` holds; for what sends no notification."""
    while True:
        if condition():
            return
        await checkpoint()


def timeless(record: TaskRecord) -> TaskRecord:
    return replace(record, started_at=None, updated_at=0.0, expires_at=0.0)


@final
class CancelledAt:
    """Awaits a coroutine and cancels a scope when it waits for the n-th time (from 1).

    `waits` says how often it waited, so a sweep knows when it has seen every checkpoint.
    """

    def __init__(self, coroutine: Coroutine[object, object, T], nth: int, scope: CancelScope) -> None:
        self._coroutine = cast("Coroutine[object, object, object]", coroutine)
        self._nth = nth
        self._scope = scope
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, object]:
        step: Callable[[], object] = lambda: self._coroutine.send(None)  # noqa: E731
        while True:
            try:
                waiting_for = step()
            except StopIteration as done:
                return done.value
            self.waits += 1
            if self.waits == self._nth:
                self._scope.cancel()
            try:
                value = yield waiting_for
            except BaseException as error:  # noqa: ASYNC103, BLE001 - handed on to the coroutine, as `yield from` does
                step = lambda error=error: self._coroutine.throw(error)  # type: ignore[misc]  # noqa: E731
            else:
                step = lambda value=value: self._coroutine.send(value)  # type: ignore[misc]  # noqa: E731
