"""Child processes of a command: each runs `hub` again, and outlives neither its block nor this process.

The other side is `hub.cli.child`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from subprocess import DEVNULL
from typing import Final

import structlog
from anyio import CancelScope, create_task_group, move_on_after, open_process
from anyio.abc import Process
from structlog.typing import FilteringBoundLogger

from hub.concurrency.forking import cleaned_up_in_children
from hub.concurrency.process import STOP_LIMIT
from hub.model.execution.process.spawn import KILL_TIMEOUT, kill_group, send_signal
from hub.settings.model import ModelSettings

GENERATION: Final = "--generation"
"""What the command line of a generation of `hub up --reload` begins with; a file descriptor follows."""

MARGIN: Final = 1.0
"""Seconds between the bound of a child's own shutdown and the one that its parent sets."""

SIGNALLED: Final = 128
"""What a shell adds to the number of the signal that ended a process."""

_log: FilteringBoundLogger = structlog.get_logger(__name__)


@asynccontextmanager
async def open_child(*arguments: str, grace: float, pass_fds: Sequence[int] = ()) -> AsyncGenerator[Process]:
    """Runs `hub` with `arguments` while the block runs; its output is that of this process.

    Leaving the block sends it SIGTERM, which begins its drain, and SIGKILL `grace` seconds later. It leads a session of its
    own, so that it receives no Ctrl-C of the terminal; its process group is killed after it, and when this process dies.

    Args:
        arguments: The command line of the child.
        grace: Seconds that it has to end.
        pass_fds: File descriptors that it inherits, beside the standard ones.
    """
    child_end, own_end = os.pipe()
    try:
        try:
            process = await _open(arguments, child_end, pass_fds)
        finally:
            os.close(child_end)
        try:
            with cleaned_up_in_children(partial(os.close, own_end)):  # a fork of this process must not hold it open
                yield process
        finally:
            with move_on_after(grace + KILL_TIMEOUT, shield=True):
                await _end(process, grace)
    finally:
        os.close(own_end)


async def _open(arguments: Sequence[str], lifeline: int, pass_fds: Sequence[int]) -> Process:
    command = [sys.executable, "-P", "-m", "hub.cli.child", str(lifeline), *arguments]
    with CancelScope(shield=True):  # takes milliseconds; a cancelled start would leave a process without an owner
        return await open_process(
            command, stdin=DEVNULL, stdout=None, stderr=None, pass_fds=[lifeline, *pass_fds], start_new_session=True
        )
    raise AssertionError  # pragma: no cover - a scope without cancellation swallows nothing


async def _end(process: Process, grace: float) -> None:
    if process.returncode is None:
        send_signal(process, signal.SIGTERM)
    with move_on_after(grace) as limit:
        await process.wait()
    if limit.cancelled_caught:
        _log.warning("a process did not end after SIGTERM, and is killed", pid=process.pid, grace=grace)
    kill_group(process)
    await process.aclose()


def exit_code(process: Process) -> int:
    """The exit code of a process that has ended, as a shell gives it: 137 after SIGKILL."""
    code = process.returncode or 0
    return SIGNALLED - code if code < 0 else code


async def run_instances(arguments: Sequence[str], count: int, settings: ModelSettings) -> int:
    """Runs `hub model` in `count` processes until it is cancelled, or one of them ends with an error.

    None is restarted. One that ends with an error is named in the log, and the others drain and end too. One that ends
    without an error, after a SIGTERM of its own, leaves the others alone; without any left this returns.

    Args:
        arguments: The command line of each, without `--instances`.
        count: Processes.
        settings: Those of the command; its `drain_grace` bounds the end of each process.

    Returns:
        The exit code of the first one that ended with an error, 0 if there is none.
    """
    grace = settings.drain_grace + STOP_LIMIT + MARGIN
    code = 0

    async def run(number: int) -> None:
        nonlocal code
        async with open_child(*arguments, grace=grace) as process:
            _log.info("process of an instance has started", number=number, of=count, pid=process.pid)
            await process.wait()
            ended = exit_code(process)
            if ended and not code:
                code = ended
                _log.error(
                    "an instance has ended with an error; the others are stopped",
                    number=number,
                    of=count,
                    pid=process.pid,
                    exit_code=ended,
                )
                tg.cancel_scope.cancel(f"instance {number} has ended with exit code {ended}")
            elif not ended:
                _log.warning("an instance has ended, and is not restarted", number=number, of=count, pid=process.pid)

    async with create_task_group() as tg:
        for number in range(1, count + 1):
            tg.start_soon(run, number, name=f"hub.instance {number} of {count}")
    return code
