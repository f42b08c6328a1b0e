"""The root of a process: the event loop, the signals, the order of shutdown, the exit code."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from math import inf
from typing import Any, Final, TypeVar

import anyio
import structlog
from anyio import CancelScope, create_task_group, current_time, open_signal_receiver, sleep, sleep_forever
from anyio.abc import TaskStatus

from hub.errors import HubError, LinkLost, LinkRefused
from hub.settings import Backend
from hub.supervision import AttemptLog, Backoff, unwrapped

EXIT_FAILURE: Final = 1

T = TypeVar("T")

_log = structlog.get_logger("hub.lifecycle")


@asynccontextmanager
async def running(component: Callable[..., Awaitable[None]], *, name: str) -> AsyncGenerator[Any]:
    """Runs a component in the background of the block, and stops it after the block has ended.

    Nest these to get an order of shutdown: a cancellation from outside reaches the innermost block first, because each
    component is shielded until the block inside it is done. Yields what the component told its `task_status`.

    The component must bound its own shutdown. If it dies the block is cancelled, and its error leaves in an
    `ExceptionGroup`.
    """
    scope = CancelScope()

    async def scoped(*, task_status: TaskStatus[Any]) -> None:
        with scope:
            await component(task_status=task_status)

    async with create_task_group() as tg:
        value = await tg.start(scoped, name=f"hub.component {name}")
        scope.shield = True  # not before: what has not come up yet has nothing to drain, and must not hold up the exit
        try:
            yield value
        finally:
            scope.cancel(f"{name} is not needed any more")


@asynccontextmanager
async def kept_open(
    open_resource: Callable[[], AbstractAsyncContextManager[T]], *, name: str, patience: float = 0.0
) -> AsyncGenerator[T]:
    """Holds a resource open around the block, shielded like a component: it outlives what drains inside the block.

    A connection that was opened plainly would lose its background tasks to the very cancellation that starts the
    drain, just when the last outcomes are to be stored.

    Args:
        open_resource: Makes the context manager; called once for each try.
        name: For task names.
        patience: Seconds to try again while opening raises `LinkLost`; an attempt that is under way then is cancelled.
            0: a single attempt, which takes as long as it takes.

    Raises:
        ExceptionGroup: Around what opening, holding or closing the resource raised. `LinkRefused` is not retried.
    """

    async def hold(*, task_status: TaskStatus[T]) -> None:
        give_up_at = current_time() + patience
        attempts = AttemptLog(name)
        last: LinkLost | None = None
        for delay in Backoff().delays():
            with CancelScope(deadline=give_up_at if patience else inf) as scope:
                try:
                    async with open_resource() as resource:
                        scope.deadline = inf
                        attempts.succeeded()
                        task_status.started(resource)
                        await sleep_forever()
                except LinkLost as lost:
                    last = lost
                    if attempts.reached or isinstance(lost, LinkRefused):
                        raise
            failure = last or LinkLost(name, f"no answer within {patience:g} s")
            if current_time() + delay > give_up_at:
                raise failure
            attempts.failed(failure.reason, delay)
            await sleep(delay)

    async with running(hold, name=name) as resource:
        yield resource


def run_process(main: Callable[[], Awaitable[None]], *, backend: Backend) -> int:
    """Runs `main` as the whole process and returns its exit code.

    The first SIGTERM or SIGINT cancels `main`, whose components drain; the second one ends the process at once.

    Returns:
        0 after a normal end or a signal; the `exit_code` of a `HubError`; 1 for anything else.
    """
    options: dict[str, Any] = {"use_uvloop": True} if backend == "asyncio" else {}
    try:
        with unwrapped():
            anyio.run(_with_signals, main, backend=backend, backend_options=options)
    except HubError as error:
        _log.error("\n".join([str(error), *getattr(error, "__notes__", ())]), code=error.code)
        return error.exit_code
    except BaseException as error:  # noqa: ASYNC103, BLE001 - the last frame of the process: log it all, then say so by the code
        _log.critical("the process failed", exc_info=error)
        return EXIT_FAILURE  # noqa: ASYNC104 - no event loop is running any more
    return 0


async def _with_signals(main: Callable[[], Awaitable[None]]) -> None:
    main_scope = CancelScope()
    with open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:

        async def watch_signals() -> None:
            stopping = False
            async for number in signals:
                if stopping:
                    _log.warning("second signal, ending at once", signal=number.name)
                    os._exit(128 + number)
                stopping = True
                _log.info("stopping; send the signal again to end at once", signal=number.name)
                main_scope.cancel(f"{number.name} received")

        async with create_task_group() as tg:
            tg.start_soon(watch_signals, name="hub.signals")
            with main_scope:
                await main()
            tg.cancel_scope.cancel("main has ended")
