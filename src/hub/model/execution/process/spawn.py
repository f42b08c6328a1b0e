"""Child processes that outlive neither their block nor this process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

import structlog
from anyio import CancelScope, ClosedResourceError, EndOfStream, create_task_group, move_on_after, open_process
from anyio.abc import Process
from structlog.typing import FilteringBoundLogger

from hub.concurrency.forking import cleaned_up_in_children
from hub.model.execution.lifespan import TEARDOWN_GRACE

KILL_TIMEOUT: Final = 5.0
"""Seconds for the kernel to end a process after SIGKILL. Only one that hangs in a broken device needs more."""

_log: FilteringBoundLogger = structlog.get_logger(__name__)


@asynccontextmanager
async def open_worker_process(module: str, argument: str) -> AsyncGenerator[Process]:
    """Runs `python -P -m module argument LIFELINE` while the block runs, with pipes for standard input and output.

    Leaving the block sends it SIGTERM, and SIGKILL `TEARDOWN_GRACE` seconds later; its output is discarded meanwhile. It
    leads a process group and a session of its own, so that it receives no Ctrl-C of the terminal; the group is killed
    after it. `module` must call `hub.model.execution.process.lifeline.die_with_parent` with the file descriptor that `LIFELINE` is.
    """
    child_end, own_end = os.pipe()
    try:
        try:
            process = await _open([sys.executable, "-P", "-m", module, argument, str(child_end)], child_end)
        finally:
            os.close(child_end)
        try:
            with cleaned_up_in_children(partial(os.close, own_end)):  # a fork of this process must not hold it open
                yield process
        finally:
            with move_on_after(TEARDOWN_GRACE + KILL_TIMEOUT, shield=True):
                await _end(process)
    finally:
        os.close(own_end)


def send_signal(process: Process, number: signal.Signals) -> None:
    """Sends a signal to the process, not to its group, if it still runs."""
    with suppress(ProcessLookupError):
        process.send_signal(number)


def kill_group(process: Process) -> None:
    """Sends SIGKILL to the process group, also if the process itself has ended."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


async def _open(command: Sequence[str], lifeline: int) -> Process:
    with CancelScope(shield=True):  # takes milliseconds; a cancelled start would leave a process without an owner
        return await open_process(command, stderr=None, pass_fds=[lifeline], start_new_session=True)
    raise AssertionError  # pragma: no cover - a scope without cancellation swallows nothing


async def _end(process: Process) -> None:
    send_signal(process, signal.SIGTERM)
    with move_on_after(TEARDOWN_GRACE) as grace:
        async with create_task_group() as tg:
            tg.start_soon(_drain, process)  # or it may block on a full pipe
            await process.wait()
            tg.cancel_scope.cancel("it has ended")
    if grace.cancelled_caught:
        _log.warning("a process did not end after SIGTERM, and is killed", pid=process.pid, grace=TEARDOWN_GRACE)
    kill_group(process)
    await process.aclose()


async def _drain(process: Process) -> None:
    assert process.stdout is not None  # noqa: S101 - see open_worker_process
    with suppress(EndOfStream, ClosedResourceError):
        while True:
            await process.stdout.receive()
