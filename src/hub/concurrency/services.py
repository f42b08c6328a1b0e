"""Services in the background of a block, stopped in the reverse order of their start.

The problem: a process has parts that need each other. A server needs a worker, the worker needs a connection, and all of
them are to run until a signal comes; then each has to drain while the parts below it still work. A task group cancels all
of its tasks at the same moment. `background_service` makes the order of nesting the order of shutdown:

    async with (
        hold_open(open_broker, name="broker", retry_for=30) as broker,
        background_service(partial(run_worker, broker), name="worker"),
        background_service(partial(run_server, app), name="server") as url,
    ):
        print(f"listening on {url}")
        await sleep_forever()

Cancelled from outside, the block ends first, then the server, then the worker, which can still use the broker, then the
broker. If a service dies, everything inside its block is stopped in that order, then its error is raised.

Cancellation: reaches the block, and only then the service, which is shielded until the block has ended. A service that has
not reported that it is up yet is cancelled at once. The time that a service takes to stop is bounded by the service; what a
bug leaves unbounded is named in the log, and `hub.concurrency.process.run_process` bounds the whole shutdown.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from typing import Final, Protocol, TypeVar

import structlog
from anyio import CancelScope, create_task_group, current_time, sleep_forever
from anyio.abc import TaskStatus

from hub.concurrency.periodic import every
from hub.concurrency.reconnect import run_reconnecting

STOP_REPORT: Final = 10.0
"""Seconds between two lines that name a service which has not ended yet."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_on_stop: ContextVar[Callable[[], None]] = ContextVar("hub.on_stop", default=lambda: None)

_log = structlog.get_logger("hub.services")


class Service(Protocol[T_co]):
    """Runs until it is cancelled, and calls `task_status.started(value)` once, when it is up."""

    def __call__(self, *, task_status: TaskStatus[T_co]) -> Awaitable[None]: ...


class ServiceEnded(RuntimeError):
    """A service returned while it was still needed. It is a bug of the service."""


@asynccontextmanager
async def background_service(service: Service[T], *, name: str) -> AsyncGenerator[T]:
    """Runs a service in the background of the block, and stops it after the block has ended.

    Yields the value with which it reported that it is up. See the text of this module for the order of shutdown.

    Args:
        service: The service; `partial` binds its arguments.
        name: For task names and the log.

    Raises:
        ExceptionGroup: Around what the service or the block raised; an error of the service cancels the block. Around
            `ServiceEnded`, if the service returned before the block had ended.
    """
    scope, reporting = CancelScope(), CancelScope(shield=True)

    async def run(*, task_status: TaskStatus[T]) -> None:  # noqa: ASYNC128 - the service does
        try:
            with scope:
                await service(task_status=task_status)
            if not scope.cancel_called:
                raise ServiceEnded(f"{name} ended while it was still needed")
        finally:
            reporting.cancel(f"{name} has ended")

    async def report_that_it_has_not_ended() -> None:
        with reporting:
            stopped_at = current_time()
            async for _ in every(STOP_REPORT):
                _log.warning("waiting for a service to end", service=name, seconds=round(current_time() - stopped_at))

    async with create_task_group() as tg:
        value = await tg.start(run, name=f"hub.service {name}")
        scope.shield = True  # not before: what is not up yet has nothing to drain, and must not delay the exit
        try:
            yield value
        finally:
            _on_stop.get()()
            scope.cancel(f"{name} is not needed any more")
            tg.start_soon(report_that_it_has_not_ended, name=f"hub.service {name} stop")


@asynccontextmanager
async def hold_open(
    open_resource: Callable[[], AbstractAsyncContextManager[T]], *, name: str, retry_for: float = 0.0
) -> AsyncGenerator[T]:
    """Holds a resource open around the block, shielded like a service: it outlives what drains inside the block.

    A connection that was opened plainly would lose its background tasks to the very cancellation that starts the
    drain, when the last outcomes are still to be stored.

    Args:
        open_resource: Factory for the context manager; called once per attempt.
        name: For task names and the log.
        retry_for: Seconds to try again while opening raises `ConnectionLost`; an attempt that is under way then is
            cancelled. 0: a single attempt, which may take any time.

    Raises:
        ExceptionGroup: Around what opening, holding or closing the resource raised. `ConnectionRefused` is not retried.
    """

    async def hold(*, task_status: TaskStatus[T]) -> None:
        async def session(connected: Callable[[], None]) -> None:
            async with open_resource() as resource:
                connected()
                task_status.started(resource)
                await sleep_forever()

        await run_reconnecting(session, name=name, retry_for=retry_for, once=True)

    async with background_service(hold, name=name) as resource:  # pyright: ignore[reportUnknownVariableType]  # it is T
        yield resource


def on_stop(callback: Callable[[], None]) -> None:
    """Registers a callback for the beginning of a shutdown: it is called each time that the block of a service has ended.

    It holds for the services of the current task and of the tasks that it starts; a later call replaces it.
    """
    _on_stop.set(callback)
